"""Compiled tables of keys: rows numbered by what they have in common, or looked up among keys that are known."""

from __future__ import annotations

import numpy as np

from csirt.decode.netflow.scan import Number
from csirt.model.batch import Array
from csirt.model.jit import kernel

STRAIGHT = 1 << 16  # keys that can be, for there to be a place for each


@kernel
def number_keys(a: Array, b: Array, c: Array, d: Array, number: Array, first: Array) -> Number:
    """Number the distinct keys (a, b, c, d) in order of appearance: number[i] is row i's, first[k] key k's row."""
    n = a.size
    size = 16
    while size < 2 * n:
        size *= 2
    table = np.full(size, -1, np.int64)
    count = 0
    for i in range(n):
        h = np.uint64(a[i]) * np.uint64(0x9E3779B97F4A7C15)
        h = (h ^ (h >> np.uint64(29)) ^ np.uint64(b[i])) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(32)) ^ np.uint64(c[i])) * np.uint64(0x94D049BB133111EB)
        h = (h ^ (h >> np.uint64(31)) ^ np.uint64(d[i])) * np.uint64(0x9E3779B97F4A7C15)
        slot = np.int64((h >> np.uint64(20)) & np.uint64(size - 1))
        while True:
            k = table[slot]
            if k < 0:
                table[slot] = count
                first[count] = i
                number[i] = count
                count += 1
                break
            j = first[k]
            if a[j] == a[i] and b[j] == b[i] and c[j] == c[i] and d[j] == d[i]:
                number[i] = k
                break
            slot = (slot + 1) & (size - 1)
    return count


@kernel
def _slot_of(a: Number, b: Number, size: Number) -> Number:
    h = (np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(b)) * np.uint64(0xBF58476D1CE4E5B9)
    return (h ^ (h >> np.uint64(32))) & np.uint64(size - 1)


@kernel
def find_texts(
    group: Array, records: Array, number: Array, known_group: Array, known_number: Array, text: Array, codes: Array,
    valid: Array, order: Array,
) -> Number:  # fmt: skip
    """The text of each row's key (its set's `group`, its own `number`) as the code of a dictionary column.

    The known keys differ; `text[k]` is the number of what key k is called. Codes are given in order of appearance:
    `order[code]` is the text's number, and how many there are is returned. A row whose key is not known has the code 0
    and no bit in `valid` (least significant first).
    """
    groups: Number = 0
    span: Number = 0
    for k in range(known_group.size):
        groups = max(groups, known_group[k] + 1)
        span = max(span, known_number[k] + 1) if 0 <= known_number[k] < STRAIGHT else STRAIGHT
    for s in range(group.size):
        groups = max(groups, group[s] + 1)
    straight = span * groups < STRAIGHT
    size = 16
    while size < 8 * known_group.size:  # so few are beside their place that the loops below are as good as straight
        size *= 2
    size = groups * span + 1 if straight else size
    place: Array = np.full(size, -1, np.int32)  # -1: no key; below: key of text -2 - value; else its text's code
    own_group = np.full(0 if straight else size, -1, np.int64)
    own_number = np.zeros(0 if straight else size, np.int64)
    for k in range(known_group.size):
        if straight:
            slot = np.uint64(known_group[k] * span + known_number[k])
        else:
            slot = _slot_of(known_group[k], known_number[k], size)
            while place[slot] != -1:
                slot = (slot + np.uint64(1)) & np.uint64(size - 1)
            own_group[slot] = known_group[k]
            own_number[slot] = known_number[k]
        place[slot] = -2 - text[k]
    given: Array = np.full(order.size, -1, np.int32)
    count: Number = 0
    row: Number = 0
    bits: Number = 0
    for s in range(group.size):
        g = group[s]
        base = np.uint64(g * span)
        for _ in range(records[s]):
            n = np.uint64(number[row])
            if straight:
                slot = base + n if n < np.uint64(span) else np.uint64(size - 1)
            else:
                slot = _slot_of(g, n, size)
                while place[slot] != -1 and (own_group[slot] != g or np.uint64(own_number[slot]) != n):
                    slot = (slot + np.uint64(1)) & np.uint64(size - 1)
            code: Number = place[slot]
            if code < -1:
                name = -2 - code
                code = given[name]
                if code < 0:
                    code = np.int32(count)
                    given[name] = code
                    order[count] = name
                    count += 1
                place[slot] = code
            known = code >= 0
            codes[row] = code if known else 0
            bits |= np.int64(known) << (row & 7)
            if row & 7 == 7:
                valid[row >> 3] = bits
                bits = 0
            row += 1
    if row & 7:
        valid[row >> 3] = bits
    return count
