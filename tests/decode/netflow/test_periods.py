"""`self` events from the bytes: gaps, clocks, missing templates and broken sets, minute by minute of receive time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.decode.netflow.decoder import NetflowDecoder
from csirt.model import ndjson
from tests.decode.netflow.datagrams import SEGMENT, block, chunk, ipfix, template, v9, word

START = 1_700_000_040  # seconds; a whole minute
TEMPLATE, DATA = block(2, template(300, (1, 4))), block(300, word(1, 2))


@dataclass
class Known:
    """A configured exporter."""

    address: str
    name: str = ""
    sampling_rate: int = 0


def run(
    payloads: list[bytes],
    times: list[int],
    cuts: list[int] | None = None,
    senders: list[str] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """The `self` events, with the state written and read at every cut."""
    found: list[dict[str, Any]] = []
    state: bytes | None = None
    who = senders or ["192.0.2.1"] * len(payloads)
    for a, b in pairwise([0, *(cuts or []), len(payloads)]):
        decoder = NetflowDecoder("s", **options)
        decoder.load(state)
        clock = [t * 1_000_000 for t in times[a:b]]
        result = decoder.decode(chunk(payloads[a:b], first=a, times=clock, exporters=who[a:b]))
        state = result.state
        for batch in result.batches:
            batch.table.validate(full=True)
            found += [json.loads(line) for line in ndjson.render(batch) if batch.dataset == "self"]
    return found


def said(events: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Action and value of each."""
    return [(event["event"]["action"], event["csirt"]["self"]["value"]) for event in events]


def test_a_gap_is_told_as_a_share_when_the_minute_is_over() -> None:
    """Three of ten datagrams lost: 0.3, at the end of the minute, behind the datagram that closed it."""
    numbers = [0, 1, 2, 6, 7, 8, 9]
    payloads = [v9(sequence=n, seconds=START + n) for n in numbers] + [v9(sequence=10, seconds=START + 60)]
    [event] = run(payloads, [START + n for n in numbers] + [START + 60])
    assert said([event]) == [("sequence_gap", 0.3)]
    assert event["@timestamp"] == "2023-11-14T22:15:00Z" and event["observer"]["ip"] == "192.0.2.1"
    assert event["csirt"]["self"]["subject"] == "192.0.2.1 v9 domain 7"
    assert event["event"]["id"] == f"{SEGMENT}{1 << 63 | 7 << 16:016x}"


def test_a_late_datagram_takes_the_gap_back() -> None:
    """What came after all within the minute is no loss."""
    payloads = [v9(sequence=n, seconds=START) for n in (0, 2, 1)] + [v9(sequence=3, seconds=START + 61)]
    assert run(payloads, [START, START + 1, START + 2, START + 61]) == []


def test_a_clock_that_is_off_is_told_by_its_median() -> None:
    """Beyond 30 s, from most of the datagrams; one forged time, or an offset that is declared, is none."""
    times = [START + n for n in range(5)] + [START + 60]
    slow = [v9(sequence=n, seconds=t - 90) for n, t in enumerate(times)]
    assert said(run(slow, times)) == [("clock_skew", -90.0)]
    assert run(slow, times, clock_offsets={"192.0.2.1": -90_000_000}) == []
    forged = [v9(sequence=n, seconds=t + (10_000 if n == 2 else 0)) for n, t in enumerate(times)]
    assert run(forged, times) == []


def test_data_that_waits_for_a_minute_misses_its_template() -> None:
    """Data whose template comes soon is no event; data that still waits is one, once."""
    times = [START, START + 50, START + 130, START + 200]
    soon = [ipfix(DATA, seconds=times[0]), ipfix(TEMPLATE, seconds=times[1]), *(ipfix(seconds=t) for t in times[2:])]
    assert "template_missing" not in dict(said(run(soon, times)))
    never = [ipfix(DATA, DATA, seconds=times[0]), *(ipfix(seconds=t) for t in times[1:])]
    assert [item for item in said(run(never, times)) if item[0] == "template_missing"] == [("template_missing", 2)]


def test_broken_sets_are_told() -> None:
    """How many there were in the minute."""
    broken = [ipfix(block(2, b"\1\2\0\x63"), seconds=START)] * 3 + [ipfix(seconds=START + 60)]
    assert said(run(broken, [START, START, START, START + 60])) == [("malformed", 3)]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 0, 5, 30, 61, 150]), st.integers(0, 9), st.sampled_from(["192.0.2.1", "192.0.2.2"]),
            st.sampled_from([0, 0, 40]), st.sampled_from([(DATA,), (TEMPLATE,), (block(2, b"\1"),), ()]),
        ),
        min_size=3, max_size=25,
    ),
    st.data(),
)  # fmt: skip
def test_chunks_and_restarts_change_no_event(steps: list[Any], data: st.DataObject) -> None:
    """The same events with the same ids, in one chunk and in any, over restarts and bounds that bite."""
    now, payloads, times, senders = START, [], [], []
    for pause, sequence, sender, skew, sets in steps:
        now += pause
        payloads.append(ipfix(*sets, sequence=sequence, seconds=now + skew))
        times.append(now)
        senders.append(sender)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(payloads) - 1), max_size=6)))
    options: dict[str, Any] = {"hold_bytes": 700, "exporters": [Known("192.0.2.1", "edge1")], "accept_unknown": True}
    whole = run(payloads, times, senders=senders, **options)
    assert run(payloads, times, cuts, senders, **options) == whole
    assert len({event["event"]["id"] for event in whole}) == len(whole)
