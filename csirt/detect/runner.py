"""Rules over a file of events, as `csirt rules run` prints them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.clock import iso
from csirt.detect.engine import Program
from csirt.detect.load import Ruleset
from csirt.detect.match import hits, streams
from csirt.detect.raw import RawFrame
from csirt.detect.rule import Meta
from csirt.detect.windows import Windows
from csirt.model import ecs
from csirt.model.batch import Array
from csirt.model.hits import none

EVERYTHING = 1 << 62


@dataclass
class Matches:
    """What rules found. `lines` in output order; `counts` per loaded rule; `untimed`: events that matched a rule of a
    correlation but have no time, so that no window could count them."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    untimed: int = 0


def run(ruleset: Ruleset, frame: RawFrame, *, mapped: bool) -> Matches:
    """Every rule over every event (`mapped` False), or over the events of its log source's datasets.

    A rule that only feeds correlations has a count and no lines, as the specification says of `generate`.
    """
    result = Matches(counts={item.id: 0 for item in ruleset.everything()})
    datasets = _datasets(frame) if mapped else None
    found = _match(ruleset, frame, datasets)
    names = frame.event_ids()
    lines: list[tuple[int, str, dict[str, Any]]] = []
    for rule in ruleset.rules:
        rows = found.get(rule.id)
        if rows is None:
            continue
        result.counts[rule.id] = len(rows)
        if rule.alerts:
            shown = _rule(rule.meta)
            lines += [
                (row, rule.id, {"rule": shown, "event": {"index": row, "id": names[row]}}) for row in rows.tolist()
            ]
    result.lines = [line for _, _, line in sorted(lines, key=lambda item: item[:2])]
    result.lines += _correlated(ruleset, frame, found, datasets, result)
    return result


def _rule(meta: Meta) -> dict[str, str]:
    return {"id": meta.id, "title": meta.title, "level": meta.level}


def _datasets(frame: RawFrame) -> dict[str, Array]:
    """The rows of each dataset, by `event.dataset`; where a file has none, by the columns only one dataset has."""
    column = frame.column("event.dataset")
    if column is not None:
        texts = column.texts(np.arange(frame.rows)).to_pylist()
        rows: dict[str, list[int]] = defaultdict(list)
        for row, text in enumerate(texts):
            if text is not None:
                rows[text].append(row)
        return {name: np.array(found) for name, found in rows.items()}
    have = set(frame.names())
    best = max(
        ecs.DATASETS, key=lambda name: len(have & (set(ecs.DATASETS[name]) - set(ecs.COMMON) - set(ecs.ENRICHED)))
    )
    return {best: np.arange(frame.rows)}


def _match(ruleset: Ruleset, frame: RawFrame, datasets: dict[str, Array] | None) -> dict[str, Array]:
    found = {
        ruleset.rules[index].id: rows
        for index, rows in Program([rule.condition for rule in ruleset.rules]).run(frame).items()
    }
    if datasets is None:
        return found
    routed: dict[str, Array] = {}
    for rule in ruleset.rules:
        seen = [datasets[name] for name in sorted(rule.datasets) if name in datasets]
        if rule.id in found and seen:
            rows = np.intersect1d(found[rule.id], np.concatenate(seen))
            if len(rows):
                routed[rule.id] = rows
    return routed


def _correlated(
    ruleset: Ruleset, frame: RawFrame, found: dict[str, Array], datasets: dict[str, Array] | None, result: Matches
) -> Iterator[dict[str, Any]]:
    """Lines of correlations, by (first event, rule id)."""
    if not ruleset.correlations:
        return
    times, valid = frame.times()
    untimed: set[int] = set()
    tables = [none()]
    for rule in ruleset.rules:
        rows = found.get(rule.id)
        dataset = min(rule.datasets, default="")
        consumers = [item for item in streams(rule, ruleset.correlations, dataset) if item.name != rule.id]
        if rows is None or not consumers:
            continue
        untimed.update(rows[~valid[rows]].tolist())
        rows = rows[valid[rows]]
        ids = pa.array([f"{row:032x}" for row in rows.tolist()], pa.string())
        if len(rows):
            tables.append(hits(frame, dataset, consumers, rows, times[rows], ids))
    result.untimed = len(untimed)
    windows = Windows(ruleset, samples=max(frame.rows, 1), max_groups=EVERYTHING, max_held=EVERYTHING)
    end = int(times[valid].max()) if valid.any() else 0
    table = pa.concat_tables(tables)
    meta = {item.id: item.meta for item in ruleset.correlations}
    lines: list[tuple[int, str, dict[str, Any]]] = []
    for change in windows.advance(table, end):
        alert = change.alert
        events = sorted(int(event, 16) for event in alert.events)
        window = {"start": iso(alert.first), "end": iso(alert.last)}
        line = {"rule": _rule(meta[alert.rule_id]), "events": events, "group": alert.group, "window": window}
        lines.append((events[0], alert.rule_id, line))
        result.counts[alert.rule_id] += 1
    yield from (line for _, _, line in sorted(lines, key=lambda item: (item[0], item[1], item[2]["window"]["start"])))
