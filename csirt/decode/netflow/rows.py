"""Data sets to raw columns: allocate once for all templates of a chunk, let the kernels fill, keep who filled what."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from csirt.decode.netflow import fill
from csirt.decode.netflow.plan import Shape
from csirt.decode.netflow.plans import Plans
from csirt.model.batch import Array, numbered

_ALIGN = 64
_DTYPES: dict[str, dict[int, type]] = {
    "uint": {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64},
    "sint": {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64},
    "float": {4: np.float32, 8: np.float64},
}


@dataclass(slots=True)
class Sets:
    """Data sets to decode, in the order of their rows. All arrays have one entry per set.

    `offset`, `length`: in the buffer. `plan`: number of the plan. `records`. `export`: export time (microseconds).
    `uptime`: milliseconds at export or -1. `time`: receive time. `frame`, `base`: datagram and first record number in
    it. `segment`, `exporter`: numbers. `sampling`: a v5 header's field. `at`: the datagram of this chunk as of which
    samplers count (its own, or the one that brought a held set's template).
    """

    offset: Array
    length: Array
    plan: Array
    records: Array
    export: Array
    uptime: Array
    time: Array
    frame: Array
    base: Array
    segment: Array
    exporter: Array
    sampling: Array
    at: Array

    def take(self, which: Array | slice) -> Sets:
        """Some of the sets."""
        return Sets(*(getattr(self, item.name)[which] for item in fields(Sets)))

    @staticmethod
    def join(first: Sets, second: Sets) -> Sets:
        """One after the other."""
        return Sets(*(np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Sets)))


@dataclass(slots=True)
class Column:
    """One raw column: its storage (see `plan.Output`), its arrays, and which shapes fill it (bool by shape)."""

    storage: str
    parts: list[Array]
    present: Array


@dataclass(slots=True)
class Rows:
    """Raw rows of many plans. `shapes`: of the plans used here; `of_set`, `shape`: which of them each set, each row
    has; `columns` by name; `redacted`: values that held an identity number, by column, once they are made text."""

    sets: Sets
    shapes: list[Shape]
    of_set: Array
    count: int
    first: Array
    shape: Array
    columns: dict[str, Column] = field(default_factory=dict)
    redacted: dict[str, int] = field(default_factory=dict)

    def spread(self, values: Array) -> Array:
        """A value per set as a value per row."""
        return np.repeat(values, self.sets.records)

    def by_shape(self, values: Array) -> Array:
        """A value per shape as a value per row."""
        return np.repeat(values[self.of_set], self.sets.records)

    def has(self, column: str) -> Array | None:
        """Which rows have the column: None for all of them. Raises KeyError for a column no row has."""
        present = self.columns[column].present
        return None if present.all() else self.by_shape(present)


def _parts(storage: str, width: int) -> list[type]:
    if storage in _DTYPES:
        return [_DTYPES[storage][width]]
    if storage == "address":
        return [np.uint8, np.uint64, np.uint64]
    if storage == "bool":
        return [np.uint8]
    if storage == "mac":
        return [np.uint64]
    if storage == "time":
        return [np.int64]
    return [np.int64, np.uint32]  # text, hex, cut: offset and length in the buffer


def build(sets: Sets, plans: Plans, buffer: Array) -> Rows:
    """Decode the sets; `sets.plan` numbers `plans`."""
    tables = plans.tables(sets.plan)
    slot = tables.slot[sets.plan]
    used, of_set = numbered(tables.shape[slot])
    count = int(sets.records.sum())
    first = np.cumsum(sets.records) - sets.records
    shapes = [plans.shapes[number] for number in used.tolist()]
    rows = Rows(sets, shapes, of_set, count, first, np.repeat(of_set.astype(np.uint16), sets.records))
    memory, places = _allocate(rows)
    views = (memory.view(np.uint8), memory.view(np.uint16), memory.view(np.uint32), memory.view(np.uint64))
    numbers = [places[name] for shape in shapes for name, _, _ in shape.columns]
    place = np.array(numbers, np.int64).reshape(-1, fill.PLACE_WIDTH)
    widths = np.array([len(shape.columns) for shape in shapes], np.int64)
    fill.records(
        *(buffer, *views, tables.ops, tables.first_op, tables.starts, tables.sizes, tables.first_field, tables.size),
        *(place, (np.cumsum(widths) - widths)[of_set]),
        *(slot, sets.offset, sets.records, first, sets.export, sets.uptime),
    )
    return rows


def _allocate(rows: Rows) -> tuple[Array, dict[str, list[int]]]:
    """Make every column in one block of memory; by name: its first part's width, its parts' first elements."""
    wanted: dict[str, tuple[str, int]] = {}
    present: dict[str, Array] = {}
    for number, shape in enumerate(rows.shapes):
        for name, stored, size in shape.columns:
            storage, width = wanted.get(name, (stored, 0))
            wanted[name] = (storage, max(width, size))
            present.setdefault(name, np.zeros(len(rows.shapes), bool))[number] = True
    kinds = {name: _parts(*spec) for name, spec in wanted.items()}
    sizes = [-(-rows.count * np.dtype(kind).itemsize // _ALIGN) * _ALIGN for parts in kinds.values() for kind in parts]
    memory = np.empty(sum(sizes) + _ALIGN, np.uint8)
    places: dict[str, list[int]] = {}
    at = 0
    for name, parts in kinds.items():
        arrays: list[Array] = []
        place: list[int] = [np.dtype(parts[0]).itemsize]
        whole = present[name].all()
        for number, kind in enumerate(parts):
            size = np.dtype(kind).itemsize
            arrays.append(memory[at : at + rows.count * size].view(kind))
            if not whole or (number == 1 and kind is np.uint64):  # of IPv4 addresses nobody fills the high half
                arrays[-1].fill(0)
            place.append(at // size)
            at += -(-rows.count * size // _ALIGN) * _ALIGN
        places[name] = place + [0] * (fill.PLACE_WIDTH - len(place))
        rows.columns[name] = Column(wanted[name][0], arrays, present[name])
    return memory, places
