"""Raw columns to Arrow arrays: masks by who filled them, text and addresses once per distinct value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.decode.netflow import private, spans
from csirt.decode.netflow.layout import NUMBERS, Column
from csirt.decode.netflow.rows import Rows
from csirt.model import ecs
from csirt.model.address_columns import texts
from csirt.model.batch import Array, distinct

_KINDS = {np.dtype(kind).char: pa.from_numpy_dtype(kind) for kind in NUMBERS}


class Arrow:
    """Makes the Arrow columns of some rows; validity bitmaps are made once per pattern of plans."""

    def __init__(self, rows: Rows, buffer: Array) -> None:
        self.rows = rows
        self.buffer = buffer
        self._valid: dict[bytes, tuple[Array, pa.Buffer]] = {}

    def valid(self, column: Column) -> tuple[Array | None, pa.Buffer | None]:
        """(rows that have it or None for all, the same as an Arrow bitmap)."""
        if column.present.all():
            return None, None
        key = column.present.tobytes()
        if key not in self._valid:
            mask = self.rows.by_shape(column.present)
            self._valid[key] = mask, bitmap(mask)
        return self._valid[key]

    def plain(self, values: Array, kind: pa.DataType, bitmap: pa.Buffer | None) -> pa.Array:
        """A fixed-width array on the same memory."""
        return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(values)])

    def codes(self, values: Array, names: list[str | None]) -> pa.DictionaryArray:
        """A dictionary column: the rows of set i have `names[values[i]]`; a name that is None gives null."""
        texts, table = distinct(names)
        return spread_codes(self.rows, table[values], texts)

    def address(self, name: str, column: Column) -> dict[str, pa.Array]:
        """The three physical columns of an address."""
        _, bitmap = self.valid(column)
        kinds = (pa.uint8(), pa.uint64(), pa.uint64())
        return {
            name + suffix: self.plain(values, kind, bitmap)
            for suffix, values, kind in zip(ecs.ADDRESS_PARTS, column.parts, kinds, strict=True)
        }

    def own(self, column: Column, name: str, *, ecs_mac: bool = False) -> pa.Array:
        """The column in its logical type, called `name`. `ecs_mac`: as ECS writes them (`00-00-5E-…`) and not as
        `00:00:5e:…`."""
        mask, bitmap = self.valid(column)
        first = column.parts[0]
        storage = column.storage
        if storage in ("uint", "sint", "float"):
            return self.plain(first, _KINDS[first.dtype.char], bitmap)
        if storage == "time":
            return times(first, mask)
        if storage == "bool":
            known = (first == 1) | (first == 2) if mask is None else mask & ((first == 1) | (first == 2))
            return pa.array(first == 1, pa.bool_(), mask=~known)
        if storage == "mac":
            return macs(first, mask, ecs_mac)
        if storage == "address":
            family = column.parts[0] if mask is None else np.where(mask, column.parts[0], 0)
            return texts(family, column.parts[1], column.parts[2])
        return self._spans(column, name, mask)

    def _spans(self, column: Column, name: str, mask: Array | None) -> pa.DictionaryArray:
        """Text or octets: only of the rows that have them, each distinct value once."""
        offset, length = column.parts[0], column.parts[1].astype(np.int64)
        at = None if mask is None else np.flatnonzero(mask)
        if at is not None:
            offset, length = offset[at], length[at]
        if column.storage.startswith("cut:"):
            spans.header_end(self.buffer, offset, length, column.storage == "cut:ethernet")
        ends = np.zeros(len(length) + 1, np.int64)
        np.cumsum(length, out=ends[1:])
        data = np.empty(int(ends[-1]), np.uint8)
        spans.gather(self.buffer, offset, length, data)
        if column.storage.startswith("text"):
            offsets = pa.py_buffer(ends.astype(np.int32))
            raw = pa.Array.from_buffers(pa.binary(), len(length), [None, offsets, pa.py_buffer(data)])
            found, rule = _decoded(raw.dictionary_encode()), private.TEXT[column.storage]
        else:
            digits = pa.py_buffer(data.tobytes().hex().encode())
            offsets = pa.py_buffer((ends * 2).astype(np.int32))
            found = pa.Array.from_buffers(pa.string(), len(length), [None, offsets, digits]).dictionary_encode()
            rule = private.HEX
        if private.suspicious(data, rule.signs):
            found = self._clean(found, name, rule)
        if at is None or mask is None:
            return found
        indices = np.zeros(len(mask), np.int32)
        indices[at] = found.indices.to_numpy()
        return pa.DictionaryArray.from_arrays(masked(indices, pa.int32(), mask), found.dictionary, safe=False)

    def _clean(self, array: pa.DictionaryArray, name: str, rule: private.Rule) -> pa.DictionaryArray:
        """Without what must not leave decode; values that held an identity number are counted under `name`."""
        values = array.dictionary
        if not len(values) or not pc.any(pc.match_substring_regex(values, rule.suspect)).as_py():
            return array
        pairs = [rule.clean(item) for item in values.to_pylist()]
        hit = np.flatnonzero([removed for _, removed in pairs])
        if len(hit):
            number = pc.sum(pc.is_in(array.indices, pa.array(hit, array.indices.type))).as_py()
            self.rows.redacted[name] = self.rows.redacted.get(name, 0) + int(number)
        return _distinct(array.indices, pa.array([clean for clean, _ in pairs], pa.string()))


def bitmap(mask: Array) -> pa.Buffer:
    """Which values there are, as Arrow has it."""
    return pa.py_buffer(np.packbits(mask, bitorder="little"))


def masked(values: Array, kind: pa.DataType, known: Array | None) -> pa.Array:
    """A fixed-width array on the same memory, null where not `known`."""
    valid = None if known is None or known.all() else bitmap(known)
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(values)])


def spread_codes(rows: Rows, codes: Array, texts: pa.Array) -> pa.DictionaryArray:
    """A dictionary column from a code per set; -1 gives null."""
    known = None
    if codes.min(initial=0) < 0:
        known, codes = rows.spread(codes >= 0), np.maximum(codes, 0)  # under a null too there must be an index
    indices = rows.spread(codes.astype(np.int32, copy=False))
    return pa.DictionaryArray.from_arrays(masked(indices, pa.int32(), known), texts, safe=False)


def times(values: Array, mask: Array | None) -> pa.Array:
    """Microseconds as timestamps; what no calendar holds, and masked rows, are null."""
    if mask is None and len(values) and values.min() > 0:
        return masked(values, ecs.TIME, None)
    known = values > 0
    return masked(values, ecs.TIME, known if mask is None else known & mask)


def macs(values: Array, mask: Array | None, ecs_form: bool) -> pa.Array:
    """48-bit numbers as dictionary text."""
    unique, inverse = np.unique(values, return_inverse=True)
    digits = unique.astype(">u8").tobytes().hex()
    names = [digits[i * 16 + 4 : i * 16 + 16] for i in range(len(unique))]
    sign = "-" if ecs_form else ":"
    names = [sign.join(name[i : i + 2] for i in range(0, 12, 2)) for name in names]
    names = [name.upper() for name in names] if ecs_form else names
    indices = pa.array(inverse.reshape(-1).astype(np.int32), mask=None if mask is None else ~mask)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()), safe=False)


def _decoded(raw: pa.DictionaryArray) -> pa.DictionaryArray:
    """Binary dictionary values as UTF-8, what is none of it replaced."""
    try:
        return pa.DictionaryArray.from_arrays(raw.indices, raw.dictionary.cast(pa.string()), safe=False)
    except pa.ArrowInvalid:
        values = pa.array([item.decode("utf-8", "replace") for item in raw.dictionary.to_pylist()], pa.string())
        return _distinct(raw.indices, values)


def _distinct(indices: pa.Array, values: pa.Array) -> pa.DictionaryArray:
    """A dictionary array whose values differ from each other."""
    if len(values) and pc.count_distinct(values).as_py() != len(values):
        distinct = values.dictionary_encode()
        return pa.DictionaryArray.from_arrays(pc.take(distinct.indices, indices), distinct.dictionary, safe=False)
    return pa.DictionaryArray.from_arrays(indices, values, safe=False)
