"""The compiled loop that looks for many literals in many texts at once. Imported only where there are many of both.

A literal is looked for by one window of a few bytes of it, the one that fewest others have: the texts' windows are
hashed as they go by, and where a literal's window comes by the literal is compared, from the window outwards. No call
per match and no copy of the texts. The work is bound by the texts' bytes times the literals that share a window: a long
literal's window stands in it once (`literals.repeats`), so two places where it is compared match no further than they
lie apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

MIX = np.uint64(0x9E3779B97F4A7C15)
WIDE, PAIR, BYTE = np.uint64(0xFFFFFFFF), np.uint64(0xFFFF), np.uint64(0xFF)
EIGHT = np.uint64(8)
# Of a column: its whole texts' table, and the first of its windows' tables.
WHOLE, FIRST = 3, 5


@inlined
def place(window: Any, bits: Any) -> Any:
    """Where a window stands in a table of 2^bits."""
    return np.int64((window * MIX) >> np.uint64(64 - bits))


@inlined
def outline(data: Array, start: Any, end: Any) -> Any:
    """A number of a whole text: its length, its first and its last bytes."""
    found = np.uint64(0)
    for at in range(start, min(end, start + 4)):
        found = (found << EIGHT) | np.uint64(data[at])
    for at in range(max(start, end - 4), end):
        found = (found << EIGHT) | np.uint64(data[at])
    return found ^ (np.uint64(end - start) << np.uint64(56))


@inlined
def same(data: Array, at: Any, pool: Array, start: Any, length: Any, place: Any) -> bool:
    """Whether the bytes there are the literal's, read from `place` in it back to its start, then on to its end."""
    step = place
    while step >= 0 and data[at + step] == pool[start + step]:
        step -= 1
    if step >= 0:
        return False
    step = place + 1
    while step < length and data[at + step] == pool[start + step]:
        step += 1
    return bool(step == length)


@kernel
def literals(
    data: Array,
    offsets: Array,
    bounds: Array,
    columns: Array,
    known: Array,
    pairs: Array,
    heads: Array,
    entries: Array,
    pool: Array,
    last: Array,
    out: Array,
) -> int:
    """Texts that hold a literal. `bounds`: the first text of each column; `columns`: as `Literals` describes fields.
    `known`: which tables know a wide window that falls there, `pairs`: a narrow one that ends so. `heads`: where the
    entries of a place begin. `entries`: literal, start and length in the pool, bytes from its start to the end of its
    window, anchors, window. `last`: per literal the text it was found in last, -1 at first. `out`: (literal, text) as
    they are found; what is returned is how many there are, be there room for them or not."""
    count = 0
    for column in range(columns.shape[0]):
        wide, bits, narrow = columns[column, 0], columns[column, 1], columns[column, 2]
        whole = columns[column, WHOLE]
        shift = np.uint64(64 - bits)
        for text in range(bounds[column], bounds[column + 1]):
            start, end = np.int64(offsets[text]), np.int64(offsets[text + 1])
            if whole >= 0:
                head = whole + place(outline(data, start, end), columns[column, WHOLE + 1])
                for entry in range(heads[head], heads[head + 1]):
                    length = entries[entry, 2]
                    if length == end - start and same(data, start, pool, entries[entry, 1], length, -1):
                        if count < out.shape[0]:
                            out[count, 0], out[count, 1] = entries[entry, 0], text
                        count += 1
            if wide < 0 and narrow < 0:
                continue
            window = np.uint64(0)
            for at in range(start, end):
                window = ((window << EIGHT) | np.uint64(data[at])) & WIDE
                flags = 0
                if wide >= 0:
                    flags = known[wide + np.int64((window * MIX) >> shift)]
                if narrow >= 0:
                    flags |= pairs[narrow + np.int64(window & PAIR)]
                if not flags:
                    continue
                for which in range(6):
                    if not (flags >> which) & 1:
                        continue
                    part = window if which < 2 else window & PAIR if which < 4 else window & BYTE
                    head = columns[column, FIRST + 2 * which] + place(part, columns[column, FIRST + 2 * which + 1])
                    for entry in range(heads[head], heads[head + 1]):
                        literal = entries[entry, 0]
                        if np.uint64(entries[entry, 5]) != part or last[literal] == text:
                            continue
                        begin = at - entries[entry, 3]
                        close = begin + entries[entry, 2]
                        if begin < start or close > end:
                            continue
                        anchors = entries[entry, 4]
                        if (anchors & 1 and begin != start) or (anchors & 2 and close != end):
                            continue
                        if same(data, begin, pool, entries[entry, 1], entries[entry, 2], entries[entry, 3]):
                            last[literal] = text
                            if count < out.shape[0]:
                                out[count, 0], out[count, 1] = literal, text
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
