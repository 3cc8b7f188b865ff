"""Kernels of a beacon, over the rows of a `Held`: see `sliding`, which has what they are called by.

A contact is a row, or where rows have a session (EXTRA), all that follow each other with the same one; VALUE has the
bits of a row's size.
"""

from __future__ import annotations

from csirt.detect.windows.placing import LENGTH, ROOM, START
from csirt.detect.windows.sliding import EXTRA, STEP, TIME, VALUE
from csirt.model.batch import Array


def regular(
    pool: Array,
    left: Array,
    first: Array,
    end: Array,
    span: int,
    step: int,
    places: Array,
    numbers: Array,
    values: Array,
    sessions: bool,
    begins: Array,
    sizes: Array,
) -> int:
    """At each row that begins a contact, the last `len(begins)` of them in the window: the mean of the intervals
    between them, their standard deviation by it, and the same of the sizes of those before this one. `values`: the pool
    as floats. `begins` and `sizes`: scratch."""
    found = 0
    most = len(begins)
    for index in range(len(left)):
        for spot in range(first[index], end[index]):
            if pool[spot, STEP] != step:
                continue
            since = pool[spot, TIME] - span
            at = spot
            begins[0] = pool[spot, TIME]
            count, size = 0, 0.0
            while count < most:
                edge = at == left[index] or pool[at - 1, TIME] < since
                if edge or not sessions or pool[at - 1, EXTRA] != pool[at, EXTRA]:
                    begins[count] = pool[at, TIME]
                    if count:
                        sizes[count - 1] = size + values[at, VALUE]
                    size = 0.0
                    count += 1
                elif count == 0:
                    break  # it goes on with a contact
                else:
                    size += values[at, VALUE]
                if edge:
                    break
                at -= 1
            if count < most:
                continue
            at += not edge
            mean = (begins[0] - begins[most - 1]) / (most - 1)
            places[0, found], places[1, found], places[2, found] = spot, at, index
            numbers[0, found] = mean
            numbers[1, found] = 0.0
            total = 0.0
            for contact in range(most - 1):
                apart = begins[contact] - begins[contact + 1] - mean
                numbers[1, found] += apart * apart
                total += sizes[contact]
            # No interval at all is no even one.
            numbers[1, found] = (numbers[1, found] / (most - 1)) ** 0.5 / mean if mean > 0 else 1e300
            total /= most - 1
            numbers[2, found] = 0.0
            for contact in range(most - 1):
                numbers[2, found] += (sizes[contact] - total) * (sizes[contact] - total)
            numbers[2, found] = (numbers[2, found] / (most - 1)) ** 0.5 / total if total > 0 else 0.0
            found += 1
    return found


def trim(pool: Array, spots: Array, touched: Array, most: int, sessions: bool) -> int:
    """Let go of a group's rows before its last `most` contacts; how many rows."""
    gone = 0
    for index in range(len(touched)):
        group = touched[index]
        begin, count = spots[group, START], 0
        at = begin + spots[group, LENGTH] - 1
        while at > begin:
            if not sessions or pool[at - 1, EXTRA] != pool[at, EXTRA]:
                count += 1
                if count == most:
                    break
            at -= 1
        spots[group, START], spots[group, LENGTH] = at, spots[group, LENGTH] - (at - begin)
        spots[group, ROOM] -= at - begin
        gone += at - begin
    return gone
