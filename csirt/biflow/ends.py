"""Pairs of ends and their records, compiled: numbered, and chained in the order in which they are due."""

from __future__ import annotations

import numpy as np

from csirt.biflow.layout import KEY
from csirt.model.batch import Array
from csirt.model.jit import kernel


@kernel
def _mixed(key: Array, row: int, seed: np.uint64) -> np.uint64:
    value = seed
    for word in range(KEY):
        value = (value ^ key[row, word]) * np.uint64(0xFF51AFD7ED558CCD)
        value ^= value >> np.uint64(33)
        value *= np.uint64(0xC4CEB9FE1A85EC53)
        value ^= value >> np.uint64(29)
    return value


@kernel
def number(known: Array, count: int, key: Array, order: Array, seed: np.uint64, slots: Array, out: Array) -> int:
    """Number the pairs of ends of the rows in `order`: `out[i]` is where `key[i]` is in `known` (the first `count` are
    there; room for all), to which new ones are added. `slots` (int32, a power of two) is the hash table. Returns how
    many there are."""
    slots[:] = -1
    mask = np.uint64(len(slots) - 1)
    for row in range(count):
        place = _mixed(known, row, seed) & mask
        while slots[place] >= 0:
            place = (place + np.uint64(1)) & mask
        slots[place] = row
    for row in order:
        place = _mixed(key, row, seed) & mask
        while True:
            found = slots[place]
            if found < 0:
                for word in range(KEY):
                    known[count, word] = key[row, word]
                slots[place] = count
                found = count
                count += 1
                break
            same = True
            for word in range(KEY):
                if known[found, word] != key[row, word]:
                    same = False
                    break
            if same:
                break
            place = (place + np.uint64(1)) & mask
        out[row] = found
    return count


@kernel
def chain(pair: Array, order: Array, last: Array, out: Array) -> None:
    """The next record of the same two ends behind each record, or -1. `last`: room for a number per pair of ends."""
    last[:] = -1
    for index in range(len(order) - 1, -1, -1):
        row = order[index]
        out[row] = last[pair[row]]
        last[pair[row]] = row
