"""The distinct values of a column and the code of each row: tests run once per value, however many rows have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from csirt.model.batch import Array

TEXT, NUMBER, TRUTH, OTHER = 0, 1, 2, 3
# Of fewer places the compiled loop is not worth its loading.
FEW_BITS = 4096


class Distinct:
    """Distinct values of a column. `texts`: their text, no nulls. `codes`: per member, -1 for none. `parents`: the row
    of each member of a list column, None when rows are members. `kinds`: per distinct value TEXT, NUMBER, TRUTH or
    OTHER (an object, which no value test matches).

    `sparse`: codes that mean nothing where a bitmap (from an offset on) has no one; most columns of a mixed batch are
    mostly empty, and their codes are not asked for row by row."""

    __slots__ = ("_codes", "_members", "_sparse", "kinds", "parents", "texts")

    def __init__(
        self,
        texts: pa.StringArray,
        codes: Array | None,
        parents: Array | None = None,
        kinds: Array | None = None,
        sparse: tuple[Array, Array, int] | None = None,
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
            codes, bitmap, offset = self._sparse
            self._codes = np.where(bits(bitmap, offset, len(codes)), codes, -1)
        return self._codes

    def at(self, rows: Array) -> Array:
        """The codes of some members."""
        if self._codes is not None or self._sparse is None:
            return self.codes[rows]
        codes, bitmap, offset = self._sparse
        places = rows + offset
        there = (bitmap[places >> 3] >> (places & 7).astype(np.uint8)) & 1
        return np.where(there.astype(bool), codes[rows], -1)

    def physical(self) -> tuple[Array, Array | None, int]:
        """(32-bit codes, bitmap of what is there or None: all that is no -1, offset of the bitmap)."""
        if self._codes is None and self._sparse is not None:
            return self._sparse
        return np.ascontiguousarray(self.codes, np.int32), None, 0

    def members(self) -> tuple[Array, Array]:
        """(members that have a value, their codes)."""
        if self._members is None:
            if self._codes is not None or self._sparse is None:
                places = np.flatnonzero(self.codes >= 0)
                self._members = places, self.codes[places]
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
