"""Enrichment of flows: both ends, what lies between them, spaces, reload."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.clock import parse_iso
from csirt.enrich.register import Register
from csirt.enrich.stage import Enricher
from csirt.model.batch import Batch, codes, constant

NOON = parse_iso("2026-03-10T12:00:00Z")
ROWS = [
    ("10.37.0.25", "10.21.8.9", 443),
    ("10.37.0.26", "10.37.0.25", 445),
    ("10.200.1.10", "203.0.113.9", 53),
    ("2001:db8:21::60", "::ffff:10.0.0.53", 53),
    (None, "10.0.1.1", 0),
    ("10.21.16.9", "10.37.0.1", 8005),
]


def test_both_ends_get_what_the_register_says(register: Register, make: SimpleNamespace) -> None:
    """Every column of both ends, null where nothing is known, outside where nobody is."""
    batch = Enricher(register).apply(make.flows(ROWS, NOON))
    make.follows_schema(batch)
    get = lambda name: make.column(batch, name)  # noqa: E731
    assert get("csirt.source.member.id") == ["m017", "m017", "s01", "m001", None, "m001"]
    assert get("csirt.source.member.name")[0] == "Bakken legekontor"
    assert get("csirt.source.member.kind") == ["gp", "gp", "supplier", "hospital", None, "hospital"]
    assert get("csirt.source.site") == ["m017-main", "m017-main", "s01-main", "m001-main", None, "m001-guest"]
    assert get("csirt.source.role") == ["msh", None, "jump_host", "studio", None, None]
    assert get("csirt.source.zone") == ["member", "member", "supplier", "member", None, "member"]
    assert get("csirt.source.nat") == [False, False, False, False, None, True]
    assert get("csirt.destination.member.id") == ["m001", "m017", None, "common", "common", "m017"]
    assert get("csirt.destination.role") == ["medical_device", "msh", None, "resolver", "gateway", None]
    assert get("csirt.destination.zone") == ["member", "member", "outside", "common", "gateway", "member"]
    assert get("csirt.destination.nat") == [False, False, None, False, False, False]
    assert get("csirt.cross_member") == [True, False, False, True, None, True]


def test_rows_are_never_dropped_or_moved(register: Register, make: SimpleNamespace) -> None:
    """All columns that entered leave unchanged, in the same order of rows, for any number of rows."""
    for rows in (0, 1, 7, 8, 9, 1000):
        before = make.flows([ROWS[number % 6] for number in range(rows)], NOON)
        after = Enricher(register).apply(before)
        make.follows_schema(after)
        assert after.table.select(before.table.column_names).equals(before.table)


def test_enriching_twice_changes_nothing(register: Register, make: SimpleNamespace) -> None:
    """Columns of an earlier enrichment are replaced, not doubled."""
    enricher = Enricher(register)
    once = enricher.apply(make.flows(ROWS, NOON))
    twice = enricher.apply(once)
    assert twice.table.equals(once.table)


@pytest.mark.parametrize(
    ("row", "time", "protocol", "expected"),
    [
        (("10.37.0.1", "10.21.0.1", 443), "2026-03-10T12:00:00Z", 6, "A-2026-001"),
        (("10.37.0.1", "10.21.0.1", 8010), "2026-03-10T12:00:00Z", 6, "A-2026-001"),
        (("10.37.0.1", "10.21.0.1", 8011), "2026-03-10T12:00:00Z", 6, None),
        (("10.37.0.1", "10.21.0.1", 443), "2026-03-10T12:00:00Z", 17, None),
        # The other direction was not agreed.
        (("10.21.0.1", "10.37.0.1", 443), "2026-03-10T12:00:00Z", 6, None),
        # The last day counts, in local time.
        (("10.37.0.1", "10.21.0.1", 443), "2030-12-31T22:59:59Z", 6, "A-2026-001"),
        (("10.37.0.1", "10.21.0.1", 443), "2030-12-31T23:00:00Z", 6, None),
        (("10.37.0.1", "10.37.0.2", 443), "2026-03-10T12:00:00Z", 6, None),
        (("10.37.0.1", "203.0.113.1", 443), "2026-03-10T12:00:00Z", 6, None),
    ],
)
def test_agreements(
    register: Register, make: SimpleNamespace, row: Any, time: str, protocol: int, expected: str
) -> None:
    """An agreement holds for its direction, ports, protocol and time, and for nothing else."""
    batch = make.flows([row], parse_iso(time), **{"network.iana_number": pa.array([protocol], pa.uint8())})
    assert make.column(Enricher(register).apply(batch), "csirt.agreement") == [expected]


def test_the_first_agreement_in_the_file_counts(load: Callable[..., Any], make: SimpleNamespace) -> None:
    """Of two agreements that allow the same, the one higher up in the file is named."""
    extra = "agreements:\n  - {id: Z, from: m017, to: m001}\n  - {id: B, from: m017, to: m001, ports: [443]}"
    register, problems = load(make.sample_text().replace("agreements:", extra))
    assert problems == []
    batch = make.flows([("10.37.0.1", "10.21.0.1", 443), ("10.37.0.1", "10.21.0.1", 9)], NOON)
    assert make.column(Enricher(register).apply(batch), "csirt.agreement") == ["Z", "Z"]


def test_supplier_windows(register: Register, make: SimpleNamespace) -> None:
    """Inside, outside, none agreed; nothing for sources that are no suppliers or destinations that are nobody's."""
    cases = [
        (("10.200.1.10", "10.37.0.25", 3389), "2026-03-10T19:30:00Z", "inside"),  # a Tuesday, 20:30 in Norway
        (("10.200.1.10", "10.37.0.25", 3389), "2026-03-10T22:00:00Z", "outside"),
        (("10.200.1.10", "10.37.0.25", 3389), "2026-03-11T19:30:00Z", "outside"),
        (("10.200.1.10", "10.37.0.25", 3389), "2026-07-14T18:30:00Z", "inside"),  # summer time
        (("10.200.1.10", "10.21.0.5", 3389), "2026-03-10T19:00:00Z", "inside"),
        (("10.200.1.10", "10.21.0.5", 3389), "2026-03-10T22:00:00Z", "outside"),
        (("10.200.1.10", "10.90.0.10", 22), "2026-03-10T19:30:00Z", "none"),
        (("10.200.1.10", "10.200.1.11", 22), "2026-03-10T19:30:00Z", None),
        (("10.200.1.10", "203.0.113.1", 22), "2026-03-10T19:30:00Z", None),
        (("10.21.0.5", "10.37.0.25", 3389), "2026-03-10T19:30:00Z", None),
    ]
    batch = make.flows([case[0] for case in cases], [parse_iso(case[1]) for case in cases])
    assert make.column(Enricher(register).apply(batch), "csirt.supplier_window") == [case[2] for case in cases]
    for row, time, expected in cases[:7]:
        member = register.host(row[1]).member  # type: ignore[union-attr]
        assert register.supplier_window("s01", member, parse_iso(time)) == expected


def test_vrfs_and_interfaces(register: Register, make: SimpleNamespace) -> None:
    """The source's VRF, an exporter's VRF and the space behind an interface decide whose an address is."""
    rows = [("10.37.0.9", "10.37.0.9", 1), ("192.168.1.4", "192.168.1.4", 1), ("192.168.1.4", "10.21.0.1", 1)]
    ports = {
        "observer.ip": codes(np.array([0, 1, 1]), ["10.255.0.9", "10.255.0.1"]),
        "observer.ingress.interface.id": pa.array([12, 12, None], pa.uint32()),
        "observer.egress.interface.id": pa.array([1, 1, 12], pa.uint32()),
    }
    batch = make.flows(rows, NOON, **ports)
    plain = Enricher(register).apply(batch)
    assert make.column(plain, "csirt.source.member.id") == ["m017", "m018", None]
    assert make.column(plain, "csirt.destination.member.id") == ["m017", None, "m001"]
    blue = Enricher(register).apply(batch, vrf="blue")
    assert make.column(blue, "csirt.source.member.id") == ["m018", "m018", None]
    assert make.column(blue, "csirt.destination.zone") == ["member", "outside", "outside"]
    mixed = Enricher(register, vrfs={"10.255.0.9": "blue"}).apply(batch)
    assert make.column(mixed, "csirt.source.site") == ["m018-main", "m018-home", None]
    assert make.column(mixed, "csirt.destination.member.id") == ["m018", None, "m001"]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_columns_agree_with_single_lookups(data: st.DataObject, shared: tuple[Register, SimpleNamespace]) -> None:
    """For any addresses, spaces and chunks of columns, each row says what `Register.host` says."""
    register, make = shared
    pool = ["10.21.0.5", "10.21.8.1", "10.37.0.25", "192.168.1.7", "10.0.0.53", "8.8.8.8", "2001:db8:21::1", "::", None]
    chosen = data.draw(st.lists(st.tuples(st.sampled_from(pool), st.sampled_from(pool), st.booleans()), max_size=40))
    observers = np.array([int(own) for _, _, own in chosen], np.int64)
    more = {
        "observer.ip": codes(observers, ["10.9.9.9", "10.255.0.1"]),
        "observer.ingress.interface.id": pa.array([12] * len(chosen), pa.uint32()),
    }
    batch = make.flows([(a, b, 1) for a, b, _ in chosen], NOON, **more)
    cut = data.draw(st.integers(0, len(chosen)))
    batch = Batch("flow", pa.concat_tables([batch.table.slice(0, cut), batch.table.slice(cut)]))
    result = Enricher(register).apply(batch)
    make.follows_schema(result)
    for end, position in (("source", 0), ("destination", 1)):
        expected = []
        for row in chosen:
            host = register.host(row[position]) if row[position] else None
            if end == "source" and row[2] and row[0]:
                host = register.host(row[0], "10.255.0.1 interface 12") or host
            expected.append(host)
        assert make.column(result, f"csirt.{end}.site") == [h.site if h else None for h in expected]
        assert make.column(result, f"csirt.{end}.role") == [(h.role or None) if h else None for h in expected]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, make: SimpleNamespace) -> tuple[Register, SimpleNamespace]:
    """The sample register, loaded once."""
    register, _ = Register.load(make.write(tmp_path_factory.mktemp("register"), make.sample_text()))
    assert register is not None
    return register, make


def test_loops_are_compiled_once(shared: tuple[Register, SimpleNamespace]) -> None:
    """Chunked, sliced, null and empty columns all use the same compiled loops: no pause in the middle of the work."""
    from csirt.enrich import kernels

    register, make = shared
    enricher = Enricher(register)
    whole = make.flows(ROWS * 3, NOON)
    enricher.apply(whole)
    before = {name: len(getattr(kernels, name).signatures) for name in ("lookup", "agreements", "cross", "fill")}
    parts = [whole.table.slice(0, 5), whole.table.slice(5, 7), whole.table.slice(12)]
    for table in (pa.concat_tables(parts), parts[1], parts[0].slice(0, 0), pa.concat_tables([parts[1], parts[1]])):
        enricher.apply(Batch("flow", table))
    enricher.apply(make.flows([("10.0.0.53", "10.0.1.1", 53)], NOON))
    assert {name: len(getattr(kernels, name).signatures) for name in before} == before
    assert before["lookup"] == 1


def test_reload_without_restart(register: Register, load: Callable[..., Any], make: SimpleNamespace) -> None:
    """After `replace` the next batch is enriched by the new register, and the version in use says so."""
    enricher = Enricher(register)
    assert enricher.version == register.version
    other, _ = load(make.sample_text().replace("Bakken legekontor", "Lia legekontor"), "new.yaml")
    enricher.replace(other)
    batch = enricher.apply(make.flows(ROWS, NOON))
    assert make.column(batch, "csirt.source.member.name")[0] == "Lia legekontor"
    assert enricher.version == other.version != register.version


def test_an_empty_register_claims_nothing(make: SimpleNamespace) -> None:
    """Without a register no zone, member or crossing is made up: the rows are what decode gave."""
    batch = make.flows(ROWS, NOON)
    assert Enricher(Register.empty()).apply(batch) is batch


def test_datasets_without_ends_pass_through(register: Register) -> None:
    """Options records and the daemon's own events are returned as they are."""
    batch = Batch("self", pa.table({"event.action": constant("drops", 1)}))
    assert Enricher(register).apply(batch) is batch


def test_cost_per_row(make: SimpleNamespace, load: Callable[..., Any]) -> None:
    """A batch of 100,000 flows of 300 members costs at most 150 ns of CPU a row (aim 60; the bound allows for load)."""
    import time

    text = ["register: csirt.register/1", "members:"]
    for number in range(300):
        text.append(f"  - {{id: m{number}, name: Member {number}, kind: gp, sites: [{{id: s{number}, ")
        text.append(f"      prefixes: [10.{number // 100}.{number % 100}.0/24],")
        text.append(f"      assets: [{{address: 10.{number // 100}.{number % 100}.9, role: server}}]}}]}}")
    text += ["agreements:", *(f"  - {{id: A{n}, from: m{n}, to: m{n + 1}, ports: [443]}}" for n in range(299))]
    register, problems = load("\n".join(text))
    assert problems == []
    rows = 100_000
    rng = np.random.default_rng(1)
    base = np.array([(10 << 24) + (n // 100 << 16) + (n % 100 << 8) for n in range(300)], np.uint64)
    batch = make.flows([("10.0.0.1", "10.0.1.1", 443)], NOON)
    columns = {name: pa.concat_arrays([batch.table.column(name).chunk(0)] * rows) for name in batch.table.column_names}
    for end in ("source.ip:lo", "destination.ip:lo"):
        columns[end] = pa.array(base[rng.integers(0, 300, rows)] + rng.integers(0, 256, rows).astype(np.uint64))
    big = Batch("flow", pa.table(columns))
    enricher = Enricher(register)
    enricher.apply(big)
    costs = []
    for _ in range(7):
        start = time.process_time()
        enricher.apply(big)
        costs.append((time.process_time() - start) / rows * 1e9)
    assert min(costs) < 150, costs
