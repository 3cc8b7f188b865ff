"""The distinct values of a column and the code of each row: tests run once per value, however many rows have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Array

TEXT, NUMBER, TRUTH, OTHER = 0, 1, 2, 3
# Of fewer places the compiled loop is not worth its loading.
FEW_BITS = 4096


class Packed:
    """Codes of the rows that have a value, and nothing of the others: `words`: a bit for each row; `ranks`: how many
    there are before each word of 64."""

    __slots__ = ("codes", "ranks", "rows", "words")

    def __init__(self, rows: int, where: Array, codes: Array) -> None:
        """`where`: the rows, sorted."""
        self.rows = rows
        self.codes = np.ascontiguousarray(codes, np.int32)
        bits_ = np.zeros((rows + 63) // 64 * 64, bool)
        bits_[where] = True
        self.words = np.packbits(bits_, bitorder="little").view(np.uint64)
        self.ranks = np.zeros(len(self.words), np.int32)
        np.cumsum(np.bitwise_count(self.words[:-1]), out=self.ranks[1:])

    @classmethod
    def of(cls, rows: int, words: Array, ranks: Array, codes: Array) -> Packed:
        """Of what is known already."""
        made = cls.__new__(cls)
        made.rows, made.words, made.ranks, made.codes = rows, words, ranks, codes
        return made

    def where(self) -> Array:
        """The rows that have a value."""
        return ones(self.words.view(np.uint8), 0, self.rows)

    def at(self, rows: Array) -> Array:
        """The codes of some rows, -1 for none."""
        place, bit = rows >> 6, (rows & 63).astype(np.uint64)
        word = self.words[place]
        there = ((word >> bit) & np.uint64(1)).astype(bool)
        before = np.bitwise_count(word & ((np.uint64(1) << bit) - np.uint64(1)))
        found = np.full(len(rows), -1, np.int32)
        found[there] = self.codes[(self.ranks[place] + before)[there]]
        return found


class Distinct:
    """Distinct values of a column. `texts`: their text, no nulls. `codes`: per member, -1 for none. `parents`: the row
    of each member of a list column, None when rows are members. `kinds`: per distinct value TEXT, NUMBER, TRUTH or
    OTHER (an object, which no value test matches).

    `sparse`: codes that mean nothing where a bitmap (from an offset on) has no one, or packed ones; most columns of a
    mixed batch are mostly empty, and their codes are not asked for row by row."""

    __slots__ = ("_codes", "_members", "_sparse", "kinds", "parents", "texts")

    def __init__(
        self,
        texts: pa.StringArray,
        codes: Array | None,
        parents: Array | None = None,
        kinds: Array | None = None,
        sparse: tuple[Array, Array, int] | Packed | None = None,
    ) -> None:
        self.texts = texts
        self._codes = codes
        self.parents = parents
        self.kinds = kinds
        self._sparse = sparse
        self._members: tuple[Array, Array] | None = None

    @property
    def codes(self) -> Array:
        """The code of every member."""
        if self._codes is None:
            assert self._sparse is not None
            if isinstance(self._sparse, Packed):
                self._codes = np.full(self._sparse.rows, -1, np.int32)
                self._codes[self._sparse.where()] = self._sparse.codes
            else:
                codes, bitmap, offset = self._sparse
                self._codes = np.where(bits(bitmap, offset, len(codes)), codes, -1)
        return self._codes

    def empty(self) -> Array:
        """Which members have no value."""
        if self._codes is not None or self._sparse is None:
            return self.codes < 0
        if isinstance(self._sparse, Packed):
            return ~bits(self._sparse.words, 0, self._sparse.rows)
        codes, bitmap, offset = self._sparse
        return ~bits(bitmap, offset, len(codes))

    @property
    def count(self) -> int:
        """How many members there are, with a value or without."""
        if self._codes is not None or self._sparse is None:
            return len(self.codes)
        return self._sparse.rows if isinstance(self._sparse, Packed) else len(self._sparse[0])

    def at(self, rows: Array) -> Array:
        """The codes of some members."""
        if self._codes is not None or self._sparse is None:
            return self.codes[rows]
        if isinstance(self._sparse, Packed):
            return self._sparse.at(rows)
        codes, bitmap, offset = self._sparse
        places = rows + offset
        there = (bitmap[places >> 3] >> (places & 7).astype(np.uint8)) & 1
        return np.where(there.astype(bool), codes[rows], -1)

    def physical(self) -> tuple[Array, Array | None, int, Array | None]:
        """(32-bit codes, bitmap of what is there or None: all that is no -1, offset of the bitmap, ranks of packed
        codes)."""
        if isinstance(self._sparse, Packed):
            return self._sparse.codes, self._sparse.words, 0, self._sparse.ranks
        if self._codes is None and self._sparse is not None:
            return *self._sparse, None
        return np.ascontiguousarray(self.codes, np.int32), None, 0, None

    def members(self) -> tuple[Array, Array]:
        """(members that have a value, their codes)."""
        if self._members is None:
            if self._codes is not None or self._sparse is None:
                places = np.flatnonzero(self.codes >= 0)
                self._members = places, self.codes[places]
            elif isinstance(self._sparse, Packed):
                self._members = self._sparse.where(), self._sparse.codes
            else:
                codes, bitmap, offset = self._sparse
                places = ones(bitmap, offset, len(codes))
                self._members = places, codes[places]
        return self._members


def bits(buffer: Any, offset: int, count: int) -> Array:
    """A packed bitmap as booleans."""
    if not count:
        return np.array([], bool)
    first = offset // 8
    raw = np.frombuffer(buffer, np.uint8)[first : (offset + count + 7) // 8]
    return np.unpackbits(raw, bitorder="little")[offset - first * 8 :][:count].view(bool)


def ones(bitmap: Array, offset: int, count: int) -> Array:
    """Where a packed bitmap has ones."""
    if count < FEW_BITS:
        return np.flatnonzero(bits(bitmap, offset, count))
    from csirt.detect.columns import kernels

    found = np.empty(count, np.int64)
    return found[: kernels.ones(bitmap, offset, count, found)]


def numbers_of(array: Any) -> Array:
    """The numbers of a primitive array without a copy; what stands where it is null means nothing."""
    kind = array.type.to_pandas_dtype()
    if not len(array):
        return np.array([], kind)
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]


def of_dictionary(array: pa.DictionaryArray) -> Distinct:
    """The distinct values of dictionary text."""
    nulls = array.null_count
    if nulls == len(array):
        return Distinct(pa.array([], pa.string()), np.full(len(array), -1, np.int32))
    indices, texts = array.indices, array.dictionary
    if indices.type != pa.int32():
        indices = indices.cast(pa.int32())
    if nulls and not texts.null_count:
        bitmap = np.frombuffer(indices.buffers()[0], np.uint8)
        return Distinct(texts, None, sparse=(numbers_of(indices), bitmap, indices.offset))
    numbers = numbers_of(indices.fill_null(-1) if nulls else indices)
    if texts.null_count:
        missing = np.asarray(pc.is_null(texts).to_numpy(zero_copy_only=False))
        numbers = np.where(np.append(missing, True)[numbers], -1, numbers)
        texts = pc.fill_null(texts, "")
    return Distinct(texts, numbers)
