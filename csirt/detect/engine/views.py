"""Texts of many columns behind one another, as they are and as comparison without regard to case sees them.

Case: `fold` is Unicode simple lower-casing, for rules and values alike ('ß' is not 'ss'; 'İ' is 'i').
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.columns import values
from csirt.model.batch import Array

_NO_TEXT = pa.array([], pa.string())
MOST_BYTES = (1 << 31) - 1


def fold(text: str) -> str:
    """The text as case-insensitive comparison sees it."""
    lowered: str = pc.utf8_lower(pa.scalar(text, pa.string())).as_py()
    return lowered


def folded(texts: pa.StringArray) -> pa.StringArray:
    """The texts as case-insensitive comparison sees them."""
    data, offsets = values.text_buffers(texts)
    plain = data[offsets[0] : offsets[-1]] if len(offsets) else data
    return pc.utf8_lower(texts) if len(plain) and plain.max() > 127 else pc.ascii_lower(texts)


class Views:
    """Several columns of values behind one another, as they are and folded."""

    def __init__(self, columns: Sequence[tuple[str, pa.StringArray]]) -> None:
        self.fields = tuple(field for field, _ in columns)
        self.bounds = np.cumsum([0, *(len(texts) for _, texts in columns)])
        texts = [texts for _, texts in columns] or [_NO_TEXT]
        self._all: dict[bool, pa.StringArray] = {
            True: texts[0] if len(texts) == 1 else pa.concat_arrays(texts or [_NO_TEXT])
        }

    def all(self, cased: bool) -> pa.StringArray:
        """All values."""
        if cased not in self._all:
            self._all[cased] = folded(self._all[True])
        return self._all[cased]

    def one(self, place: int, cased: bool) -> pa.StringArray:
        """The values of one column."""
        start, end = int(self.bounds[place]), int(self.bounds[place + 1])
        whole = self.all(cased)
        return whole if len(self.fields) == 1 else whole.slice(start, end - start)


class Gathered:
    """As `Views`, of columns as `physical` describes them."""

    def __init__(self, fields: Sequence[str], table: Array) -> None:
        from csirt.detect.columns import kernels

        self.fields = fields
        self.bounds = np.zeros(len(table) + 1, np.int64)
        size = int(kernels.text_bounds(table, self.bounds))
        if size > MOST_BYTES:
            raise MemoryError(f"{size} bytes of different texts in one batch; there is room for {MOST_BYTES}")
        _ready()
        data, offsets = np.empty(size, np.uint8), np.empty(int(self.bounds[-1]) + 1, np.int32)
        kernels.gathered_texts(table, data, offsets)
        self._all = {True: _texts(data, offsets)}
        self._all[False] = _lowered(self._all[True], data, offsets)

    def all(self, cased: bool) -> pa.StringArray:
        """All values."""
        return self._all[cased]


def _lowered(texts: pa.StringArray, data: Array, offsets: Array) -> pa.StringArray:
    """As `folded`; only what is not ASCII is lowered by Arrow."""
    from csirt.detect.columns import kernels

    low = np.empty(len(data), np.uint8)
    if kernels.lowered(data, low) < 128:
        return _texts(low, offsets)
    some = np.empty(len(texts), np.int64)
    some = some[: kernels.beyond_ascii(data, offsets, some)]
    other, edges = values.text_buffers(pc.utf8_lower(texts.take(pa.array(some))))
    starts = offsets[some]
    if not np.array_equal(np.diff(edges), offsets[some + 1] - starts):
        return pc.utf8_lower(texts)
    kernels.put_texts(low, starts, other, edges)
    return _texts(low, offsets)


@cache
def _ready() -> None:
    """Load what only text beyond ASCII asks for with the other loops: no batch in mid-stream waits for it."""
    from csirt.detect.columns import kernels

    octets, places = np.empty(0, np.uint8), np.empty(0, np.int32)
    kernels.put_texts(octets, places, octets, np.zeros(1, np.int32))


def _texts(data: Array, offsets: Array) -> pa.StringArray:
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
