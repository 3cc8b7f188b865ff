"""Correlations of correlations: the order they run in, and alerts as events.

An alert of a correlation is one event for those built on it: the hit that opened it, at the time it opened, in the
alert's group. Its fields are the group's, what the hit says of both ends, and the hit's facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import pyarrow as pa

from csirt.detect.columns.values import number_of
from csirt.detect.rule import Correlation
from csirt.model.batch import Array
from csirt.model.hits import HITS

# The fields that the columns of a hit answer: field -> (column, kind of entity).
FIELDS = {
    "source.ip": ("source", "host"),
    "destination.ip": ("target", "host"),
    "csirt.edi.her_from": ("source", "her"),
    "csirt.edi.her_to": ("target", "her"),
    "csirt.source.member.id": ("source_member", ""),
    "csirt.destination.member.id": ("target_member", ""),
}


def in_order(correlations: Iterable[Correlation]) -> list[Correlation]:
    """Those that others are built on first. There are no circles."""
    known = {item.id: item for item in correlations}
    done: dict[str, Correlation] = {}

    def add(item: Correlation) -> None:
        for rule in item.rules:
            if rule in known and rule not in done:
                add(known[rule])
        done[item.id] = item

    for item in known.values():
        if item.id not in done:
            add(item)
    return list(done.values())


def family(item: Correlation, correlations: Iterable[Correlation]) -> list[Correlation]:
    """The correlation and all that it is built on."""
    known = {one.id: one for one in correlations}
    found = [item]
    for one in found:
        found += [known[rule] for rule in one.rules if rule in known and known[rule] not in found]
    return found


def consumers(correlations: Mapping[str, Correlation]) -> dict[str, list[Correlation]]:
    """Correlation id -> the correlations built on it."""
    found: dict[str, list[Correlation]] = {}
    for item in correlations.values():
        for rule in item.rules:
            if rule in correlations:
                found.setdefault(rule, []).append(item)
    return found


def hits(outer: Correlation, rule: str, rows: pa.Table, at: Array) -> pa.Table:
    """The alerts of `rule`, which these hits opened at these times, as hits of `outer`."""
    made: list[dict[str, Any]] = []
    for row, time in zip(rows.to_pylist(), at.tolist(), strict=True):
        known = orjson.loads(row["group"])
        group = {name: _field(field, known, row) for name, field in outer.fields(rule)}
        values = [_field(name, known, row) for name in outer.value_fields]
        if None in values:
            continue
        value: str | None = None
        number: float | None = None
        if outer.numeric:
            number = number_of(values[0] or "")
            if number is None:
                continue
        elif values:
            value = values[0] if len(values) == 1 else orjson.dumps(values).decode()
        text = orjson.dumps({name: item for name, item in group.items() if item is not None}, option=_SORTED).decode()
        changed = {"stream": outer.stream(rule), "rule": rule, "time": time, "group": text}
        made.append(row | changed | {"value": value, "number": number})
    return pa.Table.from_pylist(made, HITS)


_SORTED = orjson.OPT_SORT_KEYS


def _field(name: str, group: dict[str, str], row: dict[str, Any]) -> str | None:
    if name in group:
        return group[name]
    if name in FIELDS:
        column, kind = FIELDS[name]
        value: str | None = row[column]
        if value is None or not kind:
            return value
        found, _, text = value.partition(":")
        return text if found == kind else None
    fact = orjson.loads(row["facts"]).get(name)
    return None if fact is None else str(fact)
