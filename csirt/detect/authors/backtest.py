"""A rule over stored events: what it would have found, where, at what cost, and which exemption would help most."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.clock import SYSTEM, iso
from csirt.detect.atoms import leaves
from csirt.detect.columns.frame import BatchFrame
from csirt.detect.match import Detector, names_duplicates
from csirt.detect.rule import Rule
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.windows.windows import Windows
from csirt.model.batch import Array, Batch, duplicates
from csirt.model.hits import none

# What an exemption could name.
EXEMPTIONS = (
    "csirt.source.member.id",
    "csirt.destination.member.id",
    "csirt.source.member.kind",
    "csirt.destination.member.kind",
    "csirt.source.role",
    "csirt.destination.role",
    "csirt.source.zone",
    "csirt.destination.zone",
    "csirt.agreement",
    "csirt.supplier_window",
    "source.ip",
    "destination.ip",
)
KIND = "csirt.source.member.kind"
MEMBERS = ("csirt.source.member.id", "csirt.destination.member.id")
SHOWN = 10
# Values kept per field: the rarest leave when there are more, for nobody exempts those.
MAX_VALUES = 50_000
# With more hits than this windows are not counted: the rule is not one to switch on.
MAX_HITS = 2_000_000
EVERYTHING = 1 << 62
DAY = 86_400_000_000


@dataclass
class _Tally:
    """What one rule found so far."""

    hits: int = 0
    days: Counter[tuple[str, str]] = field(default_factory=Counter)
    members: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    values: dict[str, Counter[str]] = field(default_factory=dict)


class Backtest:
    """Feed it batches, then ask for the report."""

    def __init__(self, loaded: Ruleset) -> None:
        self._loaded = loaded
        self._detector = Detector(loaded)
        self._rules = {rule.id: rule for rule in loaded.rules}
        self._tallies = {rule.id: _Tally() for rule in loaded.rules}
        self._events: Counter[str] = Counter()
        self._cpu = 0.0
        self._held = [none()]
        self._hits = 0
        self._end = 0
        self.datasets = sorted({name for rule in loaded.rules for name in rule.datasets})

    def add(self, batch: Batch) -> None:
        """Match one batch."""
        if not batch.rows:
            return
        self._events[batch.dataset] += batch.rows
        start = SYSTEM.thread_cpu()
        frame, matched = self._detector.found(batch)
        self._cpu += SYSTEM.thread_cpu() - start
        found = self._detector.by_id(batch, matched)
        self._fill(batch.dataset, frame)
        twice = duplicates(batch.table)
        for name, rows in found.items():
            kept = rows if twice is None or names_duplicates(self._rules[name]) else rows[~twice[rows]]
            if len(kept):
                _count(self._tallies[name], frame, kept)
        if found and self._hits <= MAX_HITS:
            table = self._detector.hits(batch, frame, matched)
            self._hits += table.num_rows
            self._held.append(table)
            if table.num_rows:
                self._end = max(self._end, pc.max(table.column("time")).as_py())

    def columns(self, dataset: str) -> list[str] | None:
        """The fields of a dataset's events that it looks at; None: all."""
        names = self._detector.fields(dataset)
        return None if names is None else sorted({*names, *EXEMPTIONS, *MEMBERS, KIND})

    def _fill(self, dataset: str, frame: BatchFrame) -> None:
        """Count for each rule how many events have its fields."""
        known: dict[str, int] = {}
        for rule in self._rules.values():
            if dataset not in rule.datasets:
                continue
            filled = self._tallies[rule.id].filled
            for name in {atom.field for atom in leaves(rule.condition) if atom.field}:
                if name not in known:
                    column = frame.column(name)
                    known[name] = 0 if column is None else int((~column.null()).sum())
                filled[name] += known[name]

    def report(self) -> list[dict[str, Any]]:
        """One item per rule and correlation, in the order of the file."""
        alerts = self._alerts() if self._hits <= MAX_HITS else None
        events = sum(self._events.values())
        cost = round(self._cpu * 1e6 / events, 3) if events else 0.0
        items = []
        for item in self._loaded.everything():
            mine = None if alerts is None else [alert for alert in alerts if alert.rule_id == item.id]
            body = self._rule(item) if isinstance(item, Rule) else _correlation(mine or [])
            shown = {"id": item.id, "title": item.meta.title, "kind": "rule" if isinstance(item, Rule) else item.type}
            items.append({**shown, **body, "alerts": None if mine is None else len(mine), "cpu_s_per_million": cost})
        return items

    def _alerts(self) -> list[Any]:
        samples = max(self._hits, 1)
        windows = Windows(self._loaded, samples=samples, max_groups=EVERYTHING, max_held=EVERYTHING)
        return [change.alert for change in windows.advance(pa.concat_tables(self._held), self._end)]

    def _rule(self, rule: Rule) -> dict[str, Any]:
        tally = self._tallies[rule.id]
        seen = sum(self._events[name] for name in rule.datasets)
        names = sorted({atom.field for atom in leaves(rule.condition) if atom.field})
        return {
            "events": seen,
            "hits": tally.hits,
            "days": _days(tally.days),
            "members": _members(tally.members),
            "fields": [
                {"field": name, "filled": round(tally.filled[name] / seen, 4) if seen else 0.0} for name in names
            ],
            "exemptions": _exemptions(tally),
        }


def _count(tally: _Tally, frame: BatchFrame, rows: Array) -> None:
    tally.hits += len(rows)
    kinds, codes = _codes(frame, KIND, rows)
    days = frame.times(rows) // DAY
    pairs, counts = np.unique(np.stack([days, codes], 1), axis=0, return_counts=True)
    for (day, code), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        tally.days[iso(day * DAY)[:10], kinds[code] if code >= 0 else ""] += count
    ends = [_codes(frame, name, rows) for name in MEMBERS]
    for names, found in ends:
        tally.members.update(_counted(names, found))
    (names, found), (others, also) = ends
    places = {name: code for code, name in enumerate(others)}
    same = np.array([places.get(name, -2) for name in [*names, ""]])[found] == also
    tally.members.subtract(_counted(names, found[same & (also >= 0)]))  # a member that is both ends was hit once
    for name in EXEMPTIONS:
        counter = tally.values.setdefault(name, Counter())
        counter.update(_counted(*_codes(frame, name, rows)))
        if len(counter) > MAX_VALUES:
            tally.values[name] = Counter(dict(counter.most_common(MAX_VALUES // 2)))


def _codes(frame: BatchFrame, name: str, rows: Array) -> tuple[list[str], Array]:
    """(texts, the place of each row's text among them or -1)."""
    column = frame.column(name)
    if column is None:
        return [], np.full(len(rows), -1)
    texts = column.texts(rows)
    return texts.dictionary.to_pylist(), np.asarray(texts.indices.fill_null(-1).to_numpy(zero_copy_only=False))


def _counted(names: list[str], codes: Array) -> dict[str, int]:
    counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def _days(found: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    """Per day the hits, and how they fall on kinds of member (empty: unknown)."""
    days: dict[str, dict[str, int]] = {}
    for (day, kind), count in sorted(found.items()):
        days.setdefault(day, {})[kind] = count
    return [{"day": day, "hits": sum(kinds.values()), "kinds": kinds} for day, kinds in days.items()]


def _members(found: Counter[str]) -> list[dict[str, Any]]:
    return [{"id": name, "hits": count} for name, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))]


def _exemptions(tally: _Tally) -> list[dict[str, Any]]:
    """The values that most hits share, most first."""
    found = [(count, name, value) for name, counter in tally.values.items() for value, count in counter.items()]
    best = sorted(found, key=lambda item: (-item[0], item[1], item[2]))[:SHOWN]
    return [
        {"field": name, "value": value, "removes": count, "share": round(count / tally.hits, 4)}
        for count, name, value in best
    ]


def _correlation(alerts: list[Any]) -> dict[str, Any]:
    days: Counter[tuple[str, str]] = Counter((iso(alert.first)[:10], "") for alert in alerts)
    members = Counter(member for alert in alerts for member in alert.members)
    hits = sum(alert.count for alert in alerts)
    body = {"hits": hits, "days": _days(days), "members": _members(members)}
    return {"events": 0, **body, "fields": [], "exemptions": []}
