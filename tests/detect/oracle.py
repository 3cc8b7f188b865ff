"""Windows, as the documentation says them, event by event and without any cleverness: what the engine must equal."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from csirt import ids


@dataclass(frozen=True)
class Hit:
    """One event of a group, found by a rule; `values`: what is counted or paired; `number`: what is added up."""

    time: int
    event: str
    group: str = "{}"
    values: tuple[str, ...] = ()
    rule: str = ""
    number: float = 0.0


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


def windowed(
    rule: str,
    hits: list[Hit],
    timespan: int,
    test: Callable[[list[Hit]], bool],
    *,
    moments: bool = False,
    reach: Callable[[list[Hit]], list[Hit]] = list,
) -> tuple[list[dict[str, Any]], list[Hit]]:
    """Every type that looks at windows: fires within the timespan of the one before are one alert over all their
    windows. With the alerts, the events that opened them. `moments`: events of one time are in any order. `reach`: what
    of a window is looked at."""
    alerts, openings = [], []
    for members in groups(hits).values():
        current: list[Hit] = []
        last_fire: int | None = None
        for index, hit in enumerate(members):
            if index + 1 < len(members):
                after = members[index + 1]
                if after.event == hit.event or (moments and after.time == hit.time):
                    continue  # the event, or the moment, is not whole yet
            window = reach([item for item in members[: index + 1] if item.time >= hit.time - timespan])
            if not test(window):
                continue
            if last_fire is None or hit.time - last_fire > timespan:
                if current:
                    alerts.append(alert(rule, current))
                current = []
                openings.append(hit)
            known = {item.event for item in current}
            current += [item for item in _events(window) if item.event not in known]
            last_fire = hit.time
        if current:
            alerts.append(alert(rule, current))
    return sorted(alerts, key=lambda item: item["id"]), openings


def share(rule: str, hits: list[Hit], of: list[Hit], timespan: int, test: Callable[[list[Hit], int], bool]) -> Any:
    """ratio: what `test` says of a window's events and of how many of the others are in the same window."""

    def asked(window: list[Hit]) -> bool:
        group, now = window[-1].group, window[-1].time
        return test(window, len({hit.event for hit in of if hit.group == group and now - timespan <= hit.time <= now}))

    return windowed(rule, hits, timespan, asked)


def _events(window: list[Hit]) -> list[Hit]:
    """One hit of each event, in order."""
    return list({hit.event: hit for hit in window}.values())


def event_count(window: list[Hit]) -> int:
    """How many events."""
    return len(_events(window))


def value_count(window: list[Hit]) -> int:
    """How many distinct values."""
    return len({value for hit in window for value in hit.values})


def total(window: list[Hit]) -> Fraction:
    """The sum of an event's numbers, each once however many rules found it."""
    return sum((Fraction(number) for _, number in {(hit.event, hit.number) for hit in window}), Fraction())


def average(window: list[Hit]) -> Fraction:
    """Their mean."""
    return total(window) / len({(hit.event, hit.number) for hit in window})


def quantile(window: list[Hit], share: float) -> float:
    """Between the two values nearest to that share of the way from the least to the greatest."""
    ordered = sorted(number for _, number in {(hit.event, hit.number) for hit in window})
    place = share * (len(ordered) - 1)
    low = ordered[int(place)]
    return low + (ordered[min(int(place) + 1, len(ordered) - 1)] - low) * (place - int(place))


def present(window: list[Hit]) -> set[str]:
    """Which rules have an event."""
    return {hit.rule for hit in window}


def in_order(window: list[Hit], rules: list[str]) -> bool:
    """Whether the rules have events one at or after the other, the last one's at the end of the window."""
    reached = [min(hit.time for hit in window)]
    for rule in rules:
        reached = [hit.time for hit in window if hit.rule == rule and hit.time >= min(reached, default=1 << 62)]
    return window[-1].time in reached


def contacts(window: list[Hit], most: int) -> list[list[Hit]]:
    """beacon: the last contacts of a window, as events of one session that follow each other; none when the last event
    goes on with one."""
    found: list[list[Hit]] = []
    for hit in window:
        if found and found[-1][-1].values == hit.values:
            found[-1].append(hit)
        else:
            found.append([hit])
    return found[-most:] if found and len(found[-1]) == 1 else []


def deviation(numbers: list[float]) -> float:
    """The standard deviation as a share of the mean; nothing where that is not above zero."""
    mean = sum(numbers) / len(numbers)
    return statistics.pstdev(numbers) / mean if mean > 0 else 0.0


def even(found: list[list[Hit]], jitter: float, spread: float) -> bool:
    """Whether contacts are at even intervals, and those before the last of even size."""
    begins = [contact[0].time for contact in found]
    intervals = [float(after - before) for before, after in pairwise(begins)]
    sizes = [sum(hit.number for hit in contact) for contact in found[:-1]]
    return sum(intervals) > 0 and deviation(intervals) < jitter and deviation(sizes) < spread


def speaking(hits: list[tuple[Hit, str, str]], most: int, keep: int) -> dict[str, int]:
    """How many members, `most` at most, were noted with the target at each event: of (hit, target, member or none)."""
    counts: dict[str, int] = {}
    notes: dict[str, dict[str, int]] = {}
    for hit, target, member in sorted(hits, key=lambda item: (item[0].time, item[0].event)):
        noted = notes.setdefault(target, {})
        fresh = [name for name, time in noted.items() if time > hit.time - keep // 16]
        if member and member not in fresh and len(fresh) < most:
            noted[member] = hit.time
        counts[hit.event] = min(most, sum(time > hit.time - keep for time in noted.values()))
    return counts


def chained(rule: str, openings: list[Hit], of: str) -> list[Hit]:
    """The alerts of a correlation as events of one built on it."""
    return [replace(hit, rule=of, values=(), event=hit.event) for hit in openings]


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
