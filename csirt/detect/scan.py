"""The compiled loops that look for many literals in many texts at once. Imported only where there are many of both.

A literal is looked for by one window of a few bytes of it, the one that fewest others have: the texts' windows are
hashed as they go by, and where a literal's window comes by the literal is compared. No call per match, no copy of the
texts, and work that is bound by the texts' bytes times the literals that share a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

MIX = np.uint64(0x9E3779B97F4A7C15)


@inlined
def place(window: Any, bits: int) -> Any:
    """Where a window stands in a table of 2^bits."""
    return np.int64((np.uint64(window) * MIX) >> np.uint64(64 - bits))


@inlined
def outline(data: Array, start: int, end: int) -> Any:
    """A number of a whole text: its length and its first and last bytes."""
    found = np.uint64(end - start)
    for at in range(start, min(end, start + 8)):
        found = (found ^ np.uint64(data[at])) * MIX
        found ^= found >> np.uint64(29)
    for at in range(max(start, end - 8), end):
        found = (found ^ np.uint64(data[at])) * MIX
        found ^= found >> np.uint64(29)
    return found


@inlined
def same(data: Array, at: int, pool: Array, start: int, length: int) -> bool:
    """Whether the bytes there are the literal's."""
    step = 0
    while step < length and data[at + step] == pool[start + step]:
        step += 1
    return step == length


@kernel
def whole(
    data: Array, offsets: Array, bounds: Array, tables: Array, heads: Array, entries: Array, pool: Array, out: Array
) -> int:
    """Texts that equal a literal. `bounds`: of each column, the texts it has. `tables`: per column the first of its
    `heads` and the bits of its table, none: -1. `entries`: literal, start and length in the pool. `out`: (literal,
    text) as they are found; what is returned is how many there are, be there room for them or not."""
    count = 0
    for column in range(tables.shape[0]):
        base, bits = tables[column, 0], tables[column, 1]
        if base < 0:
            continue
        for text in range(bounds[column], bounds[column + 1]):
            start, end = offsets[text], offsets[text + 1]
            head = base + place(outline(data, start, end), bits)
            for entry in range(heads[head], heads[head + 1]):
                if entries[entry, 2] == end - start and same(data, start, pool, entries[entry, 1], end - start):
                    if count < out.shape[0]:
                        out[count, 0] = entries[entry, 0]
                        out[count, 1] = text
                    count += 1
    return count


@kernel
def windows(
    width: int,
    data: Array,
    offsets: Array,
    bounds: Array,
    tables: Array,
    known: Array,
    heads: Array,
    entries: Array,
    pool: Array,
    last: Array,
    out: Array,
) -> int:
    """Texts that hold a literal, as `whole` has them. `known`: per head whether a literal stands there. `entries`:
    literal, start and length in the pool, offset of the window, anchors, window. `last`: per literal the text it was
    found in last, -1 at first."""
    count = 0
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * width)
    eight = np.uint64(8)
    for column in range(tables.shape[0]):
        base, bits = tables[column, 0], tables[column, 1]
        if base < 0:
            continue
        shift = np.uint64(64 - bits)
        for text in range(bounds[column], bounds[column + 1]):
            start, end = np.int64(offsets[text]), np.int64(offsets[text + 1])
            if end - start < width:
                continue
            window = np.uint64(0)
            for at in range(start, start + width - 1):
                window = (window << eight) | np.uint64(data[at])
            for at in range(start + width - 1, end):
                window = ((window << eight) | np.uint64(data[at])) & mask
                head = base + np.int64((window * MIX) >> shift)
                if not known[head]:
                    continue
                for entry in range(heads[head], heads[head + 1]):
                    literal = entries[entry, 0]
                    if np.uint64(entries[entry, 5]) != window or last[literal] == text:
                        continue
                    begin = at - (width - 1) - entries[entry, 3]
                    close = begin + entries[entry, 2]
                    anchors = entries[entry, 4]
                    if (
                        begin < start
                        or close > end
                        or (anchors & 1 and begin != start)
                        or (anchors & 2 and close != end)
                    ):
                        continue
                    if same(data, begin, pool, entries[entry, 1], entries[entry, 2]):
                        last[literal] = text
                        if count < out.shape[0]:
                            out[count, 0] = literal
                            out[count, 1] = text
                        count += 1
    return count


@kernel
def grouped(found: Array, count: int, starts: Array, texts: Array) -> None:
    """(literal, text) pairs by literal, each in the order they came. `starts`: zeros, one more than literals; then
    where each literal's `texts` begin."""
    for at in range(count):
        starts[found[at, 0] + 1] += 1
    for literal in range(starts.shape[0] - 1):
        starts[literal + 1] += starts[literal]
    for back in range(count - 1, -1, -1):
        literal = found[back, 0]
        starts[literal + 1] -= 1
        texts[starts[literal + 1]] = found[back, 1]
    for literal in range(starts.shape[0] - 1):
        starts[literal] = starts[literal + 1]
    starts[starts.shape[0] - 1] = count
