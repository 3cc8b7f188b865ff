"""Compiled: a program of members, written row after row. See `ndjson_program` for what its tables hold.

Every copy moves 16 octets at a time: fragments, pool and output all end in SLACK octets that may be touched.
"""

from __future__ import annotations

import numpy as np

from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel
from csirt.model.ndjson_kinds import (
    ADDRESS,
    CLOSE,
    CONSTANT,
    IDENTITY,
    INT,
    OPEN,
    RELATED,
    TEXT,
    TIME,
    UINT,
)
from csirt.model.ndjson_text import Number, address, copy, decimal, hexadecimal, iso

COMMA, BRACE, CLOSED, QUOTE = 44, 123, 125, 34


@inlined
def _related(out: Array, p: Number, numbers: Array, one: Number, two: Number, row: Number) -> Number:
    """One address or both, once where they are the same."""
    out[p] = 91
    p += 1
    first = numbers[one, row] != 0
    if first:
        p = address(out, p, numbers[one, row], np.uint64(numbers[one + 1, row]), np.uint64(numbers[one + 2, row]))
    if two >= 0 and numbers[two, row] != 0:
        same = first
        for part in range(3):
            same = same and numbers[one + part, row] == numbers[two + part, row]
        if not same:
            if first:
                out[p] = COMMA
                p += 1
            p = address(out, p, numbers[two, row], np.uint64(numbers[two + 1, row]), np.uint64(numbers[two + 2, row]))
    out[p] = 93
    return p + 1


@inlined
def _value(out: Array, p: Number, kind: Number, numbers: Array, at: Number, other: Number, row: Number) -> Number:
    """A value of bounded length."""
    number = numbers[at, row]
    if kind == UINT:
        return decimal(out, p, np.uint64(number))
    if kind == TIME:
        return iso(out, p, number)
    if kind == ADDRESS:
        return address(out, p, number, np.uint64(numbers[at + 1, row]), np.uint64(numbers[at + 2, row]))
    if kind == RELATED:
        return _related(out, p, numbers, at, other, row)
    if kind == INT and number < 0:
        out[p] = 45
        return decimal(out, p + 1, np.uint64(-number))
    return decimal(out, p, np.uint64(number))


@kernel
def write(
    program: Array,
    fragments: Array,
    numbers: Array,
    valid: Array,
    data: Array,
    offsets: Array,
    bound: Number,
    row: Number,
    rows: Number,
    out: Array,
    ends: Array,
    opened: Array,
) -> tuple[Number, Number]:
    """Write rows from `row` on while they fit; the next row, and how many octets were written. `bound`: the most that
    a row needs besides its texts. `ends`: filled with the end of each row, unless it is empty.
    `opened`: room for a number per step."""
    p = 0
    size = len(out)
    while row < rows:
        start, depth = p, 0
        if p + bound > size:
            return row, start
        for step in range(len(program)):
            kind, at, mask = program[step, 0], program[step, 6], program[step, 8]
            if program[step, 2] > 0:
                p = copy(out, p, fragments, program[step, 1], program[step, 2])
            if kind == CONSTANT:
                continue
            if kind == CLOSE:
                depth -= 1
                if out[p - 1] == BRACE:
                    p = opened[depth]
                else:
                    out[p] = CLOSED
                    p += 1
                continue
            if mask >= 0 and not valid[mask, row]:
                continue
            if kind == OPEN:
                opened[depth] = p
                depth += 1
            if program[step, 4] > 0:
                first = 1 if program[step, 5] and out[p - 1] == BRACE else 0
                p = copy(out, p, fragments, program[step, 3] + first, program[step, 4] - first)
            if kind in (TEXT, IDENTITY):
                item = numbers[at, row]
                length = offsets[item + 1] - offsets[item]
                if p + length + bound > size:
                    return row, start
                if kind == TEXT:
                    p = copy(out, p, data, offsets[item], length)
                else:
                    out[p] = QUOTE
                    p = copy(out, p + 1, data, offsets[item], length)
                    p = hexadecimal(out, p, np.uint64(numbers[at + 1, row]))
                    out[p] = QUOTE
                    p += 1
            elif kind >= UINT:
                p = _value(out, p, kind, numbers, at, program[step, 7], row)
        if len(ends) > 0:
            ends[row] = p
        row += 1
    return row, p
