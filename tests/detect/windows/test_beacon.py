"""Beacons: what is read of a condition, what hits bring, and what is known of who speaks with whom. That alerts are
those of plain reading, whatever the cuts and restarts, stands in test_windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.clock import MINUTE, SECOND
from csirt.detect.match import Detector
from csirt.detect.rule import Beacon
from csirt.detect.rules.load import parse_rules
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.windows import held, rare
from csirt.detect.windows.payload import Payload
from csirt.detect.windows.rare import Rare
from csirt.detect.windows.state import KEY
from csirt.detect.windows.windows import Windows
from csirt.ids import LAKE_ONLY
from csirt.model.batch import Batch
from csirt.model.hits import HITS, noted
from tests.detect import oracle
from tests.detect.oracle import Hit

ONE, RULE = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
TEXT = f"""title: One
id: {ONE}
name: one
logsource: {{product: csirt, service: flow}}
detection: {{s: {{destination.port|gte: 1}}, condition: s}}
---
title: Calls
id: {RULE}
correlation: {{type: beacon, rules: [one], group-by: [source.ip], timespan: 1h, condition: {{CONDITION}}}}
"""
STREAM = f"{RULE}/{ONE}{LAKE_ONLY}"
START = 1_763_942_400 * SECOND


def ruleset(condition: str, *, rules: str = "one", group: str = ", group-by: [source.ip]") -> Ruleset:
    """A beacon with that condition."""
    text = TEXT.replace("CONDITION", condition).replace("rules: [one]", f"rules: [{rules}]")
    return parse_rules(text.replace(", group-by: [source.ip]", group))


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("contacts: 2, jitter: 0.1", "contacts is a whole number from 3"),
        ("contacts: 20.5, jitter: 0.1", "contacts is a whole number from 3"),
        ("contacts: 20", "jitter is above 0"),
        ("contacts: 20, jitter: 0", "jitter is above 0"),
        ("contacts: 20, jitter: 1.5", "jitter is above 0"),
        ("contacts: 20, jitter: 0.1, gte: 3", "unknown key 'gte'"),
        ("contacts: 20, jitter: 0.1, field: network.bytes", "field says nothing without spread"),
        ("contacts: 20, jitter: 0.1, spread: 0.2", "spread says nothing without field"),
        ("contacts: 20, jitter: 0.1, session: 3", "session names a field"),
        ("contacts: 20, jitter: 0.1, keep: 7d", "keep says nothing without members"),
        ("contacts: 20, jitter: 0.1, members: 99", "members is a whole number from 1 to 15"),
        ("contacts: 20, jitter: 0.1, members: 3, keep: soon", "keep is a duration"),
        ("contacts: 20, jitter: 0.1, members: 3, keep: 1h, history: 2h", "more history is wanted"),
    ],
)
def test_a_wrong_condition_is_named(condition: str, wanted: str) -> None:
    """Every fault with what would be right; the rule does not run."""
    loaded = ruleset(condition)
    assert wanted in "\n".join(map(str, loaded.problems))
    assert not loaded.correlations


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [({"rules": "one, one"}, "beacon has one rule"), ({"group": ""}, "beacon needs group-by")],
)
def test_what_a_beacon_needs_beside_its_condition_is_named(changed: dict[str, str], wanted: str) -> None:
    """One rule, and whose contacts they are."""
    assert wanted in "\n".join(map(str, ruleset("contacts: 3, jitter: 0.1", **changed).problems))


def test_a_hit_brings_its_size_and_its_session_and_without_one_it_is_none(batch: Callable[..., Batch]) -> None:
    """An event that lacks the port or the size is no contact."""
    rows: list[dict[str, Any]] = [
        {"@timestamp": START + n, "source.ip": "10.0.0.1", "destination.port": 1, "source.port": 5 + n}
        | {"network.bytes": n}
        for n in range(4)
    ]
    del rows[1]["source.port"], rows[2]["network.bytes"]
    loaded = ruleset("contacts: 3, jitter: 0.1, session: source.port, field: network.bytes, spread: 0.5")
    found = [row for row in Detector(loaded).match(batch("flow", rows)).to_pylist() if row["stream"] == STREAM]
    assert [(row["value"], row["number"]) for row in found] == [("5", 0.0), ("8", 3.0)]


def test_contacts_are_no_events_for_a_cluster() -> None:
    """What a beacon looks through may be most of the traffic: the lake has it, the cluster gets none of it."""
    found = hits(every(60, 3))
    other = found.set_column(0, HITS.field("stream"), pa.array([ONE] * 3))
    assert noted(pa.concat_tables([found, other])).column("stream").to_pylist() == [ONE] * 3
    assert noted(other) is other


def hits(events: list[tuple[int, str, str | None, str | None]]) -> pa.Table:
    """Hits of the beacon: when, which event, whom it calls, and whose it is."""
    rows = [
        {
            "stream": STREAM,
            "rule": ONE,
            "time": time,
            "event": event,
            "group": f'{{"source.ip":"{target}"}}',
            "target": target,
            "source_member": member,
            "facts": "{}",
        }
        for time, event, target, member in events
    ]
    return pa.Table.from_pylist(rows, HITS)


def every(seconds: int, count: int, *, start: int = START) -> list[tuple[int, str, str | None, str | None]]:
    """Contacts at that interval."""
    return [(start + n * seconds * SECOND, f"{start + n:032x}", "host:203.0.113.66", "m1") for n in range(count)]


@pytest.mark.parametrize("interval", [60, 86_400])
def test_an_alert_says_at_what_interval_and_how_even(interval: int) -> None:
    """Who reads it sees that it is every minute, or every day, without counting."""
    loaded = ruleset("contacts: 5, jitter: 0.1").correlations[0]
    windows = Windows(Ruleset(correlations=[replace(loaded, timespan=30 * 86_400 * SECOND)]))
    (change,) = windows.advance(hits(every(interval, 7)), START + 10 * interval * SECOND)
    assert (change.alert.first, change.alert.count) == (START, 7)
    assert change.alert.facts == {"csirt.beacon.interval": [f"{interval} s"], "csirt.beacon.jitter": ["0"]}


def test_of_a_pair_that_never_stops_only_the_last_contacts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand contacts of a pair hold no more than what windows look at, in memory and in the state."""
    monkeypatch.setattr(held, "GARBAGE", 20)
    windows = Windows(ruleset("contacts: 5, jitter: 0.01"))
    written: dict[str, bytes | None] = {}
    events = [(START + (2 * n + n % 2) * SECOND, f"{n:032x}", "host:1", "m1") for n in range(1_000)]  # 3 s, 1 s, …
    for number, event in enumerate(events):
        assert windows.advance(hits([event]), event[0]) == []
        if number % 10 == 9:
            written |= windows.states()
    kept = {key: data for key, data in written.items() if data is not None and ":held:" in key}
    rows = sum(pa.ipc.open_stream(data).read_all().num_rows for data in kept.values())
    assert 5 <= rows <= 2 * 5 + 20 + 10


def test_a_state_without_beacons_goes_on() -> None:
    """What a program before this one wrote says nothing of who speaks with whom."""
    loaded = ruleset("contacts: 3, jitter: 0.1, members: 3, history: 1s")
    windows = Windows(loaded)
    windows.advance(hits(every(60, 2)), START + MINUTE)
    written = {key: data for key, data in windows.states().items() if data is not None and ":rare:" not in key}
    header = orjson.loads(written[KEY])
    del header["rare"], header["seen"]
    written[KEY] = orjson.dumps(header)
    windows = Windows(loaded, written.get)
    again = every(60, 8, start=START + 2 * MINUTE)
    (change,) = windows.advance(hits(again), START + 20 * MINUTE)
    assert change.opened


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 2**64).map(lambda number: f"{number:032x}"),
        st.sampled_from(["host:1", "host:2", "host:3", None]),
        st.sampled_from(["m1", "m2", "m3", "m4", "m5", None]),
    ),
    max_size=80,
    unique_by=lambda event: event[1],
)


@contextmanager
def cleared_often() -> Iterator[None]:
    """Names and rows that nothing needs go at once."""
    with patch.object(rare, "SLACK", -(1 << 20)):
        yield


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.lists(st.integers(0, 400), max_size=8), st.booleans(), st.booleans())
def test_who_speaks_with_whom_is_what_plain_reading_says(
    events: list[tuple[int, str, str | None, str | None]], cuts: list[int], restart: bool, often: bool
) -> None:
    """The events of targets that few speak with are those that the oracle has, for any cuts, restarts and sweeps; what
    has no target is everybody's, and who has no member is nobody's."""
    asked = Beacon(3, 0.1, members=2, keep=64, history=10)
    wanted = _plain([event for event in events if event[2] is not None], asked, [event[:2] for event in events])
    known, found, before, written = Rare(asked, 1_000), [], -1, dict[int, bytes | None]()
    for until in sorted({*cuts, 400}):
        part = [event for event in events if before < event[0] <= until]
        found += known.add(hits(part)).column("event").to_pylist()
        with cleared_often() if often else nullcontext():
            if known.expire(until):
                known = Rare(asked, 1_000)
        before = until
        written |= known.payload.changes()
        if restart:
            known = _read(known, asked, written)
    assert sorted(found) == wanted


def _plain(events: list[Any], asked: Beacon, every: list[tuple[int, str]]) -> list[str]:
    """The oracle's events of rare targets; all is learned anew after a silence of all that is kept."""
    assert asked.members is not None
    counts = oracle.speaking(
        [(Hit(time, event), target, member or "") for time, event, target, member in events],
        asked.members + 1,
        asked.keep,
    )
    began, last, learned = 0, -asked.keep - 1, set()
    for time, event in sorted(every):
        began = time if time - last > asked.keep else began
        last = time
        if time >= began + asked.history:
            learned.add(event)
    return sorted(event[1] for event in events if counts[event[1]] <= asked.members and event[1] in learned)


def _read(known: Rare, asked: Beacon, written: dict[int, bytes | None]) -> Rare:
    """Another one, of what was written."""
    listed = known.payload.listed()
    made = Rare(asked, 1_000)
    made.seen = known.seen
    made.payload = Payload()
    for number, base, level in listed:
        data = written[number]
        assert data is not None
        made.payload.restore(number, base, level, data)
    made.restored()
    return made


def test_above_the_bound_the_targets_that_are_silent_longest_are_forgotten() -> None:
    """They are counted, and the others are still known."""
    known = Rare(Beacon(3, 0.1, members=1, keep=1_000_000), 8)
    known.add(hits([(time, f"{time:032x}", f"host:{time}", member) for time in range(1, 11) for member in ("m1",)]))
    assert not known.expire(20)
    assert known.dropped == 10 - 8 + 1
    second = hits([(30 + n, f"{30 + n:032x}", f"host:{n}", "m2") for n in (1, 10)])
    # Of the first it is forgotten that somebody spoke with it before; the last has two members now.
    assert [event[-2:] for event in known.add(second).column("event").to_pylist()] == [f"{31:02x}"]
