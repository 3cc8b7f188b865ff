"""A batch as a frame: the schema's logical columns, the computed ones included."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from csirt.detect.columns.arrow import from_arrow, written
from csirt.detect.columns.coded import Distinct
from csirt.detect.columns.columns import (
    AddressColumn,
    Column,
    NumberColumn,
    TextColumn,
    TimeColumn,
    constant,
)
from csirt.detect.columns.physical import Asked, Physical, Taken, taken
from csirt.model import ecs
from csirt.model.batch import Array, Batch, Identities, address_parts, event_ids

_MODULES = {
    **dict.fromkeys(("flow", "flow_options", "flow_counters"), "netflow"),
    "mail": "postfix",
    "edi": "ebxml",
    "self": "csirt",
}
# Columns that say where a row rests, which no keyword should find.
_UNSEARCHED = frozenset({"csirt.segment", "csirt.ordinal", "event.id", "related.ip"})


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Where the columns of text are in tables of a schema, and which are known to be none."""

    dataset: str
    schema: pa.Schema
    asked: Asked
    written: frozenset[str]


_plans: list[_Plan] = []
# A dataset's tables have one schema, or a few.
_MOST_PLANS = 16


def _planned(dataset: str, schema: pa.Schema) -> _Plan:
    for known in _plans:
        if known.dataset == dataset and known.schema.equals(schema):
            return known
    found = {field.name: place for place, field in enumerate(schema) if taken(field.type)}
    others = frozenset(field.name for field in schema if written(field.type))
    made = _Plan(dataset, schema, Asked(found), others)
    _plans[:] = [made, *_plans[: _MOST_PLANS - 1]]
    return made


class BatchFrame:
    """The logical columns of one batch; each is made once, when a rule first asks for it."""

    def __init__(self, batch: Batch) -> None:
        self.dataset = batch.dataset
        self.table = batch.table
        self.rows = batch.rows
        self._physical = set(batch.table.column_names)
        self._columns: dict[str, Column | None] = {}
        self._text: Physical | None = None
        self._identities: Identities | None = None

    def column(self, name: str) -> Column | None:
        """The column, physical or computed; None when the table cannot have it."""
        if name not in self._columns:
            self._columns[name] = self._make(name)
        return self._columns[name]

    def names(self) -> Sequence[str]:
        """Every logical column of the table, for keywords."""
        addresses = [name for name in ecs.ADDRESSES if f"{name}:f" in self._physical]
        parts = {part for name in addresses for part in ecs.physical(name)}
        plain = [name for name in self.table.column_names if name not in parts and name not in _UNSEARCHED]
        computed = [name for name in COMPUTED if name not in self._physical and name not in _UNSEARCHED]
        return [*plain, *addresses, *computed]

    def written(self) -> Collection[str]:
        """Columns that are known to be no text before they are made."""
        return _planned(self.dataset, self.table.schema).written

    def could_have(self, name: str) -> bool:
        """Whether a frame alike could have the column."""
        return name in self._physical or f"{name}:f" in self._physical or name in COMPUTED

    def alike(self) -> object:
        """What all frames have that have columns of the same names and kinds."""
        return _planned(self.dataset, self.table.schema)

    def physical(self) -> Physical | None:
        """The columns of text as a table of addresses; None for a table in several pieces."""
        if self._text is None:
            self._text = Taken(self.table, _planned(self.dataset, self.table.schema).asked).text
        return self._text

    def event_ids(self, rows: Array) -> pa.Array:
        """`event.id` of these rows."""
        if self._identities is None:
            self._identities = Identities(self.table)
        return self._identities.texts(rows)

    def times(self, rows: Array) -> Array:
        """Event time of these rows in microseconds; rows without one have 0."""
        column = self.column("@timestamp")
        assert isinstance(column, TimeColumn)
        return column.micros[rows]

    def _make(self, name: str) -> Column | None:
        if name in self._physical:
            return from_arrow(self.table.column(name))
        if f"{name}:f" in self._physical:
            return AddressColumn(*address_parts(self.table, name))
        computed = COMPUTED.get(name)
        return None if computed is None or not self.rows else computed(self)


def _transport(frame: BatchFrame) -> Column | None:
    number = frame.column("network.iana_number")
    if not isinstance(number, NumberColumn):
        return None
    names = list(ecs.TRANSPORT.items())
    table = np.full(256, -1, np.int32)
    for index, (protocol, _) in enumerate(names):
        table[protocol] = index
    codes = table[number.numbers]
    if number.valid is not None:
        codes[~number.valid] = -1
    return TextColumn(frame.rows, Distinct(pa.array([text for _, text in names]), codes))


def _type(frame: BatchFrame) -> Column | None:
    source = frame.column("source.ip")
    if not isinstance(source, AddressColumn):
        return None
    codes = np.array([-1, 0, 1], np.int32)[np.where(source.family == 4, 1, np.where(source.family == 6, 2, 0))]
    return TextColumn(frame.rows, Distinct(pa.array(["ipv4", "ipv6"]), codes))


def _duration(frame: BatchFrame) -> Column | None:
    start, end = frame.column("event.start"), frame.column("@timestamp")
    if not isinstance(start, TimeColumn) or not isinstance(end, TimeColumn):
        return None
    return NumberColumn((end.micros - start.micros) * 1000, start.valid)  # ECS: nanoseconds


def _end(frame: BatchFrame) -> Column | None:
    return frame.column("@timestamp") if frame.dataset == "flow" else None


def _related(frame: BatchFrame) -> Column | None:
    ends = [frame.column(name) for name in ("source.ip", "destination.ip")]
    known = [end for end in ends if isinstance(end, AddressColumn)]
    if not known:
        return None
    both = AddressColumn(
        np.stack([end.family for end in known], 1).reshape(-1),
        np.stack([end.high for end in known], 1).reshape(-1),
        np.stack([end.low for end in known], 1).reshape(-1),
    ).distinct()
    return TextColumn(frame.rows, Distinct(both.texts, both.codes, np.repeat(np.arange(frame.rows), len(known))))


def _id(frame: BatchFrame) -> Column | None:
    if "csirt.segment" not in frame.table.column_names:
        return None
    return from_arrow(event_ids(frame.table))


def _fixed(text: Callable[[str], str]) -> Callable[[BatchFrame], Column | None]:
    return lambda frame: constant(text(frame.dataset), frame.rows)


def _category(index: int) -> Callable[[str], str]:
    return lambda dataset: ecs.CATEGORY.get(dataset, ("event", "network", "info"))[index]


COMPUTED: dict[str, Callable[[BatchFrame], Column | None]] = {
    "ecs.version": _fixed(lambda dataset: ecs.ECS_VERSION),
    "event.category": _fixed(_category(1)),
    "event.dataset": _fixed(lambda dataset: dataset),
    "event.duration": _duration,
    "event.end": _end,
    "event.id": _id,
    "event.kind": _fixed(_category(0)),
    "event.module": _fixed(lambda dataset: _MODULES.get(dataset, "packet")),
    "event.type": _fixed(_category(2)),
    "network.transport": _transport,
    "network.type": _type,
    "related.ip": _related,
}


# What is computed of other columns than time, identity and dataset.
_SOURCES = {
    "event.duration": ("event.start",),
    "network.transport": ("network.iana_number",),
    "network.type": ("source.ip",),
    "related.ip": ("source.ip", "destination.ip"),
}


def stored(names: Iterable[str]) -> set[str]:
    """The fields that a table has to have for these fields to be known."""
    return {source for name in names for source in (name, *_SOURCES.get(name, ()))}


def fields(dataset: str) -> frozenset[str]:
    """Every field a rule may name for that dataset; empty for a dataset no source makes yet."""
    schema = ecs.DATASETS.get(dataset)
    if schema is None:
        return frozenset()
    names = {name for name in schema if name not in ("csirt.segment", "csirt.ordinal")}
    if dataset not in ("flow_options", "flow_counters", "self"):
        names |= {"source.ip", "destination.ip", "related.ip", "network.type"}
    if dataset == "flow":
        names |= {"network.transport", "event.duration", "event.end"}
    names |= {"ecs.version", "event.category", "event.dataset", "event.id", "event.kind", "event.module", "event.type"}
    return frozenset(names)
