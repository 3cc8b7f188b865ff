"""Sums by field, as nfdump's `-s`: events, packets and bytes per value, most bytes first."""

from __future__ import annotations

import difflib
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from csirt.clock import iso
from csirt.errors import Usage
from csirt.model import ecs
from csirt.model.address import to_text
from csirt.model.batch import Batch
from csirt.stores.hunt.logical import known_fields
from csirt.stores.hunt.select import Adds, Hunted, Question, with_computed

_SUMS = ("network.bytes", "network.packets")
_MERGE_ROWS = 500_000  # partial sums beyond this are added up before more are made
MOST_ITEMS = 1_000_000
ORDERS = ("bytes", "packets", "events")


def top(store: Hunted, question: Question, fields: list[str], order: str = "bytes") -> dict[str, Any]:
    """`{fields, items: [{<field>: value, …, events, packets, bytes}], count, truncated, duplicates}`, sorted by `order`
    and the values; `limit` of the question cuts items, `duplicates` are records left out. Raises Usage for a field
    no dataset has, an unknown order, and for more than a million items."""
    if order not in ORDERS:
        raise Usage(f"cannot order by {order!r}; choose {', '.join(ORDERS)}")
    keys = [part for name in fields for part in ecs.physical(name)]
    told = store.sums(question, fields) if isinstance(store, Adds) else None
    made, rest = told if told is not None else (None, store)
    partial = [pl.DataFrame(pl.from_arrow(made))] if made is not None and made.num_rows else []
    seen: set[str] = set()
    rows = 0
    for batch in rest.events(question.dataset, since=question.since, until=question.until):
        kept = question.keep(batch)
        seen.update(kept.table.column_names)
        if kept.rows:
            partial.append(_sum(_frame(kept, keys), keys))
            rows += partial[-1].height
        if rows > _MERGE_ROWS:
            partial = [_again(partial, keys)]
            rows = partial[0].height
    _check(fields, seen)
    merged = _again(partial, keys) if partial else None
    if merged is None:
        return {"fields": fields, "items": [], "count": 0, "truncated": False, "duplicates": question.left_out}
    limit = question.limit if question.limit is not None else merged.height
    if min(limit, merged.height) > MOST_ITEMS:
        raise Usage(f"{merged.height} different values: name fewer fields, or add --limit")
    by = {"bytes": "+network.bytes", "packets": "+network.packets", "events": "+events"}[order]
    down = [by, "+events"]
    ranked = merged.sort([*down, *keys], descending=[True] * 2 + [False] * len(keys)).head(limit)
    items = _items(ranked, fields)
    found = {"fields": fields, "items": items, "count": len(items), "truncated": limit < merged.height}
    return {**found, "duplicates": question.left_out}


def _check(fields: list[str], seen: set[str]) -> None:
    known = [*known_fields(), *seen]
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise Usage(f"no field {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _frame(batch: Batch, keys: list[str]) -> pl.DataFrame:
    """Keys and counters of a batch; absent keys are null, of the type they have elsewhere; repeated text stays a
    dictionary until it is summed."""
    table = with_computed(batch, set(keys))
    made: dict[str, pa.Array] = {}
    for name in keys:
        column = table.column(name) if name in table.column_names else pa.nulls(batch.rows)
        made[name] = pc.cast(column, pa.string()) if pa.types.is_dictionary(column.type) else column
    for name in _SUMS:
        column = (
            table.column(name)
            if name in table.column_names
            else pa.array([0], pa.uint64()).take(pa.nulls(batch.rows, pa.int32()))
        )
        made[f"+{name}"] = pc.fill_null(column, pa.scalar(0, column.type))
    frame = pl.DataFrame(pl.from_arrow(pa.table(made)))
    for name in keys:
        if isinstance(frame.schema[name], pl.List):
            frame = frame.explode(name)
    return frame


def _sum(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    return frame.group_by(keys).agg(
        pl.len().cast(pl.UInt64).alias("+events"),
        *(pl.col(f"+{name}").cast(pl.UInt64).sum() for name in _SUMS),
    )


def _again(partial: list[pl.DataFrame], keys: list[str]) -> pl.DataFrame:
    """Partial sums added up; a key that has two number types becomes the wider one."""
    whole = pl.concat(partial, how="vertical_relaxed")
    return whole.group_by(keys).agg(pl.col("+events").sum(), *(pl.col(f"+{name}").sum() for name in _SUMS))


def _items(frame: pl.DataFrame, fields: list[str]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for row in frame.iter_rows(named=True):
        item = {name: _value(row, name) for name in fields}
        item["bytes"], item["packets"] = row["+network.bytes"], row["+network.packets"]
        item["events"] = row["+events"]
        items.append(item)
    return items


def _value(row: dict[str, Any], name: str) -> Any:
    if name in ecs.ADDRESSES:
        family, high, low = (row.get(part) for part in ecs.physical(name))
        return to_text(family, high or 0, low or 0) if family else None
    value = row[name]
    if hasattr(value, "timestamp"):
        return iso(round(value.timestamp() * 1_000_000))
    return value
