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
from csirt.detect.columns.columns import AddressColumn, Column, NumberColumn, TextColumn, TruthColumn
from csirt.detect.columns.physical import Physical
from csirt.detect.columns.raw import RawFrame, from_events
from csirt.model import ecs
from csirt.model.batch import address_parts, event_ids


def from_table(table: pa.Table, nulls: Mapping[str, Sequence[int]] | None = None) -> RawFrame:
    """A frame of an Arrow table; structs are flattened, addresses in the lake's physical form become one column. Each
    column is made when it is first asked for. A table whose names collide is read event by event. `nulls`: the rows
    where a field is present and null; elsewhere a field without a value is absent."""
    objects: dict[str, Callable[[], Column | None]] = {}
    flat, plan, twice = table, _planned(table.schema), False
    if plan.nested:
        flat, twice = _flat(table, objects)
        plan = _planned(flat.schema)
    if twice or plan.twice or not plan.plain.isdisjoint(objects):
        return from_events(_there(event, row, nulls or {}) for row, event in enumerate(table.to_pylist()))
    given: dict[str, Callable[[], Column | None]] = objects
    makers = _Makers(flat, plan, given)
    for name, rows in (nulls or {}).items():
        if name in makers:
            place = plan.places.get(name) if rows else None
            maker = makers[name] if place is None else partial(_all, flat, place)
            given[name] = partial(_with_nulls, maker, rows)
    alike = None if given or nulls else plan
    return RawFrame(table.num_rows, makers, partial(makers.text, frozenset(nulls or ())), plan.written, alike)


class _Makers(Mapping[str, Callable[[], Column | None]]):
    """What makes the columns of a table, each when it is asked for; `given`: others in their place."""

    def __init__(self, table: pa.Table, plan: _Plan, given: Mapping[str, Callable[[], Column | None]]) -> None:
        self._table, self._plan, self._given = table, plan, given
        self._taken: physical.Taken | None = None

    def __getitem__(self, name: str) -> Callable[[], Column | None]:
        if name in self._given:
            return self._given[name]
        make, what = self._plan.makers[name]
        return (
            partial(self._number, what)
            if make is _made and what in self._plan.numbers
            else partial(make, self._table, what)
        )

    def __contains__(self, name: object) -> bool:
        return name in self._plan.makers or name in self._given

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._plan.makers, *self._given]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def text(self, nulls: frozenset[str]) -> Physical | None:
        """The table of text. A field that is null somewhere is there, with values or without: it is left out."""
        plan = self._plan
        if self._taken is None:
            self._taken = physical.Taken(self._table, plan.asked)
        known = self._taken.text
        if known is None or nulls.isdisjoint(plan.asked.names):
            return known
        some = np.array([name not in nulls for name in plan.asked.names], bool)
        names = tuple(name for name in plan.asked.names if name not in nulls)
        return Physical(names, known.table[some], known.filled[some], known.kept)

    def _number(self, place: int) -> Column | None:
        """A column of numbers, or of truth values."""
        kind = self._plan.numbers[place]
        if self._taken is None or not self._taken.whole:
            return _made(self._table, place)
        found = self._taken.numbers(place, kind)
        if found is None:
            return None
        return TruthColumn(*found) if kind.kind == "b" else NumberColumn(*found)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """How tables of a schema become columns: by name what makes it of the table, and of which part. `places` of plain
    columns; `plain`: the names of all of the table's own; `twice`: some are the same. `numbers`: what numpy calls the
    numbers, or truth values, of plain columns, by place."""

    schema: pa.Schema
    makers: Mapping[str, tuple[Callable[[pa.Table, Any], Column | None], Any]]
    places: Mapping[str, int]
    plain: frozenset[str]
    twice: bool
    numbers: Mapping[int, np.dtype[Any]]
    asked: physical.Asked
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
    texts = {name: place for name, place in places.items() if physical.taken(schema.field(place).type)}
    kinds = {place: schema.field(place).type for place in places.values()}
    numbers = {place: np.dtype(kind.to_pandas_dtype()) for place, kind in kinds.items() if written(kind)}
    nested = any(map(pa.types.is_struct, schema.types))
    twice = len(set(plain)) < len(plain)
    others = frozenset(name for name, place in places.items() if written(schema.field(place).type))
    asked = physical.Asked(texts, numbers)
    return _Plan(schema, makers, places, frozenset(plain), twice, numbers, asked, nested, others)


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


def _flat(table: pa.Table, makers: dict[str, Callable[[], Column | None]]) -> tuple[pa.Table, bool]:
    """The table with the fields of its objects as columns; that an object was there at all is a column too. Whether
    two objects have one name."""
    twice = False
    while any(map(pa.types.is_struct, table.schema.types)):
        for place, field in enumerate(table.schema):
            if pa.types.is_struct(field.type):
                name = field.name.replace(" ", "")
                twice |= name in makers
                makers[name] = partial(_objects, table.column(place))
        table = table.flatten()
    return table, twice


def _objects(column: Any) -> Column:
    """Objects: present where they are, and no value."""
    there = np.asarray(column.is_valid().to_numpy())
    codes = np.where(there, 0, -1).astype(np.int32)
    return TextColumn(len(codes), Distinct(pa.array([""]), codes, None, np.full(1, OTHER, np.uint8)))


def _addresses(table: pa.Table, name: str) -> Column:
    return AddressColumn(*address_parts(table, name))


def _ids(table: pa.Table, _: None) -> Column | None:
    return from_arrow(event_ids(table))
