"""The tests beside a rule: events it must and must not match, timelines and the alerts they must give.

`rules/net/net-02-x.yml` has its tests in `net-02-x.test.yaml` beside it (that name, so that plain Sigma tools, which
read `*.yml`, leave them alone). The format is described in docs/rule-authors.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.clock import DAY, HOUR, MINUTE, SECOND, iso
from csirt.config import duration
from csirt.content import BadContent, Document, read_yaml
from csirt.detect.columns.raw import from_events
from csirt.detect.engine.engine import Program
from csirt.detect.hits import hits
from csirt.detect.rule import Correlation, Rule
from csirt.detect.rules import chain
from csirt.detect.rules.load import TEST_SUFFIXES
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.streams import streams
from csirt.detect.windows.windows import Windows
from csirt.errors import Problem
from csirt.model.hits import none
from csirt.model.records import Alert

START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z, time 0 of every timeline
MAX_EVENTS = 100_000
KEYS = ("match", "no-match", "rule", "timelines")
ALERT_KEYS = ("count", "first", "group", "last", "members", "severity")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One example. `positive`: it shows that the rule finds something, not that it leaves something alone."""

    rule: str
    name: str
    file: str
    line: int
    positive: bool
    passed: bool
    message: str = ""


def test_file(rule_file: Path) -> Path | None:
    """The tests beside a rule file, or None."""
    found = (rule_file.with_suffix(suffix) for suffix in reversed(TEST_SUFFIXES))
    return next((path for path in found if path.is_file()), None)


def run(ruleset: Ruleset, files: Sequence[Path]) -> tuple[list[Outcome], list[Problem]]:
    """Every example beside the rule files, in order, and what could not be read."""
    outcomes: list[Outcome] = []
    problems: list[Problem] = []
    for rule_file in files:
        tests = test_file(rule_file)
        if tests is None:
            continue
        try:
            documents = read_yaml(tests)
        except BadContent as error:
            problems.append(error.problem)
            continue
        here = [item for item in ruleset.everything() if item.meta.file == str(rule_file)]
        if not here:  # its rules are disabled, or refused, which is said where they are loaded
            continue
        for document in documents:
            outcomes += _Document(ruleset, here, document, problems).outcomes()
    return outcomes, problems


class _Document:
    """One document of a test file."""

    def __init__(
        self, ruleset: Ruleset, here: Sequence[Rule | Correlation], document: Document, problems: list[Problem]
    ) -> None:
        self._ruleset = ruleset
        self._here = here
        self._document = document
        self._problems = problems

    def _wrong(self, path: tuple[str | int, ...], message: str, advice: str = "") -> None:
        self._problems.append(self._document.problem(path, message, advice, "test"))

    def outcomes(self) -> Iterator[Outcome]:
        value = self._document.value
        if not isinstance(value, dict):
            self._wrong((), "not a mapping", f"write {', '.join(KEYS)}")
            return
        for key in value:
            if key not in KEYS:
                self._wrong((key,), f"unknown key {key!r}", f"known: {', '.join(KEYS)}")
        for key in ("match", "no-match"):
            events = value.get(key)
            if events is None:
                continue
            rule = self._target(value.get("rule"), (key,), Rule)
            if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
                self._wrong((key,), "must be a list of events")
            elif isinstance(rule, Rule):
                yield from self._events(rule, key, events)
        timelines = value.get("timelines") or []
        if not isinstance(timelines, list):
            self._wrong(("timelines",), "must be a list")
            return
        for index, timeline in enumerate(timelines):
            outcome = self._timeline(value.get("rule"), index, timeline)
            if outcome is not None:
                yield outcome

    def _target(self, name: Any, path: tuple[str | int, ...], kind: type[Rule] | type[Correlation]) -> Any:
        """The rule that a test is about: the one named, or the only one of its file that alerts."""
        known = [item for item in self._here if name in (item.id, item.meta.name, item.meta.title)]
        if name is None:
            known = [item for item in self._here if isinstance(item, kind)]
            if len(known) > 1:
                known = [item for item in known if not isinstance(item, Rule) or item.alerts]
        if len(known) == 1:
            return known[0]
        message = f"no rule {name!r} in the file beside it" if name else "it is not clear which rule this is about"
        self._wrong(path, message, "name it with `rule:` (id, name or title)")
        return None

    def _events(self, rule: Rule, key: str, events: list[dict[str, Any]]) -> Iterator[Outcome]:
        matched = Program([rule.condition]).run(from_events(events)).get(0, np.array([], np.int64))
        for index in range(len(events)):
            positive = key == "match"
            passed = (index in matched) == positive
            message = "" if passed else ("does not match, and should" if positive else "matches, and should not")
            line = self._document.mark((key, index))[0]
            yield Outcome(rule.id, f"{key} {index + 1}", self._document.file, line, positive, passed, message)

    def _timeline(self, name: Any, index: int, timeline: Any) -> Outcome | None:
        path = ("timelines", index)
        if not isinstance(timeline, dict) or not isinstance(timeline.get("events"), list):
            self._wrong(path, "a timeline is a mapping with `events:` and `alerts:`")
            return None
        expected = timeline.get("alerts")
        if not isinstance(expected, list):
            self._wrong(path, "`alerts:` must be a list; write `alerts: []` when none should come")
            return None
        item = self._target(timeline.get("rule", name), path, Correlation)
        if item is None:
            return None
        try:
            events = _expand(timeline["events"])
            until = START + duration(timeline["until"]) if "until" in timeline else None
            alerts = self._play(item, events, until)
            message = _compare(alerts, expected)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self._wrong(path, f"cannot be played: {error}")
            return None
        title = str(timeline.get("name") or f"timeline {index + 1}")
        line = self._document.mark(path)[0]
        return Outcome(item.id, title, self._document.file, line, bool(expected), not message, message)

    def _play(
        self, item: Rule | Correlation, events: list[tuple[int, dict[str, Any]]], until: int | None
    ) -> list[Alert]:
        """The alerts of one rule or correlation over events, in order of their first event."""
        family = chain.family(item, self._ruleset.correlations) if isinstance(item, Correlation) else []
        inputs = {rule for one in family for rule in one.rules} | {item.id}
        bases = [replace(rule, alerts=rule is item) for rule in self._ruleset.rules if rule.id in inputs]
        only = [replace(one, alerts=one is item) for one in family]
        frame = from_events([{"@timestamp": iso(time), **event} for time, event in events])
        times = np.array([time for time, _ in events], np.int64)
        ids = pa.array([f"{index:032x}" for index in range(len(events))], pa.string())
        tables = [none()]
        for index, rows in Program([rule.condition for rule in bases]).run(frame).items():
            dataset = min(bases[index].datasets, default="")
            consumers = streams(bases[index], only, dataset)
            if consumers:
                tables.append(hits(frame, dataset, consumers, rows, times[rows], ids.take(pa.array(rows))))
        end = max([until or 0, *times.tolist()])
        changes = Windows(Ruleset(bases, only)).advance(pa.concat_tables(tables), end)
        return sorted((change.alert for change in changes), key=lambda alert: (alert.first, alert.id))


def _expand(events: list[Any]) -> list[tuple[int, dict[str, Any]]]:
    """(time, event) of every event; `repeat` and `every` written out, `{n}` counted from `from`."""
    result: list[tuple[int, dict[str, Any]]] = []
    for event in events:
        if not isinstance(event, dict) or "at" not in event:
            raise ValueError("every event needs `at:`, the time from the start, such as 5m")
        fields = {name: value for name, value in event.items() if name not in ("at", "repeat", "every", "from")}
        repeat, every = int(event.get("repeat", 1)), duration(event.get("every", "1s"))
        if len(result) + repeat > MAX_EVENTS:
            raise ValueError(f"more than {MAX_EVENTS} events")
        first = int(event.get("from", 0))
        for number in range(repeat):
            filled = {name: _fill(value, first + number) for name, value in fields.items()}
            result.append((START + duration(event["at"]) + number * every, filled))
    return result


def _fill(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return value.replace("{n}", str(number))
    return [_fill(item, number) for item in value] if isinstance(value, list) else value


def _compare(alerts: list[Alert], expected: list[Mapping[str, Any]]) -> str:
    """What differs between the alerts that came and those wanted, of what is wanted; empty when nothing does."""
    if len(alerts) != len(expected):
        return f"{len(alerts)} alerts came, {len(expected)} should: {'; '.join(map(_describe, alerts)) or 'none'}"
    for number, (alert, wanted) in enumerate(zip(alerts, expected, strict=True), 1):
        for key, value in wanted.items():
            if key in ("first", "last"):
                should: Any = START + duration(value)
            elif key in ("count", "severity", "members"):
                should = value
            elif key == "group":
                should = {name: str(item) for name, item in value.items()}
            else:
                raise ValueError(f"unknown key {key!r} of an alert; known: {', '.join(ALERT_KEYS)}")
            if getattr(alert, key) != should:
                return f"alert {number}: {key} differs: {_describe(alert)}"
    return ""


def _describe(alert: Alert) -> str:
    first, last = (_offset(time - START) for time in (alert.first, alert.last))
    return f"group {alert.group}, count {alert.count}, first {first}, last {last}"


def _offset(micros: int) -> str:
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)):
        if micros and micros % size == 0:
            return f"{micros // size}{unit}"
    return f"{micros / SECOND:g}s"
