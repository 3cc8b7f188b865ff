"""What detection hands to the coordinator: one row per (stream, event), columnar, small.

A stream is a consumer of matches: a rule that alerts itself, or one input of a correlation (`CORRELATION/RULE`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt import ids
from csirt.model.batch import Array
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
        # Of a row that stands for events of which only time and group are asked for (what a ratio divides by): of which
        # group each was, as its place in `values`, and how long before the last one, whose is the row's `time`.
        ("counted", pa.list_(pa.struct([("group", pa.int32()), ("before", pa.int32())]))),
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


def noted(table: pa.Table) -> pa.Table:
    """The hits whose events a cluster gets."""
    local = pc.ends_with(table.column("stream"), ids.LAKE_ONLY)
    return table.filter(pc.invert(local)) if pc.any(local).as_py() else table


_LATER = ("number", "count", "total", "values", "counted")


def conform(table: pa.Table) -> pa.Table:
    """A table of hits; columns that the program that wrote it did not know are null."""
    if table.schema.equals(HITS) or not set(HITS.names) - set(_LATER) <= set(table.column_names):
        return table
    for name in _LATER:
        if name not in table.column_names:
            table = table.append_column(HITS.field(name), pa.nulls(table.num_rows, HITS.field(name).type))
    return table.select(HITS.names)


def sizes(table: pa.Table | pa.RecordBatch) -> Array:
    """How many events of its own each row has: one, or those that it counts."""
    column = table.column("counted")
    if column.null_count == len(column):
        return np.ones(len(column), np.int64)
    return np.asarray(pc.fill_null(pc.list_value_length(column), 1).to_numpy()).astype(np.int64)


def weights(table: pa.Table) -> Array:
    """What each row weighs, in ordinary hits: events that it only counts take a sixteenth of the room of one."""
    found: Array = np.maximum(sizes(table) // 16, 1)
    return found


class AlertChange:
    """An alert that opened or was extended. Ordered by (`at`, `id`), its alert's. `numbers`: when the alert's first and
    last event were, and how many it has."""

    __slots__ = ("__weakref__", "_alert", "_fresh", "_make", "at", "id", "numbers", "opened")

    def __init__(self, at: int, opened: bool, alert: Alert, fresh: list[Entity] | None = None) -> None:
        self.at, self.opened, self.id = at, opened, alert.id
        self.numbers = alert.first, alert.last, alert.count
        self._make: Callable[[], None] | None = None
        self._alert: Alert | None = alert
        self._fresh = fresh

    @classmethod
    def later(cls, at: int, opened: bool, name: str, numbers: tuple[int, int, int], make: Callable[[], None]) -> Self:
        """A change whose alert `make` gives when somebody wants it."""
        made = cls.__new__(cls)
        made.at, made.opened, made.id, made.numbers = at, opened, name, numbers
        made._make, made._alert, made._fresh = make, None, None
        return made

    def give(self, alert: Alert, fresh: list[Entity]) -> None:
        """The alert, and its new entities."""
        self._alert, self._fresh, self._make = alert, fresh, None

    @property
    def alert(self) -> Alert:
        """Its whole new value."""
        if self._make is not None:
            self._make()
        assert self._alert is not None
        return self._alert

    @property
    def fresh(self) -> list[Entity] | None:
        """Its entities that the change before it did not have, and perhaps some that changes had which nobody held;
        None where that is not known."""
        if self._make is not None:
            self._make()
        return self._fresh
