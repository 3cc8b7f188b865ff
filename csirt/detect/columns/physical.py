"""The text of a frame as one table of addresses: what compiled loops read, with no object per column."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.detect.columns import values
from csirt.detect.columns.coded import Distinct
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


def of_table(table: pa.Table, names: tuple[str, ...], places: Array) -> Physical | None:
    """The columns at some places of a table, dictionaries of 32 bits; None for a table in several pieces."""
    rows = table.num_rows
    some = [at for at, place in enumerate(places.tolist()) if table.column(place).null_count < rows]
    found, filled = np.zeros((len(places), WIDTH), np.int64), np.zeros(len(places), np.int64)
    if not some:
        return Physical(names, found, filled, None)
    batches = table.select(places[some].tolist()).to_batches()
    if len(batches) != 1:
        return None
    from csirt.detect.columns import kernels

    exported = _Exported(batches[0])
    lines, values_ = np.zeros((len(some), WIDTH), np.int64), np.zeros(len(some), np.int64)
    kernels.described(exported.address, lines, values_)
    if (values_ < 0).any():
        return None
    found[some], filled[some] = lines, values_
    return Physical(names, found, filled, exported)


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
