"""Data sets to raw columns: allocate once for all templates of a chunk, let the kernels fill, keep who filled what."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from csirt.decode.netflow import fill
from csirt.decode.netflow.plan import Output, Plan
from csirt.model.batch import Array

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

    def take(self, which: Array) -> Sets:
        """Some of the sets."""
        return Sets(*(getattr(self, item.name)[which] for item in fields(Sets)))

    @staticmethod
    def join(first: Sets, second: Sets) -> Sets:
        """One after the other."""
        return Sets(*(np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Sets)))


@dataclass(slots=True)
class Column:
    """One raw column: its storage (see `plan.Output`), its arrays, and which local plans fill it (bool by plan)."""

    storage: str
    parts: list[Array]
    present: Array


@dataclass(slots=True)
class Rows:
    """Raw rows of many plans. `plan`: the local plan of each row; `columns` by name; `redacted`: values that held an
    identity number, by column, once they are made text."""

    sets: Sets
    plans: list[Plan]
    count: int
    first: Array
    plan: Array
    columns: dict[str, Column] = field(default_factory=dict)
    redacted: dict[str, int] = field(default_factory=dict)

    def spread(self, values: Array) -> Array:
        """A value per set as a value per row."""
        return np.repeat(values, self.sets.records)

    def by_plan(self, values: Array) -> Array:
        """A value per local plan as a value per row."""
        return np.repeat(values[self.sets.plan], self.sets.records)

    def has(self, column: str) -> Array | None:
        """Which rows have the column: None for all of them. Raises KeyError for a column no row has."""
        present = self.columns[column].present
        return None if present.all() else self.by_plan(present)


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


def build(sets: Sets, plans: list[Plan], buffer: Array) -> Rows:
    """Decode the sets; `sets.plan` numbers `plans`."""
    count = int(sets.records.sum())
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(sets.records)[:-1]]) if len(sets.records) else sets.records
    rows = Rows(sets, plans, count, first, np.repeat(sets.plan.astype(np.uint16), sets.records))
    memory, places = _allocate(rows)
    views = (memory.view(np.uint8), memory.view(np.uint16), memory.view(np.uint32), memory.view(np.uint64))
    order = np.argsort(sets.plan, kind="stable")
    bounds = np.searchsorted(sets.plan[order], np.arange(len(plans) + 1))
    for number, plan in enumerate(plans):
        which = order[bounds[number] : bounds[number + 1]]
        if not len(which) or not plan.outputs:
            continue
        ops = np.array([_operation(output, places[output.column]) for output in plan.outputs], np.int64)
        common = tuple(part[which] for part in (sets.offset, sets.records, first, sets.export, sets.uptime))
        if plan.size:
            fill.fixed(buffer, *views, ops, plan.starts, plan.sizes, plan.size, *common)
        else:
            fill.variable(buffer, *views, ops, plan.sizes, *common)
    return rows


def _operation(output: Output, place: list[int]) -> list[int]:
    width, bases = place[0], place[1:] + [0] * (4 - len(place))
    return [output.kind, output.field, width, *bases, output.second, output.third]


def _allocate(rows: Rows) -> tuple[Array, dict[str, list[int]]]:
    """Make every column in one block of memory; by name: its first part's width, its parts' first elements."""
    wanted: dict[str, tuple[str, int]] = {}
    present: dict[str, Array] = {}
    for number, plan in enumerate(rows.plans):
        for output in plan.outputs:
            storage, width = wanted.get(output.column, (output.storage, 0))
            wanted[output.column] = (storage, max(width, output.width))
            present.setdefault(output.column, np.zeros(len(rows.plans), bool))[number] = True
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
        places[name] = place
        rows.columns[name] = Column(wanted[name][0], arrays, present[name])
    return memory, places
