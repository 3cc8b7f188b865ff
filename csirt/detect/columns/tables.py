"""Arrow tables of any kind as frames: objects taken apart, addresses put together, each column made when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.detect.columns import physical
from csirt.detect.columns.arrow import from_arrow, testable, written
from csirt.detect.columns.coded import OTHER, Distinct
from csirt.detect.columns.columns import AddressColumn, Column, TextColumn
from csirt.detect.columns.physical import Physical
from csirt.detect.columns.raw import RawFrame, from_events
from csirt.model import ecs
from csirt.model.batch import Array, address_parts, event_ids


def from_table(table: pa.Table, nulls: Mapping[str, Sequence[int]] | None = None) -> RawFrame:
    """A frame of an Arrow table; structs are flattened, addresses in the lake's physical form become one column. Each
    column is made when it is first asked for. A table whose names collide is read event by event. `nulls`: the rows
    where a field is present and null; elsewhere a field without a value is absent."""
    objects: dict[str, Callable[[], Column | None]] = {}
    flat, plan = table, _planned(table.schema)
    if plan.nested:
        flat = _flat(table, objects)
        plan = _planned(flat.schema)
    if plan.twice or not plan.plain.isdisjoint(objects):
        return from_events(_there(event, row, nulls or {}) for row, event in enumerate(table.to_pylist()))
    given: dict[str, Callable[[], Column | None]] = objects
    makers = _Makers(flat, plan, given)
    for name, rows in (nulls or {}).items():
        if name in makers:
            place = plan.places.get(name) if rows else None
            maker = makers[name] if place is None else partial(_all, flat, place)
            given[name] = partial(_with_nulls, maker, rows)
    return RawFrame(table.num_rows, makers, partial(_text, flat, plan, frozenset(nulls or ())), plan.written)


class _Makers(Mapping[str, Callable[[], Column | None]]):
    """What makes the columns of a table, each when it is asked for; `given`: others in their place."""

    def __init__(self, table: pa.Table, plan: _Plan, given: Mapping[str, Callable[[], Column | None]]) -> None:
        self._table, self._plan, self._given = table, plan, given

    def __getitem__(self, name: str) -> Callable[[], Column | None]:
        if name in self._given:
            return self._given[name]
        make, what = self._plan.makers[name]
        return partial(make, self._table, what)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._plan.makers, *self._given]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _text(table: pa.Table, plan: _Plan, nulls: frozenset[str]) -> Physical | None:
    """The table of text. A field that is null somewhere is there, with values or without: it is left out."""
    if nulls.isdisjoint(plan.texts):
        return physical.of_table(table, plan.texts, plan.text_places)
    names = tuple(name for name in plan.texts if name not in nulls)
    return physical.of_table(table, names, np.array([plan.places[name] for name in names], np.int64))


@dataclass(frozen=True, slots=True)
class _Plan:
    """How tables of a schema become columns: by name what makes it of the table, and of which part. `places` of plain
    columns; `plain`: the names of all of the table's own; `twice`: some are the same."""

    schema: pa.Schema
    makers: Mapping[str, tuple[Callable[[pa.Table, Any], Column | None], Any]]
    places: Mapping[str, int]
    plain: frozenset[str]
    twice: bool
    texts: tuple[str, ...]
    text_places: Array
    nested: bool
    written: frozenset[str]


_plans: list[_Plan] = []
# Tables that are read one after the other have one schema, or a few.
_MOST_PLANS = 8


def _planned(schema: pa.Schema) -> _Plan:
    for known in _plans:
        if known.schema.equals(schema):
            return known
    made = _plan(schema)
    _plans[:] = [made, *_plans[: _MOST_PLANS - 1]]
    return made


def _plan(schema: pa.Schema) -> _Plan:
    makers: dict[str, tuple[Callable[[pa.Table, Any], Column | None], Any]] = {}
    plain = [name.replace(" ", "") for name in schema.names]
    names = set(schema.names)
    for place, name in enumerate(schema.names):
        stem = name.rpartition(":")[0] if name.endswith(ecs.ADDRESS_PARTS) else ""
        if stem and all(f"{stem}{part}" in names for part in ecs.ADDRESS_PARTS):
            makers.setdefault(stem, (_addresses, stem))
        elif testable(schema.field(place).type):
            makers[plain[place]] = _made, place
    if {"csirt.segment", "csirt.ordinal"} <= names:
        makers.setdefault("event.id", (_ids, None))
    places = {name: what for name, (make, what) in makers.items() if make is _made}
    texts = {name: place for name, place in places.items() if physical.coded(schema.field(place).type)}
    where = np.array(list(texts.values()), np.int64)
    nested = any(map(pa.types.is_struct, schema.types))
    twice = len(set(plain)) < len(plain)
    others = frozenset(name for name, place in places.items() if written(schema.field(place).type))
    return _Plan(schema, makers, places, frozenset(plain), twice, tuple(texts), where, nested, others)


def _all(table: pa.Table, place: int) -> Column | None:
    """The column of that place, with values or without."""
    return from_arrow(table.column(place))


def _made(table: pa.Table, place: int) -> Column | None:
    """The column of that place; one without a value is one that no row has."""
    column = table.column(place)
    return from_arrow(column) if column.null_count < len(column) else None


def _there(value: Any, row: int, nulls: Mapping[str, Sequence[int]], name: str = "") -> Any:
    """The value without the fields a table has nothing for."""
    if isinstance(value, dict):
        named = {key: f"{name}.{plain}" if name else plain for key in value for plain in [key.replace(" ", "")]}
        return {
            key: _there(item, row, nulls, named[key])
            for key, item in value.items()
            if item is not None or row in nulls.get(named[key], ())
        }
    return value


def _with_nulls(maker: Callable[[], Column | None], rows: Sequence[int]) -> Column | None:
    column = maker()
    if column is not None:
        column.has_nulls(np.asarray(rows, np.int64))
    return column


def _flat(table: pa.Table, makers: dict[str, Callable[[], Column | None]]) -> pa.Table:
    """The table with the fields of its objects as columns; that an object was there at all is a column too."""
    while any(map(pa.types.is_struct, table.schema.types)):
        for place, field in enumerate(table.schema):
            if pa.types.is_struct(field.type):
                makers[field.name.replace(" ", "")] = partial(_objects, table.column(place))
        table = table.flatten()
    return table


def _objects(column: Any) -> Column:
    """Objects: present where they are, and no value."""
    there = np.asarray(column.is_valid().to_numpy())
    codes = np.where(there, 0, -1).astype(np.int32)
    return TextColumn(len(codes), Distinct(pa.array([""]), codes, None, np.full(1, OTHER, np.uint8)))


def _addresses(table: pa.Table, name: str) -> Column:
    return AddressColumn(*address_parts(table, name))


def _ids(table: pa.Table, _: None) -> Column | None:
    return from_arrow(event_ids(table))
