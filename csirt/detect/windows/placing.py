"""Kernels that put rows to their groups in the pool of a `Held`: see `sliding`, which has what they are called by.

`spots` has a line per group: the place of its first row, how many rows it has, for how many there is room, and scratch
of `touch`. What a group's rows need is side by side, for most groups are in no cache when a row of them comes.
"""

from __future__ import annotations

from csirt.detect.windows.sliding import IDENTITY, LINES, ROW, STEP, TIME
from csirt.model.batch import Array

START, LENGTH, ROOM, MARK = range(4)
SPOTS = 4


def touch(groups: Array, times: Array, spots: Array, touched: Array, least: Array) -> tuple[int, int]:
    """The groups of rows, in the order they come, and the earliest time of each; how many, and how many rows they have
    so far."""
    count, reaching = 0, 0
    for row in range(len(groups)):
        group = groups[row]
        mark = spots[group, MARK]
        if 0 <= mark < count and touched[mark] == group:
            least[mark] = min(least[mark], times[row])
        else:
            spots[group, MARK], touched[count], least[count] = count, group, times[row]
            reaching += spots[group, LENGTH]
            count += 1
    return count, reaching


def lay(
    pool: Array, spots: Array, used: int, groups: Array, lines: Array, base: int, step: int, cut: int, patience: int
) -> tuple[int, int]:
    """Put rows to their groups in the order they come: `lines` has their lines up to ROW, which counts from `base`. A
    group that outgrows its room moves to the end, into twice as much, without its rows of other steps at or before
    `cut`. Gives up once more than `patience` rows had to make way. How many rows are put, and the new end of the used
    part."""
    for row in range(len(groups)):
        group = groups[row]
        first, size = spots[group, START], spots[group, LENGTH]
        if size >= spots[group, ROOM]:
            while size and pool[first, TIME] <= cut and pool[first, STEP] != step:
                first, size = first + 1, size - 1
            for place in range(size):
                for line in range(LINES):
                    pool[used + place, line] = pool[first + place, line]
            first = used
            spots[group, START], spots[group, ROOM] = first, 2 * size + 4
            used += 2 * size + 4
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
        spots[group, LENGTH] = size + 1
        patience -= first + size - spot
        if patience < 0:
            return row + 1, used
    return len(groups), used


def merge(pool: Array, spots: Array, used: int, groups: Array, rows: Array, cut: int) -> int:
    """As `lay`, of rows (lines as in the pool) that are sorted by group, then in order, in a time that does not depend
    on how they lie between those that are there. The new end of the used part."""
    index = 0
    while index < len(groups):
        group = groups[index]
        stop = index
        while stop < len(groups) and groups[stop] == group:
            stop += 1
        first, size = spots[group, START], spots[group, LENGTH]
        if size + stop - index > spots[group, ROOM]:
            while size and pool[first, TIME] <= cut and pool[first, STEP] != rows[index, STEP]:
                first, size = first + 1, size - 1
            for place in range(size):
                for line in range(LINES):
                    pool[used + place, line] = pool[first + place, line]
            first = used
            spots[group, ROOM] = 2 * (size + stop - index) + 2
            used += spots[group, ROOM]
        spots[group, START], spots[group, LENGTH] = first, size + stop - index
        spot, old, new = first + size + stop - index - 1, first + size - 1, stop - 1
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
