"""Backtests: members of both ends, kinds, exemptions and duplicates, over batches in any cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csirt.detect.authors.backtest import Backtest
from csirt.detect.rules.load import parse_rules
from csirt.model import ecs
from csirt.model.batch import Batch

RULE = """title: Smb
id: 00000000-0000-4000-8000-00000000000a
level: low
logsource: {product: csirt, service: flow}
detection: {s: {destination.port: 445}, condition: s}
"""
DAY = 86_400_000_000
SOURCE, TARGET = "csirt.source.member.id", "csirt.destination.member.id"


def row(day: int, **more: Any) -> dict[str, Any]:
    """A flow."""
    return {"@timestamp": day * DAY, "source.ip": "10.0.0.1", "destination.port": 445, **more}


ROWS = [
    row(0, **{SOURCE: "a", TARGET: "b", "csirt.source.member.kind": "dental", "csirt.source.role": "scanner"}),
    row(0, **{SOURCE: "a", TARGET: "a", "csirt.source.member.kind": "dental", "csirt.source.role": "scanner"}),
    row(1, **{SOURCE: "b", TARGET: "a", "csirt.source.member.kind": "gp", "csirt.source.role": "scanner"}),
    row(1, **{SOURCE: None, TARGET: "a", "csirt.source.member.kind": None, "csirt.source.role": None}),
    row(1, **{SOURCE: "b", "destination.port": 80}),
]
for number, one in enumerate(ROWS):
    one["csirt.ordinal"] = number


def report(batch: Callable[..., Batch], *cuts: list[dict[str, Any]]) -> dict[str, Any]:
    """The report on the rule over batches of these rows."""
    test = Backtest(parse_rules(RULE))
    for rows in cuts:
        test.add(batch("flow", rows))
    found = test.report()[0]
    assert found.pop("cpu_s_per_million") >= 0
    return found


def test_days_kinds_members_and_exemptions(batch: Callable[..., Batch]) -> None:
    """A member that is both ends of a flow is hit once; unknown kinds are kept apart; what most hits share is first."""
    found = report(batch, ROWS)
    assert (found["events"], found["hits"]) == (5, 4)
    assert found["days"] == [
        {"day": "1970-01-01", "hits": 2, "kinds": {"dental": 2}},
        {"day": "1970-01-02", "hits": 2, "kinds": {"": 1, "gp": 1}},
    ]
    assert found["members"] == [{"id": "a", "hits": 4}, {"id": "b", "hits": 2}]
    assert found["fields"] == [{"field": "destination.port", "filled": 1.0}]
    assert found["exemptions"][0] == {"field": "source.ip", "value": "10.0.0.1", "removes": 4, "share": 1.0}
    assert {"field": "csirt.source.role", "value": "scanner", "removes": 3, "share": 0.75} in found["exemptions"]


def test_it_names_the_fields_it_looks_at(batch: Callable[..., Batch]) -> None:
    """Of events with those alone the report is the same; a keyword looks at all."""
    test = Backtest(parse_rules(RULE))
    names = test.columns("flow")
    assert names is not None and {"destination.port", "source.ip", SOURCE, "csirt.agreement"} <= set(names)
    kept = {"@timestamp", "csirt.segment", "csirt.ordinal"}.union(*map(ecs.physical, names))
    rows = [{**item, "network.packets": 7} for item in ROWS]
    whole = batch("flow", rows)
    assert "network.packets" in whole.table.column_names and "network.packets" not in kept
    test.add(Batch("flow", whole.table.select([name for name in whole.table.column_names if name in kept])))
    found = test.report()[0]
    found.pop("cpu_s_per_million")
    assert found == report(batch, rows)
    assert Backtest(parse_rules(RULE.replace("{destination.port: 445}", "[word]"))).columns("flow") is None


def test_computed_fields_are_read_from_what_they_are_made_of() -> None:
    """A transport is the protocol's number."""
    rule = RULE.replace("destination.port: 445", "network.transport: tcp, related.ip: 10.0.0.1")
    names = Backtest(parse_rules(rule)).columns("flow")
    assert names is not None and {"network.iana_number", "source.ip", "destination.ip"} <= set(names)


def test_the_cut_into_batches_says_nothing(batch: Callable[..., Batch]) -> None:
    """One batch or one per row: the same report."""
    assert report(batch, *[[item] for item in ROWS]) == report(batch, ROWS)
