"""Alerts to incidents: a pure fold over alert changes in (event time, alert id) order.

The result depends on the changes alone: cutting their list anywhere, storing what came of the first part and going on
with the rest gives the same incidents (architecture, decisions 3 and 10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from csirt import ids
from csirt.correlate import links
from csirt.correlate.held import Held, age
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
    `links.reasons` says why and not more than `window_us` microseconds lie between the two. An alert tied to several
    merges the younger into the oldest, by (first, id). Sets `alert.incident` of every change. `names`: member id ->
    name, for titles.
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
        self._fold = _Fold(window_us)
        self._names = names or {}
        if changes:
            once, several = _parted(changes)
            wanted, self._fold.once = links.follow(once, _followed(sorted(several, key=_order)))
            since = min([change.numbers[0] for change in changes]) - window_us
            until = max([change.numbers[1] for change in changes]) + window_us
            for incident in candidates(wanted, since, until):
                self._fold.hold(_copied(incident))

    def take(self, changes: list[AlertChange]) -> list[Incident]:
        """The incidents that this part changed, each as its whole new value, sorted by id. They are worked on further
        at the next part."""
        fold = self._fold
        fold.changed.clear()
        for change in sorted(changes, key=_order):
            fold.take(change.alert, change.fresh)
        return [fold.changed[name].finish(self._names) for name in sorted(fold.changed)]


def _copied(incident: Incident) -> Incident:
    """A copy whose lists may grow; what is in them does not change."""
    lists = {name: list(value) for name, value in incident if isinstance(value, list)}
    return incident.model_copy(update=lists)


def _parted(changes: list[AlertChange]) -> tuple[list[Alert], list[AlertChange]]:
    """The alerts that change once, and the changes of those that change several times."""
    seen: set[str] = set()
    more: set[str] = set()
    for change in changes:
        (more if change.id in seen else seen).add(change.id)
    if not more:
        return [change.alert for change in changes], []
    once = [change.alert for change in changes if change.id not in more]
    return once, [change for change in changes if change.id in more]


def _followed(changes: list[AlertChange]) -> Iterator[tuple[Alert, list[Entity]]]:
    """Each change's alert with its entities that the changes before it did not have."""
    seen: set[str] = set()
    for change in changes:
        alert = change.alert
        known = change.fresh is not None and alert.id in seen
        yield alert, change.fresh if known and change.fresh is not None else alert.entities
        seen.add(alert.id)


def _order(change: AlertChange) -> tuple[int, str, bool, int, int]:
    _, last, count = change.numbers
    return change.at, change.id, not change.opened, count, last


class _Fold:
    """The incidents touched so far, over those the store has."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._index: dict[links.Key, list[Held]] = {}  # incidents that have it, of what alerts are tied by
        self._asked: dict[links.Key, list[dict[Held, None]]] = {}  # what alerts that it can tie have near
        self._nearby: dict[str, dict[Held, None]] = {}  # by alert: incidents that have any of what can tie it
        self._tied: dict[str, links.Tied] = {}
        self.once: dict[str, tuple[list[Entity], list[links.Key]]] = {}  # of alerts that change once, found out before
        self.changed: dict[str, Held] = {}

    def hold(self, incident: Incident) -> Held:
        """Work on an incident from now on."""
        held = Held(incident)
        self._note(held, incident.entities)
        self._own(held, incident.alerts)
        return held

    def take(self, alert: Alert, grown: list[Entity] | None) -> None:
        """One change: find the alert's incident, join what it ties together, take over what is new in it: `grown`, when
        the change before it was taken too and that is known."""
        name = alert.id
        tying, fresh, near = self._surroundings(alert, grown)
        home = None
        for held in near:
            if name in held.alerts:
                home = held
                break
        if home is not None and not fresh and len(near) == 1 and name in home.followed:
            home.prolong(alert)  # as most changes of a long attack: nothing to tie, nothing to take over
            self.changed[home.id] = home
            alert.put(incident=home.id)
            return
        ties = [(held, why) for held in near if held is not home and (why := links.reasons(tying, held.known))]
        joined = [held for held, _ in ties]
        if home is not None:
            joined.append(home)
        if not joined:
            joined.append(self._open(alert))
        elif len(joined) > 1:
            joined.sort(key=age)
        oldest = joined[0]
        if name not in oldest.alerts:
            oldest.alerts[name] = None
            self._own(oldest, (name,))
        for _, why in ties:
            for one in why:
                oldest.links.append(Link.trusted(alert=name, reason=one.reason, value=one.value, to=one.to))
        for younger in joined[1:]:
            self._merge(younger, oldest, alert)
        oldest.absorb(alert)
        stored = grown if oldest is home and name in oldest.stored else None
        self._note(oldest, oldest.add(_taken(oldest, alert, fresh, stored), name))
        self.changed[oldest.id] = oldest
        alert.put(incident=oldest.id)

    def _surroundings(self, alert: Alert, grown: list[Entity] | None) -> tuple[list[Entity], list[Entity], list[Held]]:
        """What can tie an alert, which of its entities are new, and the incidents near it that have any of what it is
        found by, oldest first."""
        known = self.once.pop(alert.id, None)
        if known is not None:
            tying, keys = known
            fresh, found = alert.entities, {held: None for key in keys for held in self._index.get(key, ())}
        else:
            tied = self._tied.get(alert.id)
            fresh = alert.entities if grown is None or tied is None else grown
            if tied is None:
                tied = self._tied[alert.id] = links.Tied()
            tying, found = tied.tying, self._nearby.setdefault(alert.id, {})
            for key in tied.grow(alert, fresh):
                self._asked.setdefault(key, []).append(found)
                found.update(dict.fromkeys(self._index.get(key, ())))
        since, until = alert.first - self._window, alert.last + self._window
        near = [held for held in found if not held.merged_into and held.last >= since and held.first <= until]
        if len(near) > 1:
            near.sort(key=age)
        return tying, fresh, near

    def _open(self, alert: Alert) -> Held:
        return self.hold(
            Incident(
                id=ids.incident(alert.id),
                first=alert.first,
                last=alert.last,
                severity=alert.severity,
                title="",
                alerts=[alert.id],
                links=[Link.trusted(alert=alert.id, reason="first", value="", to="")],
                rules=[alert.rule_name],
                rsit=alert.rsit,
            )
        )

    def _note(self, held: Held, entities: Iterable[Entity]) -> None:
        for entity in entities:
            kind = entity.kind
            if kind in links.KNOWN:
                self._by(held, (kind, entity.value))

    def _own(self, held: Held, alerts: Iterable[str]) -> None:
        for name in alerts:
            self._by(held, (links.OWN, name))

    def _by(self, held: Held, key: links.Key) -> None:
        """The incident is found by that from now on."""
        there = self._index.get(key)
        if there is None:
            self._index[key] = [held]
        else:
            there.append(held)
        if self._asked:
            for near in self._asked.get(key, ()):
                near[held] = None

    def _merge(self, young: Held, old: Held, alert: Alert) -> None:
        first = next(iter(young.alerts))
        old.links += [*young.links, Link(alert=alert.id, reason="merged", value=young.id, to=first)]
        old.swallow(young)
        self.changed[young.id] = young
        self._note(old, old.add(young.entities))
        self._own(old, young.alerts)


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
