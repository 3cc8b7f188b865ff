"""Tables as people name their columns: addresses as text, computed columns made, for sums and SQL."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from csirt.model import ecs
from csirt.model.address_columns import texts
from csirt.model.batch import Batch, address_parts
from csirt.stores.hunt.select import with_computed

COMPUTED = ("event.dataset", "event.id", "network.transport")


def known_fields() -> list[str]:
    """Every logical column any dataset's schema has, in schema order, computed ones first."""
    names: dict[str, None] = dict.fromkeys(COMPUTED)
    for schema in ecs.DATASETS.values():
        for name in schema:
            names[name] = None
    names.update(dict.fromkeys(ecs.ADDRESSES))
    return list(names)


def fields_of(dataset: str | None) -> list[str]:
    """The logical columns of a dataset in reading order: time, dataset, id, the two ends, then its schema."""
    if dataset is None:
        return list(dict.fromkeys(("@timestamp", "event.dataset", "event.id", *_ENDS, *known_fields())))
    schema = ecs.DATASETS.get(dataset, ecs.COMMON)
    ends = _ENDS if "source.port" in schema else ("source.ip",)
    extra = ("network.transport",) if dataset == "flow" else ()
    return list(dict.fromkeys(("@timestamp", "event.dataset", "event.id", *ends, *extra, *schema)))


_ENDS = ("source.ip", "source.port", "destination.ip", "destination.port")


def columns(batch: Batch, names: list[str]) -> pa.Table:
    """The named logical columns that the batch has: addresses and repeated text as plain text."""
    table = with_computed(batch, set(names))
    have = set(table.column_names)
    made: dict[str, pa.Array] = {}
    for name in names:
        if f"{name}:f" in have:
            made[name] = pc.cast(texts(*address_parts(table, name)), pa.string())
        elif name in have:
            column = table.column(name)
            made[name] = pc.cast(column, pa.string()) if pa.types.is_dictionary(column.type) else column
    return pa.table(made)


def all_names(batch: Batch) -> list[str]:
    """Every logical column of a batch, computed ones included."""
    hidden = {part for name in ecs.ADDRESSES for part in ecs.physical(name)}
    addresses = [name for name in ecs.ADDRESSES if f"{name}:f" in batch.table.column_names]
    plain = [name for name in batch.table.column_names if name not in hidden]
    return list(dict.fromkeys([*plain, *addresses, *COMPUTED]))
