"""Sequence numbers: loss, reorder, duplicates and restarts told apart, against an oracle that knows what was sent."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.decode.netflow.decoder import NetflowDecoder
from tests.decode.netflow.datagrams import block, chunk, ipfix, template, v5, v5_record, v9, word

NAMES = ("sequence_lost", "sequence_late", "sequence_duplicates", "sequence_resets")
START = 1_700_000_000


@dataclass
class Sent:
    """A datagram as it was sent: the start of the device it belongs to, its place there, what it counts for."""

    epoch: int
    place: int
    units: int
    raw: bytes
    at: int


def message(version: int, sequence: int, units: int, seconds: int, uptime: int) -> bytes:
    """A datagram that advances the count by `units`."""
    sequence &= 0xFFFFFFFF
    if version == 5:
        return v5([v5_record()] * units, sequence=sequence, seconds=seconds, uptime=uptime & 0xFFFFFFFF)
    if version == 9:
        return v9(sequence=sequence, seconds=seconds, uptime=uptime & 0xFFFFFFFF)
    sets = [block(300, word(*range(units)))] if units else []
    return ipfix(block(2, template(300, (1, 4))), *sets, sequence=sequence, seconds=seconds)


@st.composite
def session(draw: Any) -> tuple[list[Sent], list[int]]:
    """What an exporter sent over one or two starts of it, and the order in which it arrives."""
    version = draw(st.sampled_from([5, 9, 10]))
    sent: list[Sent] = []
    order: list[int] = []
    starts = draw(st.integers(1, 2))
    # Who restarts within two minutes of the uptime's wrap cannot be told from who did not.
    wrapping = [2**32 - 3_000] if starts == 1 else []
    seconds, uptime = START, draw(st.sampled_from([600_000, 2**31 - 5, 2_592_000_000, *wrapping]))
    # IPFIX has no uptime: a restart that goes on where the count was cannot be told from none.
    low = [0, 7] if starts == 1 else []
    sequence = draw(st.sampled_from([*low, 5_000, 2**31])) if version == 10 else draw(st.integers(0, 2**32 - 1))
    for epoch in range(starts):
        if epoch:
            seconds, uptime, sequence = seconds + 90, 5_000, 0
        places = []
        for place in range(draw(st.integers(2, 12))):
            units = 1 if version == 9 else draw(st.integers(1, 4))
            places.append(len(sent))
            sent.append(Sent(epoch, place, units, message(version, sequence, units, seconds, uptime), seconds))
            sequence += units
            step = draw(st.integers(0, 3))
            seconds, uptime = seconds + step, uptime + 1_000 * step
        arriving = [n for n in places if draw(st.integers(0, 3))] or places
        arriving += [n for n in arriving if not draw(st.integers(0, 4))]
        arriving.sort(key=lambda n: (n + draw(st.integers(0, 4)), n))
        order += arriving
    return sent, order


def oracle(sent: list[Sent], order: list[int]) -> tuple[int, int, int, int]:
    """Lost units between the first and the last that came, late ones, second copies, restarts."""
    lost = late = 0
    epochs = sorted({sent[n].epoch for n in order})
    for epoch in epochs:
        came = [sent[n].place for n in order if sent[n].epoch == epoch]
        known = set(came)
        lost += sum(
            item.units
            for item in sent
            if item.epoch == epoch and min(known) < item.place < max(known) and item.place not in known
        )
        seen: list[int] = []
        for place in came:
            late += place not in seen and bool(seen) and place < max(seen)
            seen.append(place)
    return lost, late, len(order) - len(set(order)), len(epochs) - 1


def counted(payloads: list[bytes], times: list[int], cuts: list[int] | None = None) -> tuple[int, ...]:
    """The counters after decoding, with the state written and read at every cut."""
    totals = dict.fromkeys(NAMES, 0)
    state: bytes | None = None
    for a, b in pairwise([0, *(cuts or []), len(payloads)]):
        decoder = NetflowDecoder("s")
        decoder.load(state)
        result = decoder.decode(chunk(payloads[a:b], first=a, times=[t * 1_000_000 for t in times[a:b]]))
        state = result.state
        for row in result.exporters:
            for name in NAMES:
                totals[name] += row[name]
    return tuple(totals.values())


@settings(max_examples=150, deadline=None)
@given(session(), st.data())
def test_loss_reorder_duplicates_and_restarts(case: tuple[list[Sent], list[int]], data: st.DataObject) -> None:
    """Whatever the network does to datagrams within a window, the four counters say exactly what was done, in one
    chunk or in any, with a restart of ours between them; a late datagram takes back the loss it was counted as."""
    sent, order = case
    payloads, times = [sent[n].raw for n in order], [sent[n].at for n in order]
    wanted = oracle(sent, order)
    assert counted(payloads, times) == wanted
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(order) - 1, 1)), max_size=4)))
    assert counted(payloads, times, [cut for cut in cuts if cut < len(order)]) == wanted


def test_uptime_that_wraps_is_no_restart_and_one_that_begins_anew_is() -> None:
    """After 49.7 days the 32-bit uptime wraps: nothing happened. A device that was up for 30 days and begins anew is
    a restart, though its uptime modulo 2**32 went forwards."""
    day = 86_400
    wrap = [v9(sequence=7, uptime=2**32 - 500), v9(sequence=9, uptime=500, seconds=START + 1)]
    assert counted(wrap, [START, START + 1]) == (1, 0, 0, 0)
    anew = [v9(sequence=7, uptime=30 * day * 1000), v9(sequence=9, uptime=60_000, seconds=START + 300)]
    assert counted(anew, [START, START + 300]) == (0, 0, 0, 1)


def test_a_message_whose_records_cannot_be_counted_is_no_loss() -> None:
    """IPFIX data that waits for its template advances the count by nobody knows how much; what follows is no loss, and
    a template on its own, sent again with the same number, is neither a copy nor a restart."""
    data, known = block(300, word(1, 2, 3)), block(2, template(300, (1, 4)))
    waiting = [ipfix(data, sequence=0), ipfix(data, sequence=3), ipfix(known, sequence=6), ipfix(data, sequence=6)]
    assert counted(waiting, [START] * 4) == (0, 0, 0, 0)
    templates = [ipfix(known, sequence=6), ipfix(known, sequence=6, seconds=START + 60), ipfix(data, sequence=6)]
    assert counted(templates, [START] * 3) == (0, 0, 0, 0)


def test_more_gaps_than_are_remembered_stay_losses() -> None:
    """A gap that is forgotten stays counted as lost; nothing grows without bound."""
    every_other = [v9(sequence=2 * n) for n in range(40)]
    assert counted(every_other, [START] * 40)[0] == 39
    late = [v9(sequence=1)]
    assert counted(every_other + late, [START] * 41) == (39, 0, 1, 0)
    recent = [v9(sequence=77)]
    assert counted(every_other + recent, [START] * 41) == (38, 1, 0, 0)
