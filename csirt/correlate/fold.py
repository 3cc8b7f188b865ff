"""Alerts to incidents: a pure fold over alert changes in (event time, alert id) order.

The result depends on the changes alone: cutting their list anywhere, storing what came of the first part and going on
with the rest gives the same incidents (architecture, decisions 3 and 10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import lt

from csirt import ids
from csirt.correlate import links
from csirt.correlate.held import Held, age
from csirt.correlate.index import Index, Tie, around, reasons
from csirt.model.hits import AlertChange
from csirt.model.records import Alert, Entity, Incident, Link

Candidates = Callable[[list[tuple[str, str]], int, int], list[Incident]]


def correlate(
    changes: list[AlertChange],
    candidates: Candidates,
    *,
    window_us: int,
    names: Mapping[str, str] | None = None,
) -> list[Incident]:
    """The incidents that `changes` opened, extended or merged, each as its whole new value, sorted by id.

    `candidates(entities, since, until)`, asked once: stored incidents, not merged, that hold any of the (kind, value)
    entities, or the alert of that id where the kind is `alert`, and overlap [since, until] in event time, both ends
    included. An alert joins an incident when
    `links.reason` says why and not more than `window_us` microseconds lie between the two. An alert tied to several
    merges the younger into the oldest, by (first, id). Sets `alert.incident` of every change, but of rules on trial
    (`alert.shadow`), whose alerts are part of no incident. `names`: member id -> name, for titles.
    """
    return Correlator(changes, candidates, window_us=window_us, names=names).take(changes)


class Correlator:
    """`correlate` in several steps: made for all changes, taken a part at a time, in order."""

    def __init__(
        self,
        changes: list[AlertChange],
        candidates: Candidates,
        *,
        window_us: int,
        names: Mapping[str, str] | None = None,
    ) -> None:
        once, several = _parted(changes)
        index = Index(once, _followed(_ordered(several)))
        self._fold = _Fold(index, window_us)
        self._names = names or {}
        wanted = index.wanted()
        if wanted:
            since = min([change.numbers[0] for change in changes]) - window_us
            until = max([change.numbers[1] for change in changes]) + window_us
            for incident in candidates(wanted, since, until):
                self._fold.hold(_copied(incident))

    def take(self, changes: list[AlertChange]) -> list[Incident]:
        """The incidents that this part changed, each as its whole new value, sorted by id. They are worked on further
        at the next part."""
        fold = self._fold
        fold.changed.clear()
        for change in _ordered(changes):
            alert = change.alert
            if not alert.shadow:
                fold.take(change, alert)
        return [fold.changed[name].finish(self._names) for name in sorted(fold.changed)]


def _copied(incident: Incident) -> Incident:
    """A copy whose lists may grow; what is in them does not change."""
    lists = {name: list(value) for name, value in incident if isinstance(value, list)}
    return incident.model_copy(update=lists)


def _parted(changes: list[AlertChange]) -> tuple[Iterable[AlertChange], list[AlertChange]]:
    """The changes of alerts that change once, and of those that change several times, without rules on trial."""
    times = Counter([change.id for change in changes])
    if len(times) == len(changes):
        return changes, []
    once = (change for change in changes if times[change.id] == 1)
    return once, [change for change in changes if times[change.id] > 1 and not change.alert.shadow]


def _followed(changes: list[AlertChange]) -> Iterator[tuple[Alert, list[Entity]]]:
    """Each change's alert with its entities that the changes before it did not have."""
    seen: set[str] = set()
    for change in changes:
        alert = change.alert
        known = change.fresh is not None and alert.id in seen
        yield alert, change.fresh if known and change.fresh is not None else alert.entities
        seen.add(alert.id)


def _ordered(changes: list[AlertChange]) -> list[AlertChange]:
    """The changes in order, as they nearly always come."""
    keys = [(change.at, change.id) for change in changes]
    if all(map(lt, keys, keys[1:])):
        return changes
    return sorted(changes, key=_order)


def _order(change: AlertChange) -> tuple[int, str, bool, int, int]:
    _, last, count = change.numbers
    return change.at, change.id, not change.opened, count, last


class _Fold:
    """The incidents touched so far, over those the store has."""

    def __init__(self, index: Index, window: int) -> None:
        self._index, self._window = index, window
        self.changed: dict[str, Held] = {}

    def hold(self, incident: Incident) -> Held:
        """Work on an incident from now on."""
        held = Held(incident)
        self._index.own(held, held.alerts)
        self._index.note(held, held.entities)
        return held

    def take(self, change: AlertChange, alert: Alert) -> None:
        """One change: find the alert's incident, join what it ties together, take over what is new in it."""
        once = self._index.once.pop(change.id, None)
        if once is None:
            self._grow(change, alert)
            return
        ties, entities = once
        home, near = self._near(alert, ties[0][1] if len(ties) == 1 else around(ties))
        if home is None and len(near) < 2:  # as most alerts
            why = reasons(alert.id, ties, near[0]) if near else []
            held = near[0] if why else self._open(alert)
            held.alerts[alert.id] = None
            held.links += why
            self._index.homes[alert.id] = held
        else:
            held = self._join(alert, home, near, ties)
        self._gain(held, alert, entities)

    def _grow(self, change: AlertChange, alert: Alert) -> None:
        """A change of an alert that changes several times."""
        index, name = self._index, change.id
        tying, fresh, nearby = index.growing(alert, change.fresh)
        home, near = self._near(alert, nearby)
        if home is not None and not fresh and not near and name in home.followed:
            home.prolong(alert)  # as most changes of a long attack: nothing to tie, nothing to take over
            self.changed[home.id] = home
            vars(alert)["incident"] = home.id
            return
        oldest = self._join(alert, home, near, index.ties(tying) if near else [])
        known = change.fresh if oldest is home and name in oldest.stored else None
        self._gain(oldest, alert, _taken(oldest, alert, fresh, known))

    def _near(self, alert: Alert, nearby: Iterable[Held]) -> tuple[Held | None, list[Held]]:
        """The incident that holds an alert, and those of `nearby` within the window that do not, oldest first."""
        since, until = alert.first - self._window, alert.last + self._window
        near: list[Held] = []
        for held in nearby:  # most often one or none, for which a comprehension is dear
            if held.last >= since and held.first <= until and not held.merged_into:
                near.append(held)
        home = self._index.homes.get(alert.id)
        if home is not None:
            if home in near:
                near.remove(home)
            elif home.last < since or home.first > until:
                home = None
        if len(near) > 1:
            near.sort(key=age)
        return home, near

    def _join(self, alert: Alert, home: Held | None, near: list[Held], ties: list[Tie]) -> Held:
        """The incident that an alert belongs to, with all that it ties together merged into it."""
        joined = [] if home is None else [home]
        why: list[Link] = []
        for held in near:
            found = reasons(alert.id, ties, held)
            if found:
                joined.append(held)
                why += found
        if not joined:
            joined.append(self._open(alert))
        joined.sort(key=age)
        oldest, *younger = joined
        oldest.links += why
        if oldest is not home:
            oldest.alerts[alert.id] = None
            self._index.homes[alert.id] = oldest
        for one in younger:
            self._merge(one, oldest, alert)
        return oldest

    def _gain(self, held: Held, alert: Alert, entities: list[Entity]) -> None:
        """An incident takes over what an alert tells, and of its entities those that are new."""
        held.absorb(alert)
        fresh = held.add(entities, alert.id)
        if fresh:
            self._index.note(held, fresh)
        self.changed[held.id] = held
        vars(alert)["incident"] = held.id

    def _open(self, alert: Alert) -> Held:
        opened = Incident.trusted(
            {
                "id": ids.incident(alert.id),
                "first": alert.first,
                "last": alert.last,
                "severity": alert.severity,
                "worst": "",
                "title": "",
                "alerts": [],
                "links": [Link(alert.id, "first")],
                "entities": [],
                "members": [],
                "tactics": [],
                "techniques": [],
                "rules": [alert.rule_name],
                "rsit": alert.rsit,
                "clinical": False,
                "tlp": "",
                "aliases": [],
                "merged_into": "",
                "case": "",
                "created": 0,
                "updated": 0,
            }
        )
        return Held(opened)

    def _merge(self, young: Held, old: Held, alert: Alert) -> None:
        first = next(iter(young.alerts))
        old.links += [*young.links, Link(alert.id, "merged", young.id, first)]
        old.swallow(young)
        self.changed[young.id] = young
        self._index.note(old, old.add(young.entities))
        self._index.own(old, young.alerts)


def _taken(held: Held, alert: Alert, fresh: list[Entity], grown: list[Entity] | None) -> list[Entity]:
    """The entities of an alert that may be new to its incident, those made here included. `grown`: those that its
    incident did not have when it was stored, where that is known."""
    if alert.id not in held.followed:
        held.followed.add(alert.id)
        if grown is None:
            return [*alert.entities, *links.made(alert)]
        fresh = grown  # what an incident took over before it was stored is not looked at again
    for entity in fresh:
        if entity.kind == links.HER:
            return [*fresh, *links.made(alert)]
    return fresh
