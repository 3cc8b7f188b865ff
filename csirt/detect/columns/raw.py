"""Events as a file has them: NDJSON or Parquet to a frame, keys as given, no mapping.

An object inside an event is its leaves under dotted names; a list of objects is, per leaf, the list of its values. Null
and absent are kept apart. Used by the rule author's tools only: live events are columns from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from csirt.detect.columns import jsonframe, jsonlines, pages, physical, values
from csirt.detect.columns.coded import NUMBER, OTHER, TEXT, TRUTH, Distinct
from csirt.detect.columns.columns import (
    AddressColumn,
    Column,
    TextColumn,
    from_arrow,
    testable,
)
from csirt.detect.columns.physical import Physical
from csirt.errors import NotFound, Usage
from csirt.model import ecs
from csirt.model.batch import Array, address_parts, event_ids

TIME_FIELDS = ("@timestamp", "timestamp", "event.created", "ts", "time", "UtcTime", "TimeCreated", "EventTime")
ID_FIELDS = ("event.id", "id", "_id")
MAX_DEPTH = 64
PARQUET_ROWS = 100_000


class RawFrame:
    """Rows of any kind with columns by their own names."""

    def __init__(
        self,
        rows: int,
        columns: Mapping[str, Callable[[], Column | None]],
        text: Callable[[], Physical | None] = lambda: None,
    ) -> None:
        """`text`: what makes the table of text, of columns that are the same by name."""
        self.rows = rows
        self.makers = columns
        self._columns: dict[str, Column | None] = {}
        self._text = text
        self._physical: Physical | None = None

    def column(self, name: str) -> Column | None:
        """The column of that name, spaces aside."""
        if name not in self._columns:
            plain = name.replace(" ", "")
            maker = self.makers.get(plain)
            self._columns[name] = self.column(plain) if plain != name else None if maker is None else maker()
        return self._columns[name]

    def names(self) -> Sequence[str]:
        """All columns."""
        return list(self.makers)

    def physical(self) -> Physical | None:
        """The columns of text, one to a row, as a table of addresses; None where there is none."""
        if self._physical is None:
            self._physical = self._text()
        return self._physical

    def event_ids(self) -> list[str | None]:
        """The events' own ids, from the first field that looks like one."""
        for name in ID_FIELDS:
            column = self.column(name)
            if column is not None and not column.null().all():
                found: list[str | None] = column.texts(np.arange(self.rows)).to_pylist()
                return found
        return [None] * self.rows

    def times(self) -> tuple[Array, Array]:
        """(microseconds, valid): event time from the first field that holds times."""
        for name in TIME_FIELDS:
            column = self.column(name)
            if column is None or column.null().all():
                continue
            texts = column.texts(np.arange(self.rows))
            known = [values.parse_time(text) for text in texts.dictionary.to_pylist()]
            codes = np.asarray(texts.indices.fill_null(-1).to_numpy())
            micros = np.array([*(item or 0 for item in known), 0], np.int64)[codes]
            valid = np.array([*(item is not None for item in known), False], bool)[codes]
            if valid.any():
                return micros, valid
        return np.zeros(self.rows, np.int64), np.zeros(self.rows, bool)


def read(path: Path) -> Iterator[RawFrame]:
    """The events of a `.parquet` file, or of NDJSON (`-` is stdin), in frames one after the other. Raises NotFound, or
    Usage with file and line."""
    if str(path) != "-" and not path.is_file():
        raise NotFound(f"{path}: no such file")
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif str(path) == "-":
        import sys

        yield from _ndjson(sys.stdin.buffer, "-")
    else:
        with path.open("rb") as stream:
            yield from _ndjson(stream, str(path))


def _parquet(path: Path) -> Iterator[RawFrame]:
    try:
        with pq.ParquetFile(path) as file:
            texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        with pq.ParquetFile(path, read_dictionary=texts) as file, path.open("rb") as stream:
            places = pages.taken(file)
            for group in range(file.num_row_groups):
                frame = _group(file, stream, group, places)
                if frame is not None:
                    yield frame
                    continue
                for batch in file.iter_batches(PARQUET_ROWS, row_groups=[group], use_threads=False):
                    yield from_table(pa.Table.from_batches([batch]))
    except pa.ArrowException as error:
        raise Usage(f"{path}: not a Parquet file: {error}") from error


def _group(file: pq.ParquetFile, stream: BinaryIO, group: int, places: Sequence[int]) -> RawFrame | None:
    """A row group whose text is read without Arrow; None where it cannot be."""
    text = pages.read(stream, file.metadata, group, places)
    if text is None:
        return None
    mine = set(text.names) - {"csirt.segment"}  # half of an event's id
    names = [name for name in file.schema_arrow.names if name not in mine]
    others = from_table(file.read_row_group(group, names, use_threads=False)).makers if names else {}
    makers = text.makers()
    if others.keys() & makers.keys() - {"csirt.segment"}:
        return None
    return RawFrame(text.rows, {**others, **makers}, text.physical)


def _ndjson(stream: BinaryIO, name: str) -> Iterator[RawFrame]:
    line = 1
    for piece in jsonlines.pieces(stream):
        much = jsonframe.columns(piece)
        if much is not None:
            line += much.lines
            yield RawFrame(much.rows, much.makers, much.text)
            continue
        found = jsonlines.columns(piece)
        yield from_events(_lines(piece, name, line)) if found is None else from_table(*found)
        line += piece.count(b"\n") + 1


def objects(path: Path) -> list[dict[str, Any]]:
    """The events of an NDJSON file or of stdin (`-`), or the one event of a JSON file. Raises Usage."""
    import sys

    raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    try:
        whole = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _lines(raw, str(path), 1)
    return [whole] if isinstance(whole, dict) else _lines(raw, str(path), 1)


def _lines(raw: bytes, name: str, first: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for number, line in enumerate(raw.split(b"\n"), first):
        if not line.strip():
            continue
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise Usage(f"{name}:{number}: not JSON: {error}; write one JSON object per line") from error
        if not isinstance(event, dict):
            raise Usage(f"{name}:{number}: not a JSON object; write one object per line")
        events.append(event)
    return events


def from_events(events: Iterable[dict[str, Any]]) -> RawFrame:
    """A frame of plain objects."""
    builders: dict[str, _Builder] = {}
    count = 0
    for row, event in enumerate(events):
        count = row + 1
        _flatten(event, "", row, builders, 0, False)
    return RawFrame(count, {name: partial(builder.column, count) for name, builder in builders.items()})


class _Builder:
    """One column while it grows."""

    __slots__ = ("codes", "found", "kinds", "lists", "nulls", "rows", "seen", "texts")

    def __init__(self) -> None:
        self.found: dict[tuple[int, str], int] = {}
        self.texts: list[str] = []
        self.kinds: list[int] = []
        self.rows: list[int] = []
        self.codes: list[int] = []
        self.nulls: list[int] = []
        self.seen: list[int] = []
        self.lists = False

    def add(self, row: int, value: Any) -> None:
        """A value of the row; None counts as present and null, an object as present without a value."""
        self.seen.append(row)
        if value is None:
            self.nulls.append(row)
            return
        kind, text = _describe(value)
        key = (kind, text)
        code = self.found.get(key)
        if code is None:
            code = self.found[key] = len(self.texts)
            self.texts.append(text)
            self.kinds.append(kind)
        self.rows.append(row)
        self.codes.append(code)

    def column(self, count: int) -> Column:
        present = np.zeros(count, bool)
        present[self.seen] = True
        null = ~present
        null[self.nulls] = True
        parents = np.array(self.rows, np.int64)
        codes = np.array(self.codes, np.int32)
        texts = pa.array(self.texts, pa.string())
        kinds = np.array(self.kinds, np.uint8)
        if not self.lists and (np.diff(parents) > 0).all():
            rows = np.full(count, -1, np.int32)
            rows[parents] = codes
            return TextColumn(count, Distinct(texts, rows, None, kinds), present, null)
        order = np.argsort(parents, kind="stable")
        return TextColumn(count, Distinct(texts, codes[order], parents[order], kinds), present, null)


def _describe(value: Any) -> tuple[int, str]:
    if isinstance(value, str):
        return TEXT, value
    if isinstance(value, bool):
        return TRUTH, "true" if value else "false"
    if isinstance(value, int | float):
        return NUMBER, values.number_text(value)
    return OTHER, ""


def _flatten(value: Any, name: str, row: int, builders: dict[str, _Builder], depth: int, in_list: bool) -> None:
    if depth > MAX_DEPTH:
        raise Usage(f"event {row}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        builder = builders.setdefault(name, _Builder())
        builder.lists = True
        if not value:
            builder.add(row, {})
        for item in value:
            _flatten(item, name, row, builders, depth + 1, True)
        return
    if name:
        builder = builders.setdefault(name, _Builder())
        builder.lists = builder.lists or in_list
        builder.add(row, value)
    if isinstance(value, dict):
        for key, item in value.items():
            # The specification takes spaces out of field names ("Process Name" is ProcessName).
            plain = key.replace(" ", "")
            _flatten(item, f"{name}.{plain}" if name else plain, row, builders, depth + 1, in_list)


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
    makers = {name: partial(make, flat, what) for name, (make, what) in plan.makers.items()} | objects
    for name, rows in (nulls or {}).items():
        if name in makers:
            place = plan.places.get(name) if rows else None
            maker = makers[name] if place is None else partial(_all, flat, place)
            makers[name] = partial(_with_nulls, maker, rows)
    return RawFrame(table.num_rows, makers, partial(_text, flat, plan, frozenset(nulls or ())))


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
    return _Plan(schema, makers, places, frozenset(plain), len(set(plain)) < len(plain), tuple(texts), where, nested)


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
