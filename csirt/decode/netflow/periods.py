"""What each exporter did minute by minute of receive time, and the `self` events that come of it.

A minute is closed by the first datagram of the source after its end, whoever sends it: so its events follow from the
bytes alone, whatever the chunks. They are numbered in a range of their own behind that datagram.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.decode.netflow import numbering
from csirt.decode.netflow.arrow import times
from csirt.decode.netflow.state import Exporter, Period
from csirt.model.batch import Array, Batch, assemble, codes

PERIOD = 60_000_000
PATIENCE = 60_000_000  # a set that found no template in this time is missing one
SKEW = 30_000_000
SAMPLES = 15  # export times looked at in a minute: their median is what the clock is off by
OWN = 1 << 63  # set in the ordinal of these events, beside the frame of the datagram that closed the minute


@dataclass(slots=True)
class Messages:
    """Messages in order: exporter (negative: nobody), receive clock, receive and export time (0: none), what was lost
    (negative: came after all), what they count for, broken sets."""

    exporter: Array
    clock: Array
    time: Array
    export: Array
    lost: Array
    units: Array
    malformed: Array


@dataclass(slots=True)
class Waiting:
    """Sets that found no template: exporter, receive clock, whether they expired, the datagram that brought one."""

    exporter: Array
    clock: Array
    expired: Array
    released: Array


@dataclass(slots=True)
class Event:
    """One `self` event: `closed` is the datagram behind which it stands."""

    closed: int
    exporter: int
    period: int
    action: str
    value: float
    unit: str


def observe(
    exporters: list[Exporter], messages: Messages, waiting: Waiting, clock: Array, before: int, gone: Mapping[int, int],
    offsets: list[int],
) -> list[Event]:  # fmt: skip
    """Count into the exporters' open minutes, close those that are over, and say what was wrong in them.

    `clock`: by datagram, `before` the chunk's first; `gone`: exporters that are forgotten in it, and when; `offsets`:
    how far each exporter's clock is known to be off.
    """
    _count(exporters, messages)
    _wait(exporters, waiting, clock, before)
    events: list[Event] = []
    for number, item in enumerate(exporters):
        end = min(gone.get(number, int(clock[-1])), int(clock[-1]))
        for period in sorted(item.periods):
            if (period + 1) * PERIOD <= end:
                closed = int(np.searchsorted(clock, (period + 1) * PERIOD))
                events += _close(number, item, period, closed, offsets[number])
    return sorted(events, key=lambda event: (event.closed, exporters[event.exporter].key, event.period, event.action))


def batch(
    events: list[Event],
    exporters: list[Exporter],
    observers: list[str | None],
    segment: str,
    frame: Array,
    clock: Array,
) -> Batch:
    """The events as rows."""
    closed = np.array([event.closed for event in events], np.int64)
    steps = np.arange(len(events)) - np.searchsorted(closed, closed)
    who = np.array([event.exporter for event in events], np.int64)
    ends = np.array([(event.period + 1) * PERIOD for event in events], np.int64)
    names, place = np.unique(who, return_inverse=True)
    seen = [exporters[number] for number in names.tolist()]
    columns: dict[str, Any] = {
        "@timestamp": times(ends, None),
        "event.ingested": times(clock[closed], None),
        "csirt.segment": codes(np.zeros(len(events), np.int64), [segment]),
        "csirt.ordinal": (frame[closed] << 16 | np.minimum(steps, 0xFFFF)).astype(np.uint64) | np.uint64(OWN),
        "observer.ip": codes(place, [item.address or None for item in seen]),
        "observer.name": codes(place, [observers[number] for number in names.tolist()]),
        "event.action": pa.array([event.action for event in events]).dictionary_encode(),
        "csirt.self.subject": codes(place, [f"{i.address} v{i.version} domain {i.domain}" for i in seen]),
        "csirt.self.value": pa.array([event.value for event in events], pa.float64()),
        "csirt.self.unit": pa.array([event.unit for event in events]).dictionary_encode(),
    }
    return assemble("self", columns)


def _count(exporters: list[Exporter], messages: Messages) -> None:
    own = np.array([item.own for item in exporters] or [False], bool)
    mine = np.flatnonzero((messages.exporter >= 0) & own[np.maximum(messages.exporter, 0)])
    if not len(mine):
        return
    period = messages.clock[mine] // PERIOD
    group, first = np.empty(len(mine), np.int64), np.empty(len(mine), np.int64)
    zero = np.zeros(len(mine), np.int64)
    count = numbering.number_keys(messages.exporter[mine], period, zero, zero, group, first)
    sums = [
        np.bincount(group, values[mine], count).astype(np.int64).tolist()
        for values in (messages.lost, messages.units, messages.malformed)
    ]
    order = np.argsort(group, kind="stable")
    timed = order[messages.export[mine[order]] > 0]
    starts = np.searchsorted(group[timed], np.arange(count + 1)).tolist()
    skew = (messages.export - messages.time)[mine[timed]]
    for place in range(count):
        at = first[place]
        item = exporters[int(messages.exporter[mine[at]])]
        item.mark()
        known = item.periods.setdefault(int(period[at]), Period())
        known.lost += sums[0][place]
        known.units += sums[1][place]
        known.malformed += sums[2][place]
        begin, room = starts[place], SAMPLES - len(known.skews)
        known.skews += skew[begin : min(starts[place + 1], begin + room)].tolist()


def _wait(exporters: list[Exporter], waiting: Waiting, clock: Array, before: int) -> None:
    """Count sets in the minute in which their patience ends, unless their template came before that was over."""
    if not len(waiting.exporter):
        return
    period = (waiting.clock + PATIENCE) // PERIOD
    end = (period + 1) * PERIOD
    closing = end <= clock[-1]
    late = waiting.released >= np.searchsorted(clock, end)
    missing = np.flatnonzero((end > before) & ((closing & late) | (~closing & waiting.expired)))
    for number, when in zip(waiting.exporter[missing].tolist(), period[missing].tolist(), strict=True):
        if exporters[number].own:
            exporters[number].mark()
            exporters[number].periods.setdefault(when, Period()).missing += 1


def _close(number: int, item: Exporter, period: int, closed: int, offset: int) -> list[Event]:
    known = item.periods.pop(period)
    item.mark()
    events: list[Event] = []

    def say(action: str, value: float, unit: str) -> None:
        events.append(Event(closed, number, period, action, value, unit))

    if known.lost > 0:
        say("sequence_gap", known.lost / (known.lost + known.units), "share")
    if known.malformed:
        say("malformed", known.malformed, "sets")
    if known.missing:
        say("template_missing", known.missing, "sets")
    if known.skews:
        item.skew = median_low(known.skews) - offset
        if abs(item.skew) > SKEW:
            say("clock_skew", item.skew / 1e6, "s")
    return events
