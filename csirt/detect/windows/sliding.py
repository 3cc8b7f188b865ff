"""Kernels of sliding windows over the rows of a `Held`: plain loops over arrays, compiled once they have much to do.

`pool` has one place per row, with one line per attribute; the rows of a group lie side by side in (time, event) order,
so that a group is in few lines of the machine's cache.
Every numbering kernel walks the touched groups: `left` is the first place that the window of the earliest new row can
reach, `first` the place of that row, `end` the place after the group's last row. For each row of this step it gives the
place, the place where its window begins, the group's index (`places`), and what it found in the window (`numbers`); it
returns how many.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from csirt.model.batch import Array

TIME, HIGH, LOW, VALUE, EXTRA, ROW, STEP = range(7)
LINES = 7
IDENTITY = 5  # the lines that make two rows the same, which are also their order
EVENT = 3  # the lines that make two rows the same event
NEVER = -(1 << 62)
# Rows walked by the interpreter before the kernels are compiled: below that it is done before numba has loaded, or the
# kernels have where it is loaded already.
COMPILE_FROM, LOADED_FROM = 1_000_000, 3_000


class Kernels:
    """The kernels, interpreted until they have walked so many rows that compiling them pays."""

    def __init__(self) -> None:
        self._walked = 0
        self._compiled: dict[str, Any] = {}

    def get(self, kernel: Callable[..., Any], rows: int) -> Callable[..., Any]:
        """The kernel, to be called for so many rows."""
        self._walked += rows
        if self._walked < (LOADED_FROM if "numba" in sys.modules else COMPILE_FROM):
            return kernel
        return self.compiled(kernel)

    def compiled(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        """The kernel as machine code."""
        name = kernel.__name__
        if name not in self._compiled:
            from csirt.model import jit  # which loads numba

            self._compiled[name] = jit.kernel(kernel)
        found: Callable[..., Any] = self._compiled[name]
        return found


KERNELS = Kernels()


def bounds(
    pool: Array,
    spots: Array,
    groups: Array,
    least: Array,
    span: int,
    left: Array,
    first: Array,
    end: Array,
) -> tuple[int, int]:
    """Per group the first place at or after `least - span`, the first one at or after `least`, and where it ends; how
    many places are from there to the ends, of all groups."""
    walked, most = 0, 0
    for index in range(len(groups)):
        begin = spots[groups[index], 0]
        end[index] = begin + spots[groups[index], 1]
        for which in range(2):
            wanted = least[index] - (0 if which else span)
            low, high = begin, end[index]
            while low < high:
                middle = (low + high) // 2
                if pool[middle, TIME] < wanted:
                    low = middle + 1
                else:
                    high = middle
            if which:
                first[index] = low
            else:
                left[index] = low
        walked += end[index] - left[index]
        most += end[index] - first[index]
    return walked, most


def lasting(pool: Array, end: Array, places: Array, numbers: Array, count: int) -> int:
    """Keep, of the numbered places, the last of each event: what the rows before it say is not of the whole event; how
    many."""
    kept = 0
    for found in range(count):
        spot = places[0, found]
        same = 0
        if spot + 1 < end[places[2, found]]:
            while same < EVENT and pool[spot, same] == pool[spot + 1, same]:
                same += 1
        if same < EVENT:
            for line in range(len(places)):
                places[line, kept] = places[line, found]
            for line in range(len(numbers)):
                numbers[line, kept] = numbers[line, found]
            kept += 1
    return kept


def beyond(pool: Array, begins: Array, lasts: Array, times: Array, highs: Array, lows: Array) -> None:
    """Move each beginning to the first place after that time and event, but not beyond the last place."""
    for index in range(len(begins)):
        low, high = begins[index], lasts[index]
        while low < high:
            middle = (low + high) // 2
            after = pool[middle, TIME] > times[index]
            if pool[middle, TIME] == times[index]:
                after = pool[middle, HIGH] > highs[index]
                if pool[middle, HIGH] == highs[index]:
                    after = pool[middle, LOW] > lows[index]
            if after:
                high = middle
            else:
                low = middle + 1
        begins[index] = low


def spread(
    pool: Array,
    begins: Array,
    lasts: Array,
    known: Array,
    highs: Array,
    lows: Array,
    rows: Array,
    fresh: Array,
    counts: Array,
) -> None:
    """The rows of runs of places, one run after the other: the line ROW, and whether a row is of another event than the
    one before it, which for the first of a run is that event where one is `known`; how many of a run are."""
    found = 0
    for index in range(len(begins)):
        count = 0
        for spot in range(begins[index], lasts[index] + 1):
            if spot > begins[index]:
                same = 0
                while same < EVENT and pool[spot, same] == pool[spot - 1, same]:
                    same += 1
                other = same < EVENT
            else:
                other = not known[index] or pool[spot, HIGH] != highs[index] or pool[spot, LOW] != lows[index]
            rows[found], fresh[found] = pool[spot, ROW], other
            count += other
            found += 1
        counts[index] = count


def totals(
    pool: Array, left: Array, first: Array, end: Array, span: int, step: int, places: Array, numbers: Array
) -> int:
    """Distinct events; distinct (event, value); and their sum: whole part in VALUE, millionths in EXTRA."""
    found = 0
    for index in range(len(left)):
        low = left[index]
        events, rows, whole, parts = 0, 0, 0, 0
        for spot in range(left[index], end[index]):
            same = 0
            if spot > left[index]:
                while same < IDENTITY and pool[spot, same] == pool[spot - 1, same]:
                    same += 1
            if same < EVENT:
                events += 1
            if same < IDENTITY:
                rows += 1
                whole += pool[spot, VALUE]
                parts += pool[spot, EXTRA]
            if spot < first[index]:
                continue
            while pool[low, TIME] < pool[spot, TIME] - span:
                same = 0
                while same < IDENTITY and pool[low, same] == pool[low + 1, same]:
                    same += 1
                if same < EVENT:
                    events -= 1
                if same < IDENTITY:
                    rows -= 1
                    whole -= pool[low, VALUE]
                    parts -= pool[low, EXTRA]
                low += 1
            if pool[spot, STEP] == step:
                places[0, found], places[1, found], places[2, found] = spot, low, index
                numbers[0, found], numbers[1, found] = events, rows
                numbers[2, found] = whole + parts / 1e6
                found += 1
    return found


def distinct(
    pool: Array, left: Array, first: Array, end: Array, span: int, step: int, places: Array, numbers: Array, seen: Array
) -> int:
    """Distinct values (EXTRA), and events. `seen` is all zeros, before and after."""
    found = 0
    for index in range(len(left)):
        low = left[index]
        values, events = 0, 0
        for spot in range(left[index], end[index]):
            same = 0
            if spot > left[index]:
                while same < EVENT and pool[spot, same] == pool[spot - 1, same]:
                    same += 1
            events += same < EVENT
            if seen[pool[spot, EXTRA]] == 0:
                values += 1
            seen[pool[spot, EXTRA]] += 1
            if spot < first[index]:
                continue
            while pool[low, TIME] < pool[spot, TIME] - span:
                same = 0
                while same < EVENT and pool[low, same] == pool[low + 1, same]:
                    same += 1
                events -= same < EVENT
                seen[pool[low, EXTRA]] -= 1
                if seen[pool[low, EXTRA]] == 0:
                    values -= 1
                low += 1
            if pool[spot, STEP] == step:
                places[0, found], places[1, found], places[2, found] = spot, low, index
                numbers[0, found], numbers[1, found] = values, events
                found += 1
        for spot in range(low, end[index]):
            seen[pool[spot, EXTRA]] = 0
    return found


def presence(
    pool: Array, left: Array, first: Array, end: Array, span: int, step: int, places: Array, numbers: Array, last: Array
) -> int:
    """Which rules (VALUE) have a row in the window, as a sum of powers of two. `last`: scratch, one per rule."""
    found = 0
    for index in range(len(left)):
        low = left[index]
        last[:] = NEVER
        for spot in range(left[index], end[index]):
            last[pool[spot, VALUE]] = pool[spot, TIME]
            if spot < first[index]:
                continue
            since = pool[spot, TIME] - span
            while pool[low, TIME] < since:
                low += 1
            if pool[spot, STEP] == step:
                mask, bit = 0, 1
                for rule in range(len(last)):
                    if last[rule] >= since:
                        mask += bit
                    bit *= 2
                places[0, found], places[1, found], places[2, found] = spot, low, index
                numbers[0, found] = mask
                found += 1
    return found


def sequence(
    pool: Array, left: Array, first: Array, end: Array, span: int, step: int, places: Array, numbers: Array, last: Array
) -> int:
    """Whether the window ending with the row's moment holds the rules in order, ending with the last one now. Rows of
    one moment are in any order, and speak with the last of them. `last`: scratch, two per rule: the latest beginning of
    a sequence up to that rule, and whether the rule has a row now."""
    found = 0
    rules = len(last) // 2
    for index in range(len(left)):
        low = left[index]
        last[:] = NEVER
        for spot in range(left[index], end[index]):
            now = pool[spot, TIME]
            last[rules + pool[spot, VALUE]] = now
            if spot + 1 < end[index] and pool[spot + 1, TIME] == now:
                continue
            for rule in range(rules):
                if last[rules + rule] == now:
                    last[rule] = now if rule == 0 else max(last[rule], last[rule - 1])
            if spot < first[index]:
                continue
            while pool[low, TIME] < now - span:
                low += 1
            if pool[spot, STEP] == step:
                places[0, found], places[1, found], places[2, found] = spot, low, index
                numbers[0, found] = last[2 * rules - 1] == now and last[rules - 1] >= now - span
                found += 1
    return found


def ranked(
    pool: Array,
    left: Array,
    first: Array,
    end: Array,
    span: int,
    step: int,
    places: Array,
    numbers: Array,
    values: Array,
    ordered: Array,
    share: float,
) -> int:
    """A quantile of the window's values (`values`: the pool as floats), interpolated. `ordered`: scratch."""
    found = 0
    for index in range(len(left)):
        low = left[index]
        size = 0
        for spot in range(left[index], end[index]):
            same = 0
            if spot > left[index]:
                while same < IDENTITY and pool[spot, same] == pool[spot - 1, same]:
                    same += 1
            if same < IDENTITY:
                at = size
                while at > 0 and ordered[at - 1] > values[spot, VALUE]:
                    ordered[at] = ordered[at - 1]
                    at -= 1
                ordered[at] = values[spot, VALUE]
                size += 1
            if spot < first[index]:
                continue
            while pool[low, TIME] < pool[spot, TIME] - span:
                same = 0
                while same < IDENTITY and pool[low, same] == pool[low + 1, same]:
                    same += 1
                if same < IDENTITY:
                    at = 0
                    while ordered[at] != values[low, VALUE]:
                        at += 1
                    size -= 1
                    for other in range(at, size):
                        ordered[other] = ordered[other + 1]
                low += 1
            if pool[spot, STEP] == step:
                under = share * (size - 1)
                whole = int(under)
                upper = min(whole + 1, size - 1)
                places[0, found], places[1, found], places[2, found] = spot, low, index
                numbers[0, found] = ordered[whole] + (ordered[upper] - ordered[whole]) * (under - whole)
                found += 1
    return found
