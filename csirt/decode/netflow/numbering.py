"""Compiled tables of keys: rows numbered by what they have in common, or looked up among keys that are known."""

from __future__ import annotations

import numpy as np

from csirt.decode.netflow.scan import Number
from csirt.model.batch import Array
from csirt.model.jit import kernel


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
def find_keys(
    group: Array, records: Array, number: Array, known_group: Array, known_number: Array, place: Array, used: Array
) -> None:
    """Which of the known keys, which differ, each row has (its set's `group`, its own `number`), counted from 1; 0:
    none. `used`: the numbers that were given."""
    size = 16
    while size < 8 * known_group.size:  # so few are beside their place that the loops below are as good as straight
        size *= 2
    groups = np.full(size, -1, np.int64)
    numbers = np.zeros(size, np.int64)
    places = np.zeros(size, np.int64)
    for k in range(known_group.size):
        slot = _slot_of(known_group[k], known_number[k], size)
        while groups[slot] >= 0:
            slot = (slot + np.uint64(1)) & np.uint64(size - 1)
        groups[slot] = known_group[k]
        numbers[slot] = known_number[k]
        places[slot] = k + 1
    row = 0
    for s in range(group.size):
        g = group[s]
        for _ in range(records[s]):
            n = number[row]
            slot = _slot_of(g, n, size)
            while (groups[slot] >= 0) & ((groups[slot] != g) | (numbers[slot] != n)):
                slot = (slot + np.uint64(1)) & np.uint64(size - 1)
            place[row] = places[slot]
            used[places[slot]] = True
            row += 1
