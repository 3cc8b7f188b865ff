"""What detection hands to the coordinator: one row per (stream, event), columnar, small.

A stream is a consumer of matches: a rule that alerts itself, or one input of a correlation (`CORRELATION/RULE`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.records import Alert, Entity

HITS = pa.schema(
    [
        ("stream", pa.string()),
        ("rule", pa.string()),  # the rule whose condition matched
        ("time", pa.int64()),  # event time, microseconds
        ("event", pa.string()),  # event.id
        ("group", pa.string()),  # canonical JSON object of the group-by fields, sorted keys
        ("value", pa.string()),  # the counted field of value_count and its like, null otherwise
        ("number", pa.float64()),  # the field that is added up or ranked (value_sum, …), null otherwise
        # Of a row that stands for several events of one group and bucket (a baseline's): how many, and their sum.
        ("count", pa.int64()),
        ("total", pa.float64()),
        ("values", pa.list_(pa.string())),  # the distinct counted values of all of them, where values are counted
        ("source", pa.string()),  # actor as "kind:value" ("host:10.1.2.3", "her:910170"), null when none
        ("target", pa.string()),  # target as "kind:value"
        ("source_member", pa.string()),
        ("target_member", pa.string()),
        ("link", pa.string()),  # a further shared entity ("message:<id>"), null when none
        ("facts", pa.string()),  # canonical JSON object of a few short fields for people
    ]
)


@cache
def none() -> pa.Table:
    """A table of hits with no rows."""
    return HITS.empty_table()


# In front of the stream of hits that say only which events the cluster needs: what comes of those is found there.
ELSEWHERE = "cluster:"


def kept(table: pa.Table) -> pa.Table:
    """The hits that this store's own analysis uses."""
    elsewhere = pc.starts_with(table.column("stream"), ELSEWHERE)
    return table.filter(pc.invert(elsewhere)) if pc.any(elsewhere).as_py() else table


_LATER = ("number", "count", "total", "values")


def conform(table: pa.Table) -> pa.Table:
    """A table of hits; columns that the program that wrote it did not know are null."""
    if table.schema.equals(HITS) or not set(HITS.names) - set(_LATER) <= set(table.column_names):
        return table
    for name in _LATER:
        if name not in table.column_names:
            table = table.append_column(HITS.field(name), pa.nulls(table.num_rows, HITS.field(name).type))
    return table.select(HITS.names)


@dataclass(slots=True)
class AlertChange:
    """An alert that opened or was extended; `alert` is its whole new value. Ordered by (`at`, alert id). `fresh`: its
    entities that the change before it did not have; None where that is not known."""

    at: int
    opened: bool
    alert: Alert
    fresh: list[Entity] | None = None
