"""The text of a frame as one table of addresses: what compiled loops read, with no object per column."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
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

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


@dataclass(frozen=True, slots=True)
class Physical:
    """Columns of text, one to a row, by name: their lines of the table; those without any value are left out. `kept`:
    who owns the memory."""

    names: tuple[str, ...]
    table: Array
    filled: Array
    kept: Any


def of_table(table: pa.Table, names: Sequence[str], places: Array) -> Physical | None:
    """The columns at some places of a table, dictionaries of 32 bits; None for a table in several pieces."""
    batches = table.to_batches()
    if len(batches) != 1 or not len(places):
        return None
    from csirt.detect.columns import kernels

    capsules = batches[0].__arrow_c_array__()
    found, filled = np.zeros((len(places), WIDTH), np.int64), np.zeros(len(places), np.int64)
    kernels.described(_pointer(capsules[1], b"arrow_array"), places, found, filled)
    if (filled < 0).any():
        return None
    return Physical(tuple(names), found, filled, (batches, capsules))


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
