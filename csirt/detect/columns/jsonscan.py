"""The compiled loop that reads NDJSON: one pass over the bytes, no object per line, field or value.

It takes the plain case: objects of texts, whole numbers, fractions, truth values, nulls, objects, and lists of plain
values. Whatever else comes, be it odd or broken, makes it stop: the piece is then read by a reader that says what is
wrong. Imported only where there is much to read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

# What a value is. HARD is a number that this loop does not read exactly; its place in the bytes is kept.
TEXT, WHOLE, FRACTION, TRUTH, NULL, OBJECT, LIST, HARD = 0, 1, 2, 3, 4, 5, 6, 7
# Beside the kind of a list's member.
MEMBER = 8
# Why it stopped: an odd piece, or a table without room.
ODD, NO_ROOM = -1, -2
DEPTH = 64
_MIX, _FOLD = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)
# Powers of ten that are exact.
_TENS = 10.0 ** np.arange(23)
_QUOTE, _BACK, _COLON, _COMMA, _OPEN, _CLOSE, _LIST, _END = 34, 92, 58, 44, 123, 125, 91, 93
_KEY, _VALUE = 0, 1


@inlined
def _blank(data: Array, at: Any) -> Any:
    while data[at] == 32 or data[at] == 9 or data[at] == 13:
        at += 1
    return at


@inlined
def _hex(byte: Any) -> Any:
    if 48 <= byte <= 57:
        return byte - 48
    lower = byte | 32
    return lower - 87 if 97 <= lower <= 102 else -1


@inlined
def _four(data: Array, at: Any) -> Any:
    number = 0
    for step in range(4):
        digit = _hex(np.int64(data[at + step]))
        if digit < 0:
            return -1
        number = number * 16 + digit
    return number


@kernel
def _unescaped(data: Array, at: int, arena: Array, tail: int) -> tuple[int, int]:
    """Write the text that begins there to the arena; (place of its closing quote or -1, end in the arena)."""
    while True:
        byte = np.int64(data[at])
        if byte == _QUOTE:
            return at, tail
        if byte < 32:
            return -1, tail
        if byte != _BACK:
            arena[tail] = byte
            tail += 1
            at += 1
            continue
        kind = np.int64(data[at + 1])
        at += 2
        if kind == 117:
            point: Any = _four(data, at)
            at += 4
            if point < 0 or 0xDC00 <= point <= 0xDFFF:
                return -1, tail
            if 0xD800 <= point <= 0xDBFF:
                if data[at] != _BACK or data[at + 1] != 117:
                    return -1, tail
                low = _four(data, at + 2)
                at += 6
                if low < 0xDC00 or low > 0xDFFF:
                    return -1, tail
                point = 0x10000 + ((point - 0xD800) << 10) + low - 0xDC00
            if point < 0x80:
                arena[tail] = point
                tail += 1
            elif point < 0x800:
                arena[tail] = 0xC0 | (point >> 6)
                arena[tail + 1] = 0x80 | (point & 63)
                tail += 2
            elif point < 0x10000:
                arena[tail] = 0xE0 | (point >> 12)
                arena[tail + 1] = 0x80 | ((point >> 6) & 63)
                arena[tail + 2] = 0x80 | (point & 63)
                tail += 3
            else:
                arena[tail] = 0xF0 | (point >> 18)
                arena[tail + 1] = 0x80 | ((point >> 12) & 63)
                arena[tail + 2] = 0x80 | ((point >> 6) & 63)
                arena[tail + 3] = 0x80 | (point & 63)
                tail += 4
            continue
        plain: Any = kind
        if kind == 110:
            plain = 10
        elif kind == 116:
            plain = 9
        elif kind == 114:
            plain = 13
        elif kind == 98:
            plain = 8
        elif kind == 102:
            plain = 12
        elif kind != _QUOTE and kind != _BACK and kind != 47:
            return -1, tail
        arena[tail] = plain
        tail += 1


@kernel
def _taken(
    arena: Array, start: int, end: int, owner: int, seed: int, slots: Array, starts: Array, owners: Array, state: Array
) -> int:
    """The number of the text the arena ends with, among those of its owner; a text that is known already is taken off
    the arena again. -1: no room. `state`: how many texts there are, and the arena's end."""
    mixed: Any = np.uint64(seed) ^ (np.uint64(owner) * _MIX)
    for at in range(start, end):
        mixed = (mixed ^ np.uint64(arena[at])) * _MIX
        mixed ^= mixed >> _FOLD
    mask = slots.size - 1
    place = np.int64(mixed & np.uint64(mask))
    while True:
        known = int(slots[place])
        if known < 0:
            break
        first = starts[known]
        if owners[known] == owner and starts[known + 1] - first == end - start:
            step = 0
            while step < end - start and arena[first + step] == arena[start + step]:
                step += 1
            if step == end - start:
                state[1] = start
                return known
        place = (place + 1) & mask
    known = int(state[0])
    if 2 * known >= slots.size:
        return -1
    slots[place] = known
    owners[known] = owner
    starts[known + 1] = end
    state[0] = known + 1
    state[1] = end
    return known


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


@inlined
def _ahead(data: Array, at: Any, arena: Array, start: Any, end: Any) -> Any:
    """The place of the closing quote where the text there is that of the arena, else -1."""
    while start < end and data[at] == arena[start] and data[at] != _BACK and data[at] != _QUOTE:
        at += 1
        start += 1
    return at if start == end and data[at] == _QUOTE else -1


@kernel
def read(
    data: Array,
    seed: int,
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
    the value, of a hard number its place; `fractions`: the same bytes as fractions. `last`: per text number the row
    where it was a key last, -1 at first."""
    stack = np.zeros(DEPTH + 1, np.int64)
    found = np.zeros(3, np.int64)
    follow = np.full(owners.size + 1, -1, np.int32)
    row, count, at, size = 0, 0, 0, data.size - 8
    while True:
        at = _blank(data, at)
        if at >= size:
            return row, count
        if data[at] == 10:
            at += 1
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
                    guess = follow[before + 1]
                    close = -1
                    if guess >= 0 and owners[guess] == -2 - stack[depth]:
                        close = _ahead(data, at + 1, arena, starts[guess], starts[guess + 1])
                    field = guess
                    if close < 0:
                        close, tail = _unescaped(data, at + 1, arena, state[1])
                        if close < 0:
                            return ODD, 0
                        field = _taken(arena, state[1], tail, -2 - stack[depth], seed, slots, starts, owners, state)
                        if field < 0:
                            return NO_ROOM, 0
                        follow[before + 1] = field
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
                    close, tail = _unescaped(data, at + 1, arena, state[1])
                    if close < 0:
                        return ODD, 0
                    value = _taken(arena, state[1], tail, field, seed, slots, starts, owners, state)
                    if value < 0:
                        return NO_ROOM, 0
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
