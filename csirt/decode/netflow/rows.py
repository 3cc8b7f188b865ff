"""Data sets to raw columns: allocate once for all templates of a chunk, let the kernels fill, keep who filled what."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from csirt.decode.netflow import fill
from csirt.decode.netflow.layout import Column
from csirt.decode.netflow.plan import Shape
from csirt.decode.netflow.plans import Plans
from csirt.model.batch import Array, numbered


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
        if isinstance(which, slice):
            return Sets(*(getattr(self, name)[which] for name in _NAMES))
        which = np.flatnonzero(which) if which.dtype == bool else which
        return Sets(*(getattr(self, name).take(which) for name in _NAMES))

    @staticmethod
    def join(first: Sets, second: Sets) -> Sets:
        """One after the other."""
        return Sets(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in _NAMES))


_NAMES = tuple(item.name for item in fields(Sets))


@dataclass(slots=True)
class Rows:
    """Raw rows of many plans. `shapes`: of the plans used here; `of_set`, `shape`: which of them each set, each row
    has; `columns` by name; `redacted`: values that held an identity number, by column, once they are made text.

    Columns may share an array, above all where every row has the same value: arrays once made are only read.
    """

    sets: Sets
    shapes: list[Shape]
    of_set: Array
    count: int
    first: Array
    shape: Array
    columns: dict[str, Column] = field(default_factory=dict)
    redacted: dict[str, int] = field(default_factory=dict)
    _constants: dict[tuple[np.dtype[Any], Any], Array] = field(default_factory=dict)

    def spread(self, values: Array) -> Array:
        """A value per set as a value per row."""
        if len(values) and (values == values[0]).all():
            return self.constant(values[0])
        return np.repeat(values, self.sets.records)

    def constant(self, value: np.generic) -> Array:
        """The same value in every row, one array for all who ask."""
        key = value.dtype, value.item()
        found = self._constants.get(key)
        if found is None:
            found = self._constants[key] = np.full(self.count, value)
        return found

    def by_shape(self, values: Array) -> Array:
        """A value per shape as a value per row."""
        return np.repeat(values[self.of_set], self.sets.records)

    def has(self, column: str) -> Array | None:
        """Which rows have the column: None for all of them. Raises KeyError for a column no row has."""
        present = self.columns[column].present
        return None if present.all() else self.by_shape(present)


def build(sets: Sets, plans: Plans, buffer: Array) -> Rows:
    """Decode the sets; `sets.plan` numbers `plans`."""
    tables = plans.tables(sets.plan)
    slot = tables.slot[sets.plan]
    used, of_set = numbered(tables.shape[slot])
    count = int(sets.records.sum())
    first = np.cumsum(sets.records) - sets.records
    shapes = [plans.shapes[number] for number in used.tolist()]
    rows = Rows(sets, shapes, of_set, count, first, np.repeat(of_set.astype(np.uint16), sets.records))
    layout = plans.layout(used)
    memory, rows.columns, place = layout.allocate(count)
    views = (memory.view(np.uint8), memory.view(np.uint16), memory.view(np.uint32), memory.view(np.uint64))
    fill.records(
        *(buffer, *views, tables.reads, tables.first_read, tables.sizes, tables.first_field, tables.size),
        *(place, layout.first[of_set]),
        *(slot, sets.offset, sets.records, first, sets.export, sets.uptime),
    )
    return rows
