"""Correlations for `csirt bench sigma`: their rules, the flows they are about, and what they must find.

All events are matched by a rule, of 20,000 groups, so that the time is the correlation's. What must be found is said by
the plainest reading of the documentation, group by group and event by event.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csirt.model.batch import Array

GROUPS, HOT, TARGETS = 20_000, 200, 500
SPAN = 600_000_000
COUNT, VALUES = 10, 8
BASE, OTHER, CORRELATION = (f"{digit * 8}-{digit * 4}-4{digit * 3}-8{digit * 3}-{digit * 12}" for digit in "123")
_RULE = """title: {title}
id: {id}
status: test
logsource: {{product: csirt, service: flow}}
detection: {{selection: {{destination.port: {port}}}, condition: selection}}
level: low
---
"""
_CORRELATION = f"""title: Correlation
id: {CORRELATION}
status: test
correlation:
    type: {{kind}}
    rules: [{{rules}}]
    group-by: [source.ip]
    timespan: 10m
{{condition}}level: high
"""
_CONDITIONS = {
    "event_count": f"    condition: {{gte: {COUNT}}}\n",
    "value_count": f"    condition: {{field: destination.ip, gte: {VALUES}}}\n",
    "temporal": "",
}
KINDS = tuple(_CONDITIONS)
Alert = tuple[str, int, int, int]
"""(group, first, last, events)."""


@dataclass(frozen=True)
class Flows:
    """So many flows, one after the other: time in microseconds, and numbers of source, target and port."""

    times: Array
    sources: Array
    targets: Array
    ports: Array


def rules(kind: str) -> str:
    """The rules of a contest, for both sides."""
    temporal = kind == "temporal"
    text = _RULE.format(title="Base", id=BASE, port=22 if temporal else "[22, 3389]")
    text += _RULE.format(title="Other", id=OTHER, port=3389) if temporal else ""
    named = f"{BASE}, {OTHER}" if temporal else BASE
    return text + _CORRELATION.format(kind=kind, rules=named, condition=_CONDITIONS[kind])


def flows(seed: int, count: int) -> Flows:
    """Most are of any group, one in twenty of a few that do much; one in a hundred is of the second rule."""
    chance = np.random.default_rng(seed)
    hot = chance.random(count) < 0.05
    sources = np.where(hot, chance.integers(0, HOT, count), chance.integers(0, GROUPS, count))
    times = 1_750_000_000_000_000 + np.cumsum(chance.integers(1, 20_000, count))
    ports = np.where(chance.random(count) < 0.01, 3389, 22)
    return Flows(times, sources, chance.integers(0, TARGETS, count), ports)


def source(number: int) -> str:
    """The address of a group."""
    return f"10.0.{number >> 8}.{number & 255}"


def write(path: Path, given: Flows) -> None:
    """The flows as NDJSON, for the peer."""
    columns = (given.times, given.sources, given.targets, given.ports)
    with path.open("w", encoding="utf-8") as out:
        for time, origin, target, port in zip(*(column.tolist() for column in columns), strict=True):
            destination = {"ip": f"10.9.{target >> 8}.{target & 255}", "port": port}
            out.write(json.dumps({"ts": time / 1e6, "source": {"ip": source(origin)}, "destination": destination}))
            out.write("\n")


Event = tuple[int, int, int]
_HOLDS: dict[str, Callable[[Sequence[Event]], bool]] = {
    "event_count": lambda window: len(window) >= COUNT,
    "value_count": lambda window: len({target for _, target, _ in window}) >= VALUES,
    "temporal": lambda window: len({port for _, _, port in window}) == 2,
}


def expected(kind: str, given: Flows) -> list[Alert]:
    """The alerts: fires within the timespan of the fire before are one, over all their windows."""
    groups: dict[int, list[Event]] = defaultdict(list)
    columns = (given.times, given.sources, given.targets, given.ports)
    for time, origin, target, port in zip(*(column.tolist() for column in columns), strict=True):
        groups[origin].append((time, target, port))
    return sorted(alert for origin, events in groups.items() for alert in _alerts(kind, source(origin), events))


def _alerts(kind: str, group: str, events: Sequence[Event]) -> Iterator[Alert]:
    begin = first = fired = 0
    is_open = False
    for at, (time, _, _) in enumerate(events):
        while events[begin][0] < time - SPAN:
            begin += 1
        if not _HOLDS[kind](events[begin : at + 1]):
            continue
        if is_open and time - events[fired][0] > SPAN:
            yield group, events[first][0], events[fired][0], fired - first + 1
            is_open = False
        if not is_open:
            first, is_open = begin, True
        fired = at
    if is_open:
        yield group, events[first][0], events[fired][0], fired - first + 1


def digest(alerts: Sequence[Alert]) -> str:
    """SHA-256 of alerts in their order."""
    return hashlib.sha256(json.dumps(alerts).encode()).hexdigest()
