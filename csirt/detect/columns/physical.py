"""The text of a frame as one table of addresses: what compiled loops read, with no object per column."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.detect.columns import values
from csirt.detect.columns.coded import Distinct, bits
from csirt.model.batch import Array

# Of a column: where its codes are; the bitmap of what is there, or 0, and how many of its bits are before the first;
# the rows of the members where rows are lists, or 0; how many members; of packed codes the ranks (`coded.Packed`), or
# 0; where the texts' bounds are, and their bytes; how many texts.
CODES, BITMAP, OFFSET, PARENTS, MEMBERS, RANKS, BOUNDS, BYTES, TEXTS = range(9)
WIDTH = 9


@dataclass(frozen=True, slots=True)
class Physical:
    """Columns of text, one to a row, by name: their lines of the table, and how many rows of each have a value. `kept`:
    who owns the memory."""

    names: tuple[str, ...]
    table: Array
    filled: Array
    kept: Any


class _Exported:
    """An Arrow array in its C data interface, until it is let go."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._array = (ctypes.c_int64 * 10)()
        self.address = ctypes.addressof(self._array)
        batch._export_to_c(self.address)

    def __del__(self) -> None:
        if self._array[_RELEASE]:
            _release(self._array[_RELEASE])(self.address)


_RELEASE = 8
_release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Taken:
    """The columns of a table that are dictionary text, or numbers, and have a value, taken out of Arrow at once; those
    at `texts` and `numbers`, places in the table."""

    def __init__(self, table: pa.Table, names: tuple[str, ...], texts: Array, numbers: Array) -> None:
        from csirt.detect.columns import kernels

        rows, places = table.num_rows, np.concatenate([texts, numbers])
        some = np.array([at for at, place in enumerate(places.tolist()) if table.column(place).null_count < rows], int)
        lines, filled = np.zeros((len(some), WIDTH), np.int64), np.zeros(len(some), np.int64)
        batches = table.select(places[some].tolist()).to_batches() if len(some) else []
        self.text: Physical | None = None
        """The columns of text; None for a table in several pieces, or with a dictionary that holds a null."""
        self._kept = _Exported(batches[0]) if len(batches) == 1 else None
        self._lines: dict[int, list[int]] = {}
        self.whole = len(batches) < 2
        """Whether the table was in one piece, so that it is known of each of its numbers."""
        if self._kept is not None:
            kernels.described(self._kept.address, lines, filled)
            own = some >= len(texts)
            self._lines = dict(zip(places[some[own]].tolist(), lines[own].tolist(), strict=True))
        if self.whole and (filled >= 0).all():
            table_, values_ = np.zeros((len(texts), WIDTH), np.int64), np.zeros(len(texts), np.int64)
            table_[some[some < len(texts)]] = lines[some < len(texts)]
            values_[some[some < len(texts)]] = filled[some < len(texts)]
            self.text = Physical(names, table_, values_, self._kept)

    def numbers(self, place: int, kind: np.dtype[Any]) -> tuple[Array, Array | None] | None:
        """The numbers of a column and which of them are valid (None: all), or None for a column without a value.
        Truth values are bits."""
        line = self._lines.get(place)
        if line is None:
            return None
        rows, first = line[MEMBERS], line[OFFSET]
        valid = None
        if line[BITMAP]:
            valid = bits(_at(line[BITMAP], (first + rows + 7) // 8, np.dtype(np.uint8), self._kept), first, rows)
        if kind.kind == "b":
            packed = _at(line[CODES], (first + rows + 7) // 8, np.dtype(np.uint8), self._kept)
            return bits(packed, first, rows), valid
        return _at(line[CODES] + kind.itemsize * first, rows, kind, self._kept), valid


class _Memory:
    """What numpy asks of an object that owns memory."""

    def __init__(self, where: int, count: int, kind: np.dtype[Any], kept: Any) -> None:
        self.__array_interface__ = {"data": (where, True), "shape": (count,), "typestr": kind.str, "version": 3}
        self.kept = kept


def _at(where: int, count: int, kind: np.dtype[Any], kept: Any) -> Array:
    return np.asarray(_Memory(where, count, kind, kept))


def coded(kind: pa.DataType) -> bool:
    """Whether `of_table` takes a column of that type."""
    return bool(pa.types.is_dictionary(kind) and kind.index_type == pa.int32() and pa.types.is_string(kind.value_type))


def described(found: Distinct) -> tuple[list[int], list[Array]]:
    """A line of the table for one column, and what it holds on to."""
    codes, bitmap, offset, ranks = found.physical()
    parents = None if found.parents is None else np.ascontiguousarray(found.parents, np.int64)
    data, bounds = values.text_buffers(found.texts)
    line = [address(codes), address(bitmap), offset, address(parents), found.count, address(ranks)]
    held = [item for item in (codes, bitmap, parents, ranks, data, bounds) if item is not None]
    return [*line, address(bounds), address(data), len(found.texts)], held


def address(array: Array | None) -> int:
    """Where an array is; 0 for none."""
    return 0 if array is None else int(array.__array_interface__["data"][0])
