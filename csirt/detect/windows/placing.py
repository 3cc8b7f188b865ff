"""Kernels that put rows to their groups in the pool of a `Held`: see `sliding`, which has what they are called by."""

from __future__ import annotations

from csirt.detect.windows.sliding import IDENTITY, LINES, ROW, STEP, TIME
from csirt.model.batch import Array


def touch(groups: Array, times: Array, marks: Array, touched: Array, least: Array) -> int:
    """The groups of rows, in the order they come, and the earliest time of each; how many. `marks`: scratch, a place
    per group."""
    count = 0
    for row in range(len(groups)):
        group = groups[row]
        mark = marks[group]
        if 0 <= mark < count and touched[mark] == group:
            least[mark] = min(least[mark], times[row])
        else:
            marks[group], touched[count], least[count] = count, group, times[row]
            count += 1
    return count


def lay(
    pool: Array,
    start: Array,
    length: Array,
    room: Array,
    used: int,
    groups: Array,
    lines: Array,
    base: int,
    step: int,
    cut: int,
    patience: int,
) -> tuple[int, int]:
    """Put rows to their groups in the order they come: `lines` has their lines up to ROW, which counts from `base`.
    Rows of other steps at or before `cut` leave the groups that are touched. A group that outgrows its room moves to
    the end, into twice as much. Gives up once more than `patience` rows had to make way. How many rows are put, and
    the new end of the used part."""
    for row in range(len(groups)):
        group = groups[row]
        first = start[group]
        size = length[group]
        gone = 0
        while gone < size and pool[first + gone, TIME] <= cut and pool[first + gone, STEP] != step:
            gone += 1
        first, size = first + gone, size - gone
        room[group] -= gone
        if size >= room[group]:
            for spot in range(size):
                for line in range(LINES):
                    pool[used + spot, line] = pool[first + spot, line]
            first = used
            room[group] = 2 * size + 4
            used += room[group]
        spot = first + size
        while spot > first:
            after = False
            for line in range(IDENTITY):
                if pool[spot - 1, line] != lines[line, row]:
                    after = pool[spot - 1, line] > lines[line, row]
                    break
            if not after:
                break
            for line in range(LINES):
                pool[spot, line] = pool[spot - 1, line]
            spot -= 1
        for line in range(IDENTITY):
            pool[spot, line] = lines[line, row]
        pool[spot, ROW], pool[spot, STEP] = base + row, step
        start[group], length[group] = first, size + 1
        patience -= first + size - spot
        if patience < 0:
            return row + 1, used
    return len(groups), used


def merge(
    pool: Array, start: Array, length: Array, room: Array, used: int, groups: Array, rows: Array, cut: int
) -> int:
    """As `lay`, of rows (lines as in the pool) that are sorted by group, then in order, in a time that does not depend
    on how they lie between those that are there. The new end of the used part."""
    index = 0
    while index < len(groups):
        group = groups[index]
        stop = index
        while stop < len(groups) and groups[stop] == group:
            stop += 1
        first = start[group]
        size = length[group]
        gone = 0
        while gone < size and pool[first + gone, TIME] <= cut and pool[first + gone, STEP] != rows[index, STEP]:
            gone += 1
        first, size = first + gone, size - gone
        room[group] -= gone
        whole = size + stop - index
        if whole > room[group]:
            for spot in range(size):
                for line in range(LINES):
                    pool[used + spot, line] = pool[first + spot, line]
            first = used
            room[group] = 2 * whole + 2
            used += room[group]
        start[group], length[group] = first, whole
        spot, old, new = first + whole - 1, first + size - 1, stop - 1
        while new >= index:
            after = False
            if old >= first:
                for line in range(IDENTITY):
                    if pool[old, line] != rows[new, line]:
                        after = pool[old, line] > rows[new, line]
                        break
            for line in range(LINES):
                pool[spot, line] = pool[old, line] if after else rows[new, line]
            if after:
                old -= 1
            else:
                new -= 1
            spot -= 1
        index = stop
    return used
