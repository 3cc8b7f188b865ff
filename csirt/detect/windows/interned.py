"""Texts as numbers that stay: a hash table in flat arrays, for the interpreter's costs a microsecond a text."""

from __future__ import annotations

import secrets
from copy import copy
from itertools import repeat

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.windows.sliding import KERNELS
from csirt.model.batch import Array

CHUNK = 16_384
_KEYS = np.array([secrets.randbits(63) | 1 for _ in range(2)], np.int64)  # nobody outside can make texts collide


class Interned:
    """The code of each text, from 0 in the order they came. By a dictionary at first, by a table in arrays once the
    kernels are compiled: `_bytes` has all texts, one after the other, `_ends` where each ends, `_slots` codes by hash,
    each with half of its hash.
    """

    def __init__(self) -> None:
        self._plain: dict[str, int] | None = {}
        self._names: list[str] = []
        self._empty()

    def _empty(self) -> None:
        self._count = 0
        self._bytes = np.empty(0, np.uint8)
        self._ends = np.zeros(1, np.int64)
        self._hashes = np.empty(0, np.int64)
        self._slots = np.full(16, -1, np.int64)

    def copy(self) -> Interned:
        """Another one with the same texts."""
        made = copy(self)
        if self._plain is not None:
            made._plain, made._names = dict(self._plain), list(self._names)
        made._bytes, made._ends = self._bytes.copy(), self._ends.copy()
        made._hashes, made._slots = self._hashes.copy(), self._slots.copy()
        return made

    def __len__(self) -> int:
        return self._count if self._plain is None else len(self._names)

    def codes(self, column: pa.ChunkedArray) -> Array:
        """The code of each row's text, new texts added."""
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if self._plain is not None and KERNELS.get(intern, len(array)) is intern:
            return self._by_dictionary(array)
        return self._by_table(array)

    def _by_dictionary(self, array: pa.StringArray) -> Array:
        assert self._plain is not None
        encoded = pc.dictionary_encode(array)
        texts = encoded.dictionary.to_pylist()
        codes = np.fromiter(map(self._plain.get, texts, repeat(-1)), np.int64, len(texts))
        for index in np.flatnonzero(codes < 0).tolist():
            codes[index] = self._plain[texts[index]] = len(self._names)
            self._names.append(texts[index])
        found: Array = codes[np.asarray(encoded.indices.to_numpy())]
        return found

    def _by_table(self, array: pa.StringArray) -> Array:
        if self._plain is not None:
            names, self._plain, self._names = self._names, None, []
            self._by_table(pa.array(names, pa.string()))
        codes = np.empty(len(array), np.int64)
        for start in range(0, len(array), CHUNK):  # there is room for all of them, if none was there before
            part = array.slice(start, CHUNK)
            offsets, data = _buffers(part)
            self._room(len(part), int(offsets[-1] - offsets[0]))
            arrays = self._bytes, _words(self._bytes), self._ends, self._hashes, self._slots
            run = KERNELS.compiled(intern)
            self._count = run(data, _words(data), offsets, _KEYS, *arrays, self._count, codes[start : start + CHUNK])
        return codes

    def _room(self, count: int, size: int) -> None:
        """Room for so many texts more, of so many bytes."""
        used = int(self._ends[self._count])
        if used + size > len(self._bytes):
            self._bytes = _longer(self._bytes, used, used + size)
        if self._count + count > len(self._hashes):
            self._ends = _longer(self._ends, self._count + 1, self._count + count + 1)
            self._hashes = _longer(self._hashes, self._count, len(self._ends) - 1)
        if 2 * (self._count + count) > len(self._slots):
            self._slots = np.full(1 << (4 * (self._count + count)).bit_length(), -1, np.int64)
            KERNELS.compiled(seat)(self._hashes, self._slots, self._count)

    def names(self, codes: Array) -> list[str]:
        """The texts of these codes."""
        if self._plain is not None:
            return [self._names[code] for code in codes.tolist()]
        edges = zip(self._ends[codes].tolist(), self._ends[codes + 1].tolist(), strict=True)
        return [self._bytes[start:end].tobytes().decode() for start, end in edges]

    def texts(self, start: int = 0, end: int | None = None) -> pa.LargeStringArray:
        """The texts of the codes from `start` to before `end`; not to be used once more are added."""
        size = (len(self) if end is None else end) - start
        if self._plain is not None:
            return pa.array(self._names[start : start + size], pa.large_string())
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._bytes)]
        return pa.Array.from_buffers(pa.large_string(), self._count, buffers).slice(start, size)

    def keep(self, codes: Array) -> None:
        """Keep only these texts, which are codes 0 … from now on."""
        if self._plain is not None:
            self._names = self.names(codes)
            self._plain = {name: code for code, name in enumerate(self._names)}
            return
        texts = self.texts().take(pa.array(codes))
        self._empty()
        for start in range(0, len(texts), CHUNK):
            self._by_table(texts.slice(start, CHUNK).cast(pa.string()))


def _buffers(array: pa.StringArray) -> tuple[Array, Array]:
    """Where the texts begin and end, and their bytes."""
    _, offsets, data = array.buffers()
    edges = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return edges, np.frombuffer(data if data is not None else b"", np.uint8)


def _longer(values: Array, used: int, least: int) -> Array:
    """The used ones in an array that is at least so long, and twice as long as before."""
    longer = np.zeros(max(least, 2 * len(values)), values.dtype)
    longer[:used] = values[:used]
    return longer


def _words(octets: Array) -> Array:
    """The eight octets at each place as a number."""
    return np.ndarray((max(len(octets) - 7, 0),), np.int64, octets, 0, (1,))


def intern(
    data: Array,
    words: Array,
    offsets: Array,
    keys: Array,
    texts: Array,
    known: Array,
    ends: Array,
    hashes: Array,
    slots: Array,
    count: int,
    codes: Array,
) -> int:
    """The code of each text of a column, new ones put to the table; how many there are then. `words` and `known`: what
    `data` and `texts` have at each place, eight octets at once.

    First the hash of each, then where that is in the table: what memory is asked for does not wait for what was asked
    for before."""
    mask = len(slots) - 1
    start = np.int64(offsets[0])
    for row in range(len(codes)):
        size = offsets[row + 1] - start
        whole = size >> 3
        hashed = keys[0] ^ size
        for at in range(whole):
            hashed = (hashed ^ words[start + 8 * at]) * keys[1]
            hashed ^= (hashed >> 32) & 0xFFFFFFFF
        if whole:  # the last eight, some of them again
            last = words[start + size - 8]
        else:
            last = np.int64(0)
            for at in range(size):
                last = last << 8 | data[start + at]
        hashed = (hashed ^ last) * keys[1]
        codes[row] = hashed ^ (hashed >> 32) & 0xFFFFFFFF
        start += size
    near = np.int64(0)
    for row in range(len(codes)):
        found = slots[codes[row] & mask]
        if found != -1:
            near ^= texts[ends[found & 0xFFFFFFFF]]
    if count < 0:  # it never is, but then the compiler cannot leave the loop out
        return int(near)
    start = np.int64(offsets[0])
    for row in range(len(codes)):
        size = offsets[row + 1] - start
        whole = size >> 3
        hashed = codes[row]
        tag = hashed >> 32 << 32  # a slot has half of the hash beside the code
        slot = hashed & mask
        found = slots[slot]
        while found != -1:
            code = found & 0xFFFFFFFF
            if found - code == tag:
                base = ends[code]
                if ends[code + 1] - base == size:
                    at = 0
                    while at < whole and known[base + 8 * at] == words[start + 8 * at]:
                        at += 1
                    if at == whole:
                        at *= 8
                        while at < size and texts[base + at] == data[start + at]:
                            at += 1
                        if at == size:
                            break
            slot = (slot + 1) & mask
            found = slots[slot]
        if found == -1:
            code = count
            slots[slot], hashes[code] = tag | code, hashed
            base = ends[code]
            for at in range(size):
                texts[base + at] = data[start + at]
            ends[code + 1] = base + size
            count += 1
        codes[row] = code
        start += size
    return count


def seat(hashes: Array, slots: Array, count: int) -> None:
    """Put codes into an empty table."""
    mask = len(slots) - 1
    for code in range(count):
        slot = hashes[code] & mask
        while slots[slot] != -1:
            slot = (slot + 1) & mask
        slots[slot] = hashes[code] >> 32 << 32 | code
