"""Rules over a file of events, as `csirt rules run` prints them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.clock import iso
from csirt.detect.columns.raw import RawFrame
from csirt.detect.engine.engine import Program
from csirt.detect.hits import hits
from csirt.detect.rule import Meta
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.streams import streams
from csirt.detect.windows.windows import Windows
from csirt.heap import keep_freed
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


def run(ruleset: Ruleset, frames: Iterable[RawFrame], *, mapped: bool) -> Matches:
    """Every rule over every event (`mapped` False), or over the events of its log source's datasets.

    A rule that only feeds correlations has a count and no lines, as the specification says of `generate`.
    """
    return _Runner(ruleset, mapped).run(frames)


class _Runner:
    """One pass over a file's frames; `rows` counts the events before the frame at hand."""

    def __init__(self, ruleset: Ruleset, mapped: bool) -> None:
        self._ruleset = ruleset
        self._mapped = mapped
        self._program = Program([rule.condition for rule in ruleset.rules])
        self._result = Matches(counts={item.id: 0 for item in ruleset.everything()})
        self._rows = 0
        self._guess = ""
        self._hits = [none()]
        self._end: int | None = None
        self._untimed: set[int] = set()

    def run(self, frames: Iterable[RawFrame]) -> Matches:
        keep_freed()
        for frame in frames:
            self._frame(frame)
            self._rows += frame.rows
        self._result.untimed = len(self._untimed)
        self._result.lines += self._correlated()
        return self._result

    def _frame(self, frame: RawFrame) -> None:
        found = self._match(frame)
        names = frame.event_ids() if any(rule.alerts and rule.id in found for rule in self._ruleset.rules) else []
        lines: list[tuple[int, str, dict[str, Any]]] = []
        for rule in self._ruleset.rules:
            rows = found.get(rule.id)
            if rows is None:
                continue
            self._result.counts[rule.id] += len(rows)
            if rule.alerts:
                shown = _rule(rule.meta)
                for row in rows.tolist():
                    event = {"index": self._rows + row, "id": names[row]}
                    lines.append((row, rule.id, {"rule": shown, "event": event}))
        self._result.lines += [line for _, _, line in sorted(lines, key=lambda item: item[:2])]
        if self._ruleset.correlations:
            self._collect(frame, found)

    def _match(self, frame: RawFrame) -> dict[str, Array]:
        rules = self._ruleset.rules
        found = {rules[index].id: rows for index, rows in self._program.run(frame).items()}
        if not self._mapped:
            return found
        datasets = self._datasets(frame)
        routed: dict[str, Array] = {}
        for rule in rules:
            seen = [datasets[name] for name in sorted(rule.datasets) if name in datasets]
            if rule.id in found and seen:
                rows = np.intersect1d(found[rule.id], np.concatenate(seen))
                if len(rows):
                    routed[rule.id] = rows
        return routed

    def _datasets(self, frame: RawFrame) -> dict[str, Array]:
        named = by_dataset(frame)
        if named is None:
            self._guess = self._guess or likeliest(frame)
            return {self._guess: np.arange(frame.rows)}
        return named

    def _collect(self, frame: RawFrame, found: dict[str, Array]) -> None:
        """The frame's hits for correlations; an event's id is its number in the file."""
        times, valid = frame.times()
        if valid.any():
            self._end = max(int(times[valid].max()), self._end if self._end is not None else -(1 << 62))
        for rule in self._ruleset.rules:
            rows = found.get(rule.id)
            dataset = min(rule.datasets, default="")
            consumers = [item for item in streams(rule, self._ruleset.correlations, dataset) if item.name != rule.id]
            if rows is None or not consumers:
                continue
            self._untimed.update((self._rows + rows[~valid[rows]]).tolist())
            rows = rows[valid[rows]]
            ids = pa.array([f"{self._rows + row:032x}" for row in rows.tolist()], pa.string())
            if len(rows):
                self._hits.append(hits(frame, dataset, consumers, rows, times[rows], ids))

    def _correlated(self) -> list[dict[str, Any]]:
        """Lines of correlations, by (first event, rule id)."""
        if not self._ruleset.correlations:
            return []
        windows = Windows(self._ruleset, samples=max(self._rows, 1), max_groups=EVERYTHING, max_held=EVERYTHING)
        meta = {item.id: item.meta for item in self._ruleset.correlations}
        lines: list[tuple[int, str, dict[str, Any]]] = []
        for change in windows.advance(pa.concat_tables(self._hits), self._end or 0):
            alert = change.alert
            events = sorted({int(event, 16) for event in alert.events})
            window = {"start": iso(alert.first), "end": iso(alert.last)}
            line = {"rule": _rule(meta[alert.rule_id]), "events": events, "group": alert.group, "window": window}
            lines.append((events[0] if events else self._rows, alert.rule_id, line))  # silence has no event
            self._result.counts[alert.rule_id] += 1
        return [line for _, _, line in sorted(lines, key=lambda item: (item[0], item[1], item[2]["window"]["start"]))]


def _rule(meta: Meta) -> dict[str, str]:
    return {"id": meta.id, "title": meta.title, "level": meta.level}


def by_dataset(frame: RawFrame) -> dict[str, Array] | None:
    """The rows of each dataset by `event.dataset`, or None when the frame has no such column."""
    column = frame.column("event.dataset")
    if column is None:
        return None
    texts = column.texts(np.arange(frame.rows))
    codes = np.asarray(texts.indices.fill_null(-1).to_numpy())
    rows = {name: np.flatnonzero(codes == code) for code, name in enumerate(texts.dictionary.to_pylist())}
    return {name: found for name, found in rows.items() if len(found)}


def likeliest(frame: RawFrame) -> str:
    """The dataset that has most of the frame's columns to itself."""
    have = set(frame.names())
    return max(
        ecs.DATASETS, key=lambda name: len(have & (set(ecs.DATASETS[name]) - set(ecs.COMMON) - set(ecs.ENRICHED)))
    )
