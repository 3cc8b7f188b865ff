"""A batch is a table: one dataset's rows as Arrow columns (architecture, decision 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model import ecs

Array = np.ndarray[Any, np.dtype[Any]]
FEW = 64  # names of a dictionary column whose Arrow form is remembered


@dataclass(slots=True)
class Batch:
    """Rows of one dataset in (segment, ordinal) order. `table` follows `model/ecs.py`."""

    dataset: str
    table: pa.Table

    @property
    def rows(self) -> int:
        """How many records."""
        return int(self.table.num_rows)


@dataclass(slots=True)
class Decoded:
    """What a decoder made of one chunk.

    `entered`, `left` and `dropped` count units (datagrams, packets, lines): entered = left + dropped + the growth of
    what the decoder holds. `problems`: at most a few dozen short sentences for people, free of message content.
    """

    batches: list[Batch] = field(default_factory=list)
    entered: int = 0
    left: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    held: int = 0
    problems: list[str] = field(default_factory=list)
    # [{address, version, domain, received, sequence_lost, malformed, held, expired, decoded}] since the last chunk
    exporters: list[dict[str, Any]] = field(default_factory=list)
    # Values that held a national identity number, by column; values, not units (see docs/privacy.md).
    redacted: dict[str, int] = field(default_factory=dict)
    # What the decoder had to forget to stay within its bounds (exporters, templates), by reason; not units.
    forgotten: dict[str, int] = field(default_factory=dict)
    _state: bytes | Callable[[], bytes] | None = field(default=None, repr=False)

    @property
    def state(self) -> bytes | None:
        """The decoder's new state, or None when it did not change; committed with the position. What was put off is
        made when it is first asked for."""
        if callable(self._state):
            self._state = self._state()
        return self._state

    @state.setter
    def state(self, value: bytes | None) -> None:
        self._state = value

    def joined(self, other: Decoded) -> Decoded:
        """What was made of two parts of one chunk, without a state. What is held is the first part's."""
        return Decoded(
            batches=self.batches + other.batches,
            entered=self.entered + other.entered,
            left=self.left + other.left,
            held=self.held,
            problems=self.problems + other.problems,
            exporters=self.exporters + other.exporters,
            dropped=_sum(self.dropped, other.dropped),
            redacted=_sum(self.redacted, other.redacted),
            forgotten=_sum(self.forgotten, other.forgotten),
        )

    def state_later(self, make: Callable[[], bytes]) -> None:
        """Put making the state off: who keeps none does not pay for it. It must be asked for, if at all, before the
        decoder goes on."""
        self._state = make


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def constant(value: str | None, rows: int) -> pa.DictionaryArray:
    """A dictionary column with the same text (or null) in every row."""
    if value is None:
        return pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int32()), pa.array([], pa.string()), safe=False)
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]), safe=False)


def codes(values: Array, names: list[str | None]) -> pa.DictionaryArray:
    """A dictionary column: row i has `names[values[i]]`; a name that is None gives null."""
    from csirt.model.spread import spread, spread_known  # compiled code is not for who only reads batches

    texts, table = distinct(names)
    indices = np.empty(len(values), np.int32)
    valid = None
    if table.min() >= 0:
        spread(values, table, indices)
    else:
        valid = np.empty(-(-len(values) // 8), np.uint8)
        valid = pa.py_buffer(valid) if spread_known(values, table, indices, valid) else None
    array = pa.Array.from_buffers(pa.int32(), len(indices), [valid, pa.py_buffer(indices)])
    return pa.DictionaryArray.from_arrays(array, texts, safe=False)


def distinct(names: list[str | None]) -> tuple[pa.Array, Array]:
    """The names without repeats, and each name's place among them (int32, -1 for None); both are only read."""
    return _few_distinct(tuple(names)) if len(names) <= FEW else _distinct(names)


@lru_cache(maxsize=256)
def _few_distinct(names: tuple[str | None, ...]) -> tuple[pa.Array, Array]:
    """The same names come with each chunk."""
    return _distinct(names)


def _distinct(names: Sequence[str | None]) -> tuple[pa.Array, Array]:
    texts: list[str] = []
    table = np.empty(max(len(names), 1), np.int32)
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name is None:
            table[index] = -1
        else:
            if name not in seen:
                seen[name] = len(texts)
                texts.append(name)
            table[index] = seen[name]
    return pa.array(texts, pa.string()), table


def numbered(values: Array) -> tuple[Array, Array]:
    """The distinct ones of small numbers, none negative, in order, and each value's place among them. It costs what
    counting costs, where sorting costs ten times that."""
    there = np.bincount(values) > 0
    return np.flatnonzero(there), (np.cumsum(there) - 1)[values]


def address_columns(name: str, family: Array, high: Array, low: Array) -> dict[str, pa.Array]:
    """The three physical columns of an address; family 0 means none and becomes null."""
    missing = family == 0
    mask = missing if missing.any() else None
    return {
        f"{name}:f": pa.array(family.astype(np.uint8, copy=False), mask=mask),
        f"{name}:hi": pa.array(high.astype(np.uint64, copy=False), mask=mask),
        f"{name}:lo": pa.array(low.astype(np.uint64, copy=False), mask=mask),
    }


def address_parts(table: pa.Table, name: str) -> tuple[Array, Array, Array]:
    """(family uint8 with 0 for none, hi uint64, lo uint64) of an address column, as numpy."""

    def part(suffix: str, kind: type) -> Array:
        column = table.column(name + suffix)
        if column.null_count:
            column = pc.fill_null(column, pa.scalar(0, column.type))
        return np.asarray(column.to_numpy()).astype(kind, copy=False)

    return part(":f", np.uint8), part(":hi", np.uint64), part(":lo", np.uint64)


def event_ids(table: pa.Table) -> pa.Array:
    """`event.id` of every row as text: segment and ordinal, 32 hex digits."""
    return Identities(table).texts()


class Identities:
    """The ids of a table's events, to be written for some rows after the other."""

    def __init__(self, table: pa.Table) -> None:
        self._ordinals = np.asarray(table.column("csirt.ordinal").to_numpy())
        self._column = table.column("csirt.segment")
        self._segments = _octets(self._column)

    def texts(self, rows: Array | None = None) -> pa.Array:
        """`event.id` of every row, or of these."""
        ordinals = self._ordinals if rows is None else self._ordinals[rows]
        digits = np.frombuffer(ordinals.astype(">u8").tobytes().hex().encode(), np.uint8).reshape(-1, 16)
        if self._segments is not None:
            names, codes = self._segments
            texts = np.empty((len(ordinals), 32), np.uint8)
            texts[:, :16] = names[codes if rows is None else codes[rows]]
            texts[:, 16:] = digits
            return _texts(texts)
        column = self._column if rows is None else self._column.take(pa.array(rows))
        return pc.binary_join_element_wise(pc.cast(column, pa.string()).combine_chunks(), _texts(digits), "")


def _octets(column: pa.ChunkedArray) -> tuple[Array, Array] | None:
    """The segments' names as octets, and which each row is of; None where they are not of 16 octets, as ours are."""
    if not pa.types.is_dictionary(column.type) or column.null_count or not len(column):
        return None
    chunks = column.unify_dictionaries().chunks
    names = chunks[0].dictionary.to_pylist()
    if any(name is None or len(name.encode()) != 16 for name in names):
        return None
    octets = np.frombuffer("".join(names).encode(), np.uint8).reshape(-1, 16)
    return octets, np.concatenate([np.asarray(chunk.indices.to_numpy()) for chunk in chunks])


def _texts(octets: Array) -> pa.StringArray:
    """Texts of one length."""
    count, size = octets.shape
    ends = pa.py_buffer(np.arange(count + 1, dtype=np.int32) * size)
    return pa.Array.from_buffers(pa.string(), count, [None, ends, pa.py_buffer(np.ascontiguousarray(octets))])


def duplicates(table: pa.Table) -> Array | None:
    """Which rows are of flows that other rows count already; None when none is."""
    if ecs.DUPLICATE not in table.column_names:
        return None
    column = table.column(ecs.DUPLICATE)
    if column.null_count == table.num_rows:
        return None
    return np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False))


def assemble(dataset: str, columns: dict[str, Any]) -> Batch:
    """A batch from numpy or Arrow columns, cast to the schema of the dataset, columns in schema order first."""
    arrays: dict[str, Any] = {}
    for name, wanted in _ordered(dataset, tuple(columns)):
        array = columns[name]
        if not isinstance(array, (pa.Array, pa.ChunkedArray)):
            array = pa.array(array)
        if wanted is not None and not array.type.equals(wanted):
            array = (
                array.dictionary_encode()
                if pa.types.is_dictionary(wanted) and not pa.types.is_dictionary(array.type)
                else array
            )
            if array.type != wanted:
                array = array.cast(wanted)
        arrays[name] = array
    return Batch(dataset, pa.Table.from_arrays(list(arrays.values()), names=list(arrays)))


@lru_cache(maxsize=256)
def _ordered(dataset: str, names: tuple[str, ...]) -> list[tuple[str, pa.DataType | None]]:
    """Columns in the schema's order, then the others by name, with what the schema says of their type."""
    known, schema, there = _physical_order(dataset), ecs.DATASETS[dataset], set(names)
    order: Iterable[str] = [*(name for name in known if name in there), *sorted(there - set(known))]
    return [(name, schema.get(name)) for name in order]


@cache
def _physical_order(dataset: str) -> list[str]:
    names: list[str] = []
    for name in ecs.DATASETS[dataset]:
        names.append(name)
        if name == "observer.ip":
            for address in ecs.ADDRESSES:
                names.extend(ecs.physical(address))
    return names
