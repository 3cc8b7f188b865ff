"""Parsed values become columns of the event schema."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from csirt.decode.parser import Field, Parser
from csirt.model import ecs
from csirt.model.address import from_text
from csirt.model.batch import Batch, address_columns, assemble

TYPES: dict[str, Any] = {"integer": pl.UInt64, "number": pl.Float64}
SEPARATOR = "\n"  # between the values of a list column while it is text; no value holds one


def field_types(parser: Parser) -> dict[str, Any]:
    """The polars type of every field."""
    return {name: TYPES.get(field.kind, pl.String) for name, field in parser.fields.items()}


def batch(parser: Parser, rows: pl.DataFrame, observer: str) -> Batch:
    """The dataset's table, in (segment, ordinal) order.

    `rows`: `segment`, `position`, `time`, `received`, `host`, `path`, `origin` and every field of the parser. A line
    makes one row at most, so the ordinal is its byte offset << 8.
    """
    rows = rows.sort("segment", "position", maintain_order=True)
    count = len(rows)
    received = rows["received"]
    columns: dict[str, Any] = {
        "@timestamp": _times(rows["time"]),
        "event.ingested": _times(pl.select(pl.when(received > 0).then(received)).to_series()),
        "csirt.segment": _text(rows["segment"]),
        "csirt.ordinal": pa.array(rows["position"].to_numpy().astype(np.uint64) << np.uint64(8)),
        "log.file.path": _text(rows["path"]),
        "log.offset": pa.array(rows["position"].to_numpy().astype(np.uint64)),
    }
    name = pl.Series([observer] * count, dtype=pl.String) if observer else rows["host"]
    columns["observer.name"] = _text(name)
    if rows["origin"].is_not_null().any():
        columns["observer.ip"] = _text(rows["origin"])
    schema = ecs.DATASETS[parser.dataset]
    for field in parser.fields.values():
        _fill(columns, field, rows[field.name], schema)
    for column, rules in parser.derive.items():
        columns[column] = _text(_derived(rows, rules))
    return assemble(parser.dataset, columns)


def _fill(columns: dict[str, Any], field: Field, values: pl.Series, schema: dict[str, pa.DataType]) -> None:
    if field.kind == "address" and field.column:
        columns.update(_address(field.column, values))
        return
    if field.column:
        kind = schema[field.column]
        columns[field.column] = _list(values) if kind == ecs.LIST else values.to_arrow().cast(_plain(kind))
    if field.domain:
        lists = values.str.split(SEPARATOR)
        domains = lists.list.eval(pl.element().str.extract(r"@([^@]+)$").drop_nulls().unique(maintain_order=True))
        if schema[field.domain] == ecs.LIST:
            columns[field.domain] = _nullable(domains)
        else:
            columns[field.domain] = domains.list.first().to_arrow().cast(pa.string())


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type a dictionary column holds; `assemble` encodes it."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _text(values: pl.Series) -> pa.Array:
    return values.to_arrow().cast(pa.string()).dictionary_encode()


def _times(values: pl.Series) -> pa.Array:
    return values.cast(pl.Int64).to_arrow().cast(ecs.TIME)


def _list(values: pl.Series) -> pa.Array:
    return _nullable(values.str.split(SEPARATOR))


def _nullable(lists: pl.Series) -> pa.Array:
    """A list column in which an empty list is null: nothing was there."""
    full = pl.select(pl.when(lists.list.len() > 0).then(lists)).to_series()
    return full.to_arrow().cast(ecs.LIST)


def _address(column: str, values: pl.Series) -> dict[str, pa.Array]:
    """Address columns, parsed once per distinct text; what is no address becomes null."""
    count = len(values)
    family, high, low = np.zeros(count, np.uint8), np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    distinct = values.unique(maintain_order=True).drop_nulls().to_list()
    parsed = [_parse(text) for text in distinct]
    if parsed:
        place = values.replace_strict(distinct, range(len(distinct)), default=None, return_dtype=pl.Int64)
        rows = np.flatnonzero(place.is_not_null().to_numpy())
        picks = place.drop_nulls().to_numpy()
        family[rows] = np.array([item[0] for item in parsed], np.uint8)[picks]
        high[rows] = np.array([item[1] for item in parsed], np.uint64)[picks]
        low[rows] = np.array([item[2] for item in parsed], np.uint64)[picks]
    return address_columns(column, family, high, low)


def _parse(text: str) -> tuple[int, int, int]:
    try:
        return from_text(text.removeprefix("IPv6:").partition("%")[0])
    except ValueError:
        return 0, 0, 0


def _derived(rows: pl.DataFrame, rules: Any) -> pl.Series:
    """The value of the first rule whose fields all have one of the wanted values; null when none fits."""
    chain: Any = pl
    for rule in rules:
        tests = [pl.col(name).cast(pl.String).is_in(list(wanted)).fill_null(False) for name, wanted in rule.when]
        chain = chain.when(pl.all_horizontal(tests) if tests else pl.lit(True)).then(pl.lit(rule.value))
    value = chain.otherwise(pl.lit(None, pl.String))
    return rows.select(pl.repeat(None, pl.len(), dtype=pl.String).alias("_"), value.alias("value"))["value"]
