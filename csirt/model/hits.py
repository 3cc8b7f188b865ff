"""What detection hands to the coordinator: one row per (stream, event), columnar, small.

A stream is a consumer of matches: a rule that alerts itself, or one input of a correlation (`CORRELATION/RULE`).
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from csirt.model.records import Alert

HITS = pa.schema(
    [
        ("stream", pa.string()),
        ("rule", pa.string()),  # the rule whose condition matched
        ("time", pa.int64()),  # event time, microseconds
        ("event", pa.string()),  # event.id
        ("group", pa.string()),  # canonical JSON object of the group-by fields, sorted keys
        ("value", pa.string()),  # the counted field of value_count, null otherwise
        ("source", pa.string()),  # actor as "kind:value" ("host:10.1.2.3", "her:910170"), null when none
        ("target", pa.string()),  # target as "kind:value"
        ("source_member", pa.string()),
        ("target_member", pa.string()),
        ("link", pa.string()),  # a further shared entity ("message:<id>"), null when none
        ("facts", pa.string()),  # canonical JSON object of a few short fields for people
    ]
)


def none() -> pa.Table:
    """A table of hits with no rows."""
    return HITS.empty_table()


@dataclass(slots=True)
class AlertChange:
    """An alert that opened or was extended; `alert` is its whole new value. Ordered by (`at`, alert id)."""

    at: int
    opened: bool
    alert: Alert
