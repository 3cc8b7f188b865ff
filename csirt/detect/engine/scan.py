"""The compiled loop that looks for many literals in many texts at once. Imported only where there are many of both.

A literal is looked for by one window of a few bytes of it, the one that fewest others have. The texts' windows go by
against a filter of bits, without a branch; at the few places that pass it a window is looked up, and where it is a
literal's the literal is compared, from the window outwards. No call per match and no copy of the texts. The work is
bound by the texts' bytes times the literals that share a window: a long literal's window stands in it once
(`literals.repeats`), so two places where it is compared match no further than they lie apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.detect.columns.loads import pair, quad, uint8
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

MIX = np.uint64(0x9E3779B97F4A7C15)
ONE, THREE, SEVEN, EIGHT = np.uint32(1), np.uint64(3), np.uint64(7), np.uint64(8)
# Of a column: its filters of wide and narrow windows, its whole texts' table, the first of its windows' tables.
FILTER, NARROW, WHOLE, FIRST = 0, 2, 3, 5
# So many bytes go by the filter before the places that pass it are looked at.
BLOCK = 4096


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


@inlined
def four(data: Array, at: Any) -> Any:
    """The four bytes that end there, the last one highest."""
    return np.uint64(quad(np.int64(data.ctypes.data) + at - 3))


@inlined
def two(data: Array, at: Any) -> Any:
    """As `four`, two bytes."""
    return np.uint64(pair(np.int64(data.ctypes.data) + at - 1))


@inlined
def held(known: Array, first: Any, place: Any) -> bool:
    """Whether a filter has the bit of a place."""
    return bool((known[first + (place >> 3)] >> (place & 7)) & 1)


@inlined
def marked(data: Array, at: Any, end: Any, known: Array, wide: Any, bits: Any, narrow: Any, places: Array) -> Any:
    """The places from `at` on where a window ends that may be a literal's; how many there are."""
    count: Any = 0
    base, filters = np.int64(data.ctypes.data), np.int64(known.ctypes.data)
    wide, narrow, shift = filters + wide, filters + narrow, np.uint64(64 - bits)
    for here in range(at, min(end, 3)):  # no four bytes end there
        places[count] = here
        count += 1
    for here in range(max(at, 3), end):
        place, ends = (np.uint64(quad(base + here - 3)) * MIX) >> shift, np.uint64(pair(base + here - 1))
        broad = np.uint32(uint8(wide, np.int64(place >> THREE))) >> np.uint32(place & SEVEN)
        small = np.uint32(uint8(narrow, np.int64(ends >> THREE))) >> np.uint32(ends & SEVEN)
        places[count] = here
        count += np.int64((broad | small) & ONE)
    return count


@kernel
def literals(
    data: Array,
    offsets: Array,
    bounds: Array,
    columns: Array,
    known: Array,
    heads: Array,
    entries: Array,
    pool: Array,
    last: Array,
    out: Array,
) -> int:
    """Texts that hold a literal. `bounds`: the first text of each column; `columns`: as `Literals` describes fields.
    `known`: the filters. `heads`: where the entries of a place begin. `entries`: literal, start and length in the pool,
    bytes from its start to the end of its window, anchors, window. `last`: per literal the text it was found in last,
    -1 at first. `out`: (literal, text), of each literal in the texts' order; what is returned is how many there are, be
    there room for them or not."""
    count = 0
    places = np.empty(BLOCK + 1, np.int32)
    for column in range(columns.shape[0]):
        first, behind = bounds[column], bounds[column + 1]
        whole = columns[column, WHOLE]
        for text in range(first, behind if whole >= 0 else first):
            start, end = np.int64(offsets[text]), np.int64(offsets[text + 1])
            head = whole + place(outline(data, start, end), columns[column, WHOLE + 1])
            for entry in range(heads[head], heads[head + 1]):
                length = entries[entry, 2]
                if length == end - start and same(data, start, pool, entries[entry, 1], length, -1):
                    if count < out.shape[0]:
                        out[count, 0], out[count, 1] = entries[entry, 0], text
                    count += 1
        text, wide, narrow = first, columns[column, FILTER], columns[column, NARROW]
        bits = columns[column, FILTER + 1]
        stop = np.int64(offsets[behind]) if wide or narrow else np.int64(offsets[first])
        for block in range(np.int64(offsets[first]), stop, BLOCK):
            passed = marked(data, block, min(block + BLOCK, stop), known, wide, bits, narrow, places)
            for number in range(passed):
                at = np.int64(places[number])
                while offsets[text + 1] <= at:
                    text += 1
                start, end = np.int64(offsets[text]), np.int64(offsets[text + 1])
                for which in range(4):
                    table, size = columns[column, FIRST + 2 * which], 4 if which < 2 else 2
                    if table < 0 or at - start + 1 < size:
                        continue
                    part = four(data, at) if which < 2 else two(data, at)
                    if not held(
                        known, wide if which < 2 else narrow, place(part, bits) if which < 2 else np.int64(part)
                    ):
                        continue
                    head = table + place(part, columns[column, FIRST + 2 * which + 1])
                    for entry in range(heads[head], heads[head + 1]):
                        literal = entries[entry, 0]
                        if np.uint32(entries[entry, 5]) != part or last[literal] == text:
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
