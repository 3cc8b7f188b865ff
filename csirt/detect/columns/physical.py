"""The text of a frame as one table of addresses: what compiled loops read, with no object per column."""

from __future__ import annotations

import ctypes
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import compress
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
# Of fewer texts in lists it does not pay to find the distinct ones.
FEW_TEXTS = 2000
# Each of them is its own value.
_COUNTED = np.arange(FEW_TEXTS, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Physical:
    """Columns of text by name: their lines of the table, and how many rows of each have a value, or -1: what the column
    itself says. `kept`: who owns the memory."""

    names: tuple[str, ...]
    table: Array
    filled: Array
    kept: Any


class _Exported:
    """An Arrow array in its C data interface, until it is let go."""

    _release, _place = ctypes.CFUNCTYPE(None, ctypes.c_void_p), 8

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._array = (ctypes.c_int64 * 10)()
        self.address = ctypes.addressof(self._array)
        batch._export_to_c(self.address)

    def __del__(self) -> None:
        # When the interpreter ends, the module's names are gone before the last of these.
        if self._array[self._place]:
            type(self)._release(self._array[self._place])(self.address)


class Asked:
    """The columns of tables of one schema that `Taken` takes, by place: those of `names`, which are text, then numbers.
    `usual`: which of them had a value in the table before; of those it is not asked first whether they have one."""

    def __init__(self, texts: Mapping[str, int], numbers: Iterable[int] = ()) -> None:
        self.names = tuple(texts)
        self.places = [*texts.values(), *numbers]
        self.usual: frozenset[int] = frozenset()


class Taken:
    """The columns of a table that are text or numbers, and have a value, taken out of Arrow at once. `whole`: the table
    was in one piece, so that it is known of each of its numbers. `text`: the columns of text; None for several."""

    def __init__(self, table: pa.Table, asked: Asked) -> None:
        usual, column, rows = asked.usual, table.column, table.num_rows
        some = [at for at, place in enumerate(asked.places) if at in usual or column(place).null_count < rows]
        batches = table.select([asked.places[at] for at in some]).to_batches() if some else []
        lines, filled = np.zeros((len(some), WIDTH), np.int64), np.zeros(len(some), np.int64)
        self.whole = len(batches) < 2
        self._kept: list[Any] = []
        if len(batches) == 1:
            self._take(_Exported(batches[0]), lines, filled)
            asked.usual = frozenset(compress(some, filled.tolist()))
        texts = bisect_left(some, len(asked.names))
        behind = zip(some[texts:], lines[texts:].tolist(), filled[texts:].tolist(), strict=True)
        self._lines: dict[int, list[int]] = {asked.places[at]: line for at, line, count in behind if count}
        self.text: Physical | None = None
        if self.whole:
            of_text, values_ = np.zeros((len(asked.names), WIDTH), np.int64), np.zeros(len(asked.names), np.int64)
            of_text[some[:texts]], values_[some[:texts]] = lines[:texts], filled[:texts]
            self.text = Physical(asked.names, of_text, values_, self._kept)

    def _take(self, exported: _Exported, lines: Array, filled: Array) -> None:
        from csirt.detect.columns import kernels

        self._kept.append(exported)
        members = kernels.described(exported.address, lines, filled, FEW_TEXTS)
        if members:
            parents = np.empty(members, np.int64)
            kernels.parents(exported.address, lines, filled, parents, _COUNTED)
            self._kept.append(parents)

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


def taken(kind: pa.DataType) -> bool:
    """Whether `Taken` takes a column of that type as text: dictionaries of it, and lists."""
    if pa.types.is_dictionary(kind):
        return bool(kind.index_type == pa.int32() and pa.types.is_string(kind.value_type))
    return bool(pa.types.is_list(kind) and pa.types.is_string(kind.value_type))


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
