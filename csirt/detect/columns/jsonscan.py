"""The compiled loop that reads NDJSON: one pass over the bytes, no object per line, field or value.

It takes the plain case: objects of texts, whole numbers, fractions, truth values, nulls, objects, and lists of plain
values. Whatever else comes, be it odd or broken, makes it stop: the piece is then read by a reader that says what is
wrong. Imported only where there is much to read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.detect.columns.jsontext import NO_ROOM, ODD, marker, same, taken, unescaped
from csirt.detect.columns.loads import copy, rank, whole
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

# What a value is. HARD is a number that this loop does not read exactly; its place in the bytes is kept.
TEXT, WHOLE, FRACTION, TRUTH, NULL, OBJECT, LIST, HARD = 0, 1, 2, 3, 4, 5, 6, 7
# Beside the kind of a list's member.
MEMBER = 8
DEPTH = 64
# Powers of ten that are exact.
_TENS = 10.0 ** np.arange(23)
_QUOTE, _BACK, _COLON, _COMMA, _OPEN, _CLOSE, _LIST, _END = 34, 92, 58, 44, 123, 125, 91, 93
_KEY, _VALUE = 0, 1


@inlined
def _blank(data: Array, at: Any) -> Any:
    while data[at] == 32 or data[at] == 9 or data[at] == 13:
        at += 1
    return at


@kernel
def _number(data: Array, at: int, found: Array) -> int:
    """Read a number; the place behind it, or -1. `found`: its kind, and itself where it is whole or its bits."""
    begin, minus = at, data[at] == 45
    if minus:
        at += 1
    value: Any = 0
    digits, scale = 0, 0
    zero = data[at] == 48
    while 48 <= data[at] <= 57:
        if digits < 18:
            value = value * 10 + np.int64(data[at]) - 48
        digits += 1
        at += 1
    if digits == 0 or (zero and digits > 1):
        return -1
    kind = WHOLE
    if data[at] == 46:
        kind = FRACTION
        at += 1
        behind = at
        while 48 <= data[at] <= 57:
            if digits < 18:
                value = value * 10 + np.int64(data[at]) - 48
            digits += 1
            at += 1
        scale = behind - at
        if scale == 0:
            return -1
    if data[at] | 32 == 101:
        kind = HARD
        at += 1
        if data[at] == 43 or data[at] == 45:
            at += 1
        behind = at
        while 48 <= data[at] <= 57:
            at += 1
        if at == behind:
            return -1
    if digits > 18 or (kind == FRACTION and (value >= 1 << 53 or scale < -22)) or (minus and value == 0):
        kind = HARD
    found[0], found[1] = kind, -value if minus else value
    if kind == FRACTION:
        found[2] = -scale
    if kind == HARD:
        found[1] = begin
    return at


@kernel
def read(
    data: Array,
    seed: int,
    secret: int,
    arena: Array,
    slots: Array,
    starts: Array,
    owners: Array,
    state: Array,
    tokens: Array,
    numbers: Array,
    fractions: Array,
    last: Array,
) -> tuple[int, int]:
    """Every value of the lines: (rows, tokens), or (ODD or NO_ROOM, 0). `data` ends with a line end and eight zeros.
    Texts and keys come to the `arena` once per field: a key belongs to -2 - the field of the object it stands in, a
    text to its field, whose number is that of its key. `tokens`: field, row, kind (and MEMBER in a list); `numbers`:
    the value, of a hard number its place; `fractions`: the same bytes as fractions. `state`: how many texts there are,
    the arena's end, how many lines were read. `last`: per text number the row
    where it was a key last, -1 at first."""
    stack = np.zeros(DEPTH + 1, np.int64)
    found = np.zeros(3, np.int64)
    follow = np.full(owners.size + 1, -1, np.int32)
    row, count, at, size = 0, 0, 0, data.size - 8
    base, held = data.ctypes.data, arena.ctypes.data
    while True:
        at = _blank(data, at)
        if at >= size:
            return row, count
        if data[at] == 10:
            at += 1
            state[2] += 1
            continue
        if data[at] != _OPEN:
            return ODD, 0
        depth, at, field, listed, before = 0, at + 1, -1, False, -1
        stack[0] = -1
        expect, fresh = _KEY, True
        while True:
            at = _blank(data, at)
            byte = np.int64(data[at])
            if expect == _KEY:
                if byte == _CLOSE and fresh:
                    depth -= 1
                    at += 1
                elif byte == _QUOTE:
                    # Lines are much alike: mostly the key is the one that came after the key before it last time.
                    guess, begin = follow[before + 1], at + 1
                    close = -1
                    if guess >= 0 and owners[guess] == -2 - stack[depth]:
                        behind = begin + starts[guess + 1] - starts[guess]
                        there = behind < size and data[behind] == _QUOTE
                        if there and same(held + starts[guess], base + begin, behind - begin):
                            close = behind
                    field = guess
                    if close < 0:
                        close = marker(base, begin)
                        plain = data[close] == _QUOTE
                        source, behind = base + begin, close - begin
                        if not plain:
                            close, tail = unescaped(data, begin, arena, state[1])
                            if close < 0:
                                return ODD, 0
                            source, behind = held + state[1], tail - state[1]
                        owner = -2 - stack[depth]
                        field = taken(source, behind, owner, seed, secret, arena, slots, starts, owners, state)
                        if field < 0:
                            return field, 0
                        follow[before + 1] = field if plain else -1
                    before = field
                    if last[field] == row:
                        return ODD, 0
                    last[field] = row
                    at = _blank(data, close + 1)
                    if data[at] != _COLON:
                        return ODD, 0
                    at += 1
                    expect, listed = _VALUE, False
                    continue
                else:
                    return ODD, 0
            else:
                if count >= tokens.shape[0]:
                    return NO_ROOM, 0
                kind, value = TEXT, 0
                if byte == _QUOTE:
                    close = marker(base, at + 1)
                    source, behind = base + at + 1, close - at - 1
                    if data[close] != _QUOTE:
                        close, tail = unescaped(data, at + 1, arena, state[1])
                        if close < 0:
                            return ODD, 0
                        source, behind = held + state[1], tail - state[1]
                    value = taken(source, behind, field, seed, secret, arena, slots, starts, owners, state)
                    if value < 0:
                        return value, 0
                    at = close + 1
                elif byte == _OPEN:
                    if listed or depth + 1 >= DEPTH:
                        return ODD, 0
                    kind = OBJECT
                    at += 1
                elif byte == _LIST:
                    if listed:
                        return ODD, 0
                    kind = LIST
                    at += 1
                elif byte == 116 and data[at + 1] == 114 and data[at + 2] == 117 and data[at + 3] == 101:
                    kind, value, at = TRUTH, 1, at + 4
                elif byte == 102 and data[at + 1] == 97 and data[at + 2] == 108 and data[at + 3] == 115:
                    if data[at + 4] != 101:
                        return ODD, 0
                    kind, at = TRUTH, at + 5
                elif byte == 110 and data[at + 1] == 117 and data[at + 2] == 108 and data[at + 3] == 108:
                    if listed:
                        return ODD, 0
                    kind, at = NULL, at + 4
                elif byte == 45 or 48 <= byte <= 57:
                    at = _number(data, at, found)
                    if at < 0:
                        return ODD, 0
                    kind, value = found[0], found[1]
                    if kind == FRACTION:
                        fractions[count] = found[1] / _TENS[found[2]]
                else:
                    return ODD, 0
                tokens[count, 0], tokens[count, 1], tokens[count, 2] = field, row, kind | MEMBER if listed else kind
                if kind != FRACTION:
                    numbers[count] = value
                count += 1
                if kind == OBJECT:
                    depth += 1
                    stack[depth] = field
                    expect, fresh = _KEY, True
                    continue
                if kind == LIST:
                    listed = True
                    at = _blank(data, at)
                    if data[at] != _END:
                        continue
                    at += 1
                    listed = False
                elif listed:
                    at = _blank(data, at)
                    if data[at] == _COMMA:
                        at += 1
                        continue
                    if data[at] != _END:
                        return ODD, 0
                    at += 1
                    listed = False
            # Behind a value: what of the objects around it ends here.
            more = False
            while depth >= 0:
                at = _blank(data, at)
                if data[at] == _CLOSE:
                    depth -= 1
                    at += 1
                elif data[at] == _COMMA:
                    at += 1
                    more = True
                    break
                else:
                    return ODD, 0
            if depth < 0:
                break
            if not more:
                return ODD, 0
            expect, fresh = _KEY, False
        at = _blank(data, at)
        if data[at] != 10:
            return ODD, 0
        at += 1
        row += 1
        state[2] += 1


@kernel
def by_field(tokens: Array, count: int, edges: Array, order: Array, kinds: Array) -> None:
    """The tokens of each field behind one another, as they came. `edges`: zeros, two more than fields; then where each
    field's begin. `kinds`: zeros; then which kinds each field has, a bit for each."""
    for at in range(count):
        edges[tokens[at, 0] + 2] += 1
        kinds[tokens[at, 0]] |= 1 << tokens[at, 2]
    for field in range(2, edges.size):
        edges[field] += edges[field - 1]
    for at in range(count):
        field = tokens[at, 0] + 1
        order[edges[field]] = at
        edges[field] += 1


@kernel
def text_columns(
    fields: Array,
    lefts: Array,
    ordered: Array,
    starts: Array,
    arena: Array,
    tokens: Array,
    numbers: Array,
    order: Array,
    edges: Array,
    places: Array,
    firsts: Array,
    heads: Array,
    words: Array,
    ranks: Array,
    codes: Array,
    bounds: Array,
    data: Array,
) -> None:
    """Packed columns of fields that are text alone, as `packedtext.Text` has them. `lefts`: where the texts of each
    begin among those `ordered` by field; `places`: the code of each text in its field."""
    end = 0
    for at in range(fields.size):
        field, head, first = fields[at], heads[at], firsts[at]
        bounds[head] = end
        for text in range(heads[at + 1] - head - 1):
            start = starts[ordered[lefts[at] + text]]
            length = whole(starts[ordered[lefts[at] + text] + 1] - start)
            copy(data.ctypes.data + end, arena.ctypes.data + start, length)
            end += length
            bounds[head + text + 1] = end
        for place in range(edges[field], edges[field + 1]):
            token = order[place]
            row = tokens[token, 1]
            words[at, row >> 6] |= np.uint64(1) << np.uint64(row & 63)
            codes[first + place - edges[field]] = places[numbers[token]]
        rank(words[at], ranks[at])
