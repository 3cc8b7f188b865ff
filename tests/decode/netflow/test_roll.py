"""Room for exporters: listed ones keep theirs, whatever anybody sends."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.decode.netflow import keeping, roll
from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model.batch import Decoded
from tests.decode.netflow.datagrams import block, chunk, ipfix, template, v9, word

SECOND = 1_000_000
ROUTER = "192.0.2.9"
TEMPLATE, DATA = block(2, template(300, (1, 4))), block(300, word(1, 2))


@dataclass
class Known:
    """A configured exporter."""

    address: str
    name: str = ""
    sampling_rate: int = 0


def forged(count: int) -> tuple[list[bytes], list[str]]:
    """A flood of datagrams with a template and data, each from another address."""
    return [ipfix(TEMPLATE, DATA)] * count, [f"198.{18 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(count)]


def rows(result: Decoded) -> int:
    """How many rows of flows came."""
    return sum(batch.rows for batch in result.batches if batch.dataset == "flow")


def test_ten_thousand_forged_exporters_leave_the_listed_untouched() -> None:
    """They share one bounded room and one row of counters; a listed router needs no new template afterwards."""
    decoder = NetflowDecoder("s", exporters=[Known(ROUTER)], accept_unknown=True)
    decoder.decode(chunk([ipfix(TEMPLATE)], exporters=[ROUTER]))
    payloads, senders = forged(10_000)
    result = decoder.decode(chunk(payloads, exporters=senders, first=1))
    assert rows(result) == 20_000 and result.left == 10_000
    assert result.forgotten == {"exporter_evicted": 10_000 - roll.MAX_OTHERS}
    assert len(result.exporters) == roll.MAX_NAMED + 1
    [others] = [row for row in result.exporters if row["address"] == "others"]
    assert others["received"] == 10_000 - roll.MAX_NAMED
    after = decoder.decode(chunk([ipfix(DATA)], exporters=[ROUTER], first=10_001))
    assert rows(after) == 2 and after.exporters[0]["address"] == ROUTER


def test_templates_of_a_flood_leave_the_listed_untouched() -> None:
    """65,536 templates of one exporter fill its own share only, the oldest go; the router's own are all there."""
    decoder = NetflowDecoder("s", exporters=[Known(ROUTER)], accept_unknown=True)
    own = block(2, b"".join(template(300 + n, (1, 4)) for n in range(50)))
    decoder.decode(chunk([ipfix(own)], exporters=[ROUTER]))
    flood = [
        ipfix(block(2, b"".join(template(ident, (1, 4)) for ident in range(first, min(first + 150, 65_536)))))
        for first in range(256, 65_536, 150)
    ]
    result = decoder.decode(chunk(flood, exporters=["198.18.0.1"] * len(flood), first=1))
    assert result.forgotten == {"template_evicted": 65_536 - 256 - keeping.MAX_TEMPLATES}
    last = ipfix(block(65_535, word(5)), block(256, word(6)))
    assert rows(decoder.decode(chunk([last], exporters=["198.18.0.1"], first=1000))) == 1
    every = [ipfix(*(block(300 + n, word(n)) for n in range(50)))]
    assert rows(decoder.decode(chunk(every, exporters=[ROUTER], first=1001))) == 50


def test_the_share_of_all_others_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates of many unlisted exporters together weigh no more than the bound: the least recently refreshed go,
    whosever they are."""
    monkeypatch.setattr(keeping, "MAX_WEIGHT", 15)
    decoder = NetflowDecoder("s", exporters=[Known(ROUTER)], accept_unknown=True)
    senders = [ROUTER, "198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.1", "198.18.0.4"]
    result = decoder.decode(chunk([ipfix(TEMPLATE)] * 6, exporters=senders))
    assert result.forgotten == {"template_evicted": 1}
    data = decoder.decode(chunk([ipfix(DATA)] * 5, exporters=[*senders[:4], "198.18.0.4"], first=6))
    assert rows(data) == 8 and data.held == 1
    [waits] = [row["address"] for row in data.exporters if row["held"]]
    assert waits == "198.18.0.2"


def test_held_data_of_others_leaves_the_listed_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data without a template from elsewhere does not push out what a listed router waits with."""
    decoder = NetflowDecoder("s", exporters=[Known(ROUTER)], accept_unknown=True, hold_bytes=1000)
    decoder.decode(chunk([ipfix(DATA)], exporters=[ROUTER]))
    payloads = [ipfix(DATA)] * 100
    flood = decoder.decode(chunk(payloads, exporters=["198.18.0.1"] * 100, first=1))
    assert flood.dropped["expired"] > 80
    assert rows(decoder.decode(chunk([ipfix(TEMPLATE)], exporters=[ROUTER], first=101))) == 2


def test_domains_of_a_listed_address_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forged domains under a router's address push each other out, never the domain that is heard all the time."""
    monkeypatch.setattr(roll, "MAX_DOMAINS", 3)
    decoder = NetflowDecoder("s", exporters=[Known(ROUTER)])
    mixed = [ipfix(TEMPLATE)]
    for n in range(100, 140):
        mixed += [ipfix(domain=n), ipfix(DATA)]
    result = decoder.decode(chunk(mixed, exporters=[ROUTER] * len(mixed)))
    assert rows(result) == 80 and result.forgotten == {"exporter_evicted": 38}


def test_who_is_not_heard_for_long_is_forgotten_with_its_templates() -> None:
    """By receive time; somebody else's datagrams are enough to notice."""
    decoder = NetflowDecoder("s", exporter_expiry_us=100 * SECOND)
    decoder.decode(chunk([ipfix(TEMPLATE, DATA)], times=[SECOND]))
    kept = decoder.decode(chunk([ipfix(DATA)], times=[101 * SECOND], first=1))
    assert rows(kept) == 2
    result = decoder.decode(chunk([ipfix()], exporters=["192.0.2.2"], times=[202 * SECOND], first=2))
    assert result.forgotten == {"exporter_expired": 1} and decoder.templates == 0
    assert decoder.decode(chunk([ipfix(DATA)], times=[203 * SECOND], first=3)).held == 1


def test_a_template_that_is_not_refreshed_is_forgotten_where_that_is_asked_for() -> None:
    """Data after its time waits for a new one (RFC 7011, 8.4); a refresh in time keeps it."""
    decoder = NetflowDecoder("s", template_expiry_us=100 * SECOND)
    times = [t * SECOND for t in (0, 90, 180, 195, 300)]
    result = decoder.decode(chunk([ipfix(TEMPLATE), ipfix(TEMPLATE), *[ipfix(DATA)] * 3], times=times))
    assert rows(result) == 2
    assert result.held == 2 and result.forgotten == {"template_expired": 1}


@st.composite
def crowd(draw: Any) -> tuple[list[bytes], list[str], list[int]]:
    """Few exporters in too little room: templates, data, pauses."""
    payloads, senders, times, now = [], [], [], SECOND
    for _ in range(draw(st.integers(2, 20))):
        now += draw(st.sampled_from([0, SECOND, 40 * SECOND]))
        kind = draw(st.sampled_from([(TEMPLATE,), (DATA,), (TEMPLATE, DATA), (DATA, TEMPLATE)]))
        ident = draw(st.integers(300, 302))
        raw = ipfix(*kind, domain=draw(st.integers(0, 1)))
        payloads.append(raw.replace(bytes([1, 44, 0]), bytes([1, ident - 256, 0])))
        senders.append(draw(st.sampled_from([ROUTER, "198.18.0.1", "198.18.0.2", "198.18.0.3"])))
        times.append(now)
    return payloads, senders, times


@settings(max_examples=120, deadline=None)
@given(crowd(), st.data())
def test_bounds_do_not_depend_on_chunks(case: tuple[list[bytes], list[str], list[int]], data: st.DataObject) -> None:
    """Who is forgotten, and what is decoded, held and expired, is the same in one chunk and in any, over restarts."""
    payloads, senders, times = case

    def run(cuts: list[int]) -> tuple[list[str], int, int, dict[str, int]]:
        state: bytes | None = None
        seen: list[str] = []
        dropped: dict[str, int] = {}
        left = 0
        for a, b in pairwise([0, *cuts, len(payloads)]):
            decoder = NetflowDecoder(
                "s", exporters=[Known(ROUTER)], accept_unknown=True, hold_bytes=500, hold_age_us=60 * SECOND,
                exporter_expiry_us=100 * SECOND, template_expiry_us=50 * SECOND,
            )  # fmt: skip
            decoder.load(state)
            result = decoder.decode(chunk(payloads[a:b], exporters=senders[a:b], times=times[a:b], first=a))
            state, left = result.state, left + result.left
            for name, number in [*result.dropped.items(), *result.forgotten.items()]:
                dropped[name] = dropped.get(name, 0) + number
            for batch in [batch for batch in result.batches if batch.dataset == "flow"]:
                seen += [str(value) for value in batch.table.column("csirt.ordinal").to_pylist()]
        return sorted(seen), left, result.held, dropped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roll, "MAX_OTHERS", 2)
        patch.setattr(roll, "MAX_DOMAINS", 1)
        patch.setattr(keeping, "MAX_TEMPLATES", 2)
        patch.setattr(keeping, "MAX_WEIGHT", 15)
        cuts = sorted(data.draw(st.sets(st.integers(1, len(payloads) - 1), max_size=5)))
        assert run(cuts) == run([])


def test_v9_and_ipfix_of_one_address_are_two_exporters() -> None:
    """Version and domain are part of the key."""
    result = NetflowDecoder("s").decode(chunk([v9(), ipfix(), ipfix(domain=8)]))
    assert [(row["version"], row["domain"]) for row in result.exporters] == [(9, 7), (10, 7), (10, 8)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=6), st.booleans())
def test_a_set_that_says_nothing_new_is_refreshed_at_once(sets: list[list[int]], listed: bool) -> None:
    """Templates that are refreshed together leave the state that putting each into force leaves."""
    states: list[bytes | None] = []
    for together in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not together:
                patch.setattr(keeping.Keeping, "refresh", lambda *_: 0)
            decoder = NetflowDecoder("s", exporters=[Known(ROUTER)] if listed else [])
            for step, numbers in enumerate(sets):
                records = [template(300 + number, (1 + number, 4)) for number in numbers]
                message = ipfix(block(2, b"".join(records)), block(300, word(1)), seconds=1_000 + step)
                states.append(decoder.decode(chunk([message], exporters=[ROUTER])).state)
    assert states[: len(sets)] == states[len(sets) :]
