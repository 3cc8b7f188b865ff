"""Windows, as the documentation says them, event by event and without any cleverness: what the engine must equal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from csirt import ids


@dataclass(frozen=True)
class Hit:
    """One event of a group; `values`: what value_count counts; `key`: what absence pairs."""

    time: int
    event: str
    group: str = "{}"
    values: tuple[str, ...] = ()


def alert(rule: str, hits: list[Hit]) -> dict[str, Any]:
    """What an alert over these hits says."""
    return {
        "id": ids.alert(rule, hits[0].group, hits[0].event),
        "group": json.loads(hits[0].group),
        "first": hits[0].time,
        "last": hits[-1].time,
        "count": len(hits),
        "events": [hit.event for hit in hits],
    }


def groups(hits: list[Hit]) -> dict[str, list[Hit]]:
    """Hits by group, in (time, event id) order."""
    result: dict[str, list[Hit]] = {}
    for hit in sorted(hits, key=lambda item: (item.time, item.event)):
        result.setdefault(hit.group, []).append(hit)
    return result


def plain(rule: str, hits: list[Hit], timespan: int) -> list[dict[str, Any]]:
    """A rule alone: a pause longer than the timespan ends an alert."""
    alerts = []
    for members in groups(hits).values():
        current = [members[0]]
        for hit in members[1:]:
            if hit.time - current[-1].time > timespan:
                alerts.append(alert(rule, current))
                current = []
            current.append(hit)
        alerts.append(alert(rule, current))
    return sorted(alerts, key=lambda item: item["id"])


def holds(number: int, bounds: list[tuple[str, int]]) -> bool:
    """Whether a count satisfies every bound."""
    tests = {
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "eq": lambda a, b: a == b,
        "neq": lambda a, b: a != b,
    }
    return all(tests[name](number, bound) for name, bound in bounds)


def counted(
    rule: str, hits: list[Hit], timespan: int, bounds: list[tuple[str, int]], distinct: bool
) -> list[dict[str, Any]]:
    """event_count and value_count: fires within the timespan of the one before are one alert over all their windows."""
    alerts = []
    for members in groups(hits).values():
        current: list[Hit] = []
        last_fire: int | None = None
        for index, hit in enumerate(members):
            window = [item for item in members[: index + 1] if item.time >= hit.time - timespan]
            number = len({value for item in window for value in item.values}) if distinct else len(window)
            if not holds(number, bounds):
                continue
            if last_fire is not None and hit.time - last_fire > timespan:
                alerts.append(alert(rule, current))
                current = []
            current += [item for item in window if item not in current]
            last_fire = hit.time
        if current:
            alerts.append(alert(rule, current))
    return sorted(alerts, key=lambda item: item["id"])


def absent(
    rule: str, sent: list[Hit], received: list[Hit], timespan: int, pause: int, until: int
) -> list[dict[str, Any]]:
    """absence: what had no answer of the same key in time, by group, once the time has passed."""
    overdue = [
        hit
        for hit in sent
        if hit.time + timespan <= until
        and not any(
            answer.values == hit.values and hit.time <= answer.time <= hit.time + timespan for answer in received
        )
    ]
    return plain(rule, overdue, pause) if overdue else []
