"""Events as the cluster holds them, as tables of the lake's form again: the same columns, the same text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from csirt.clock import parse_iso
from csirt.model import ecs
from csirt.model.address import from_text
from csirt.model.batch import Batch, address_columns, assemble

# What is made where an event becomes text, unless a dataset has such a column.
COMPUTED = frozenset(
    {
        "event.id", "event.dataset", "event.module", "event.kind", "event.category", "event.type", "event.end",
        "event.duration", "ecs.version", "related.ip", "network.type", "network.transport", "source.bytes",
        "source.packets", "destination.bytes", "destination.packets", "netflow.exporter.address", "lake.received",
        "lake.store",
    }
)  # fmt: skip
_LEAST = -(1 << 63)


def event(source: dict[str, Any]) -> dict[str, Any]:
    """The event of a document, exactly as it was."""
    exact: dict[str, Any] = orjson.loads(source["document"]) if "document" in source else source
    return exact


def batches(events: list[dict[str, Any]]) -> list[Batch]:
    """Tables of these events, in their order within each dataset, in as few as their columns allow."""
    by_dataset: dict[str, list[dict[str, Any]]] = {}
    for one in events:
        by_dataset.setdefault(one["event"]["dataset"], []).append(dict(_leaves(one, "")))
    return [batch for dataset, rows in by_dataset.items() for batch in _tables(dataset, rows)]


def _leaves(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, value


def _tables(dataset: str, rows: list[dict[str, Any]]) -> list[Batch]:
    """One table; more where a column that the schema does not know mixes types."""
    try:
        return [_table(dataset, rows)]
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        if len(rows) == 1:
            raise
        half = len(rows) // 2
        return [*_tables(dataset, rows[:half]), *_tables(dataset, rows[half:])]


def _table(dataset: str, rows: list[dict[str, Any]]) -> Batch:
    schema = ecs.DATASETS.get(dataset, ecs.COMMON)
    ids = [row["event.id"] for row in rows]
    columns: dict[str, Any] = {
        "csirt.segment": pa.array([id[:16] for id in ids]).dictionary_encode(),
        "csirt.ordinal": np.array([int(id[16:], 16) for id in ids], np.uint64),
    }
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if name in ecs.ADDRESSES:
            columns |= _addresses(name, values)
        elif name in schema:
            columns[name] = _column(schema[name], values)
        elif name not in COMPUTED:
            columns[name] = _raw(values)
    return assemble(dataset, columns)


def _addresses(name: str, values: list[Any]) -> dict[str, pa.Array]:
    known = {text: from_text(text) for text in {value for value in values if value is not None}}
    parts = [known.get(value, (0, 0, 0)) for value in values]
    family, high, low = (np.array([part[n] for part in parts], np.uint64) for n in range(3))
    return address_columns(name, family, high, low)


def _column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return pa.array([None if value is None else parse_iso(value) for value in values], pa.int64()).cast(kind)
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array(values, kind)


def _raw(values: list[Any]) -> pa.Array:
    """An element without a column: numbers are unsigned where they can be."""
    numbers = [value for value in values if value is not None]
    if all(isinstance(value, int) and not isinstance(value, bool) for value in numbers):
        return pa.array(values, pa.uint64() if min(numbers) >= 0 else pa.int64())
    return pa.array(values)
