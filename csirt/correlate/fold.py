"""Alerts to incidents: a pure fold over alert changes in (event time, alert id) order.

The result depends on the changes alone: cutting their list anywhere, storing what came of the first part and going on
with the rest gives the same incidents (architecture, decisions 3 and 10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from csirt import ids
from csirt.correlate import links, summary
from csirt.model import tlp
from csirt.model.hits import AlertChange
from csirt.model.records import Alert, Entity, Incident, Link
from csirt.model.severity import Severity

# Targets beyond this many are left out of an incident (its alerts keep their samples); everything that can tie stays.
MAX_TARGETS = 1000

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
    entities and overlap [since, until] in event time, both ends included. An alert joins an incident when
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
            wanted, self._fold.once = links.follow(_followed(sorted(changes, key=_order)))
            since = min(change.alert.first for change in changes) - window_us
            until = max(change.alert.last for change in changes) + window_us
            for incident in candidates(wanted, since, until):
                self._fold.hold(_copied(incident))

    def take(self, changes: list[AlertChange]) -> list[Incident]:
        """The incidents that this part changed, each as its whole new value, sorted by id. They are worked on further
        at the next part."""
        fold = self._fold
        fold.changed.clear()
        for change in sorted(changes, key=_order):
            fold.take(change.alert, change.fresh)
        return [fold.held[key].finish(self._names) for key in sorted(fold.changed)]


def _copied(incident: Incident) -> Incident:
    """A copy whose lists may grow; what is in them does not change."""
    lists = {name: list(value) for name, value in incident if isinstance(value, list)}
    return incident.model_copy(update=lists)


def _followed(changes: list[AlertChange]) -> Iterator[tuple[Alert, list[Entity]]]:
    """Each change's alert with its entities that the changes before it did not have."""
    seen: set[str] = set()
    for change in changes:
        alert = change.alert
        known = change.fresh is not None and alert.id in seen
        yield alert, change.fresh if known and change.fresh is not None else alert.entities
        seen.add(alert.id)


def _order(change: AlertChange) -> tuple[int, str, bool, int, int]:
    alert = change.alert
    return change.at, alert.id, not change.opened, alert.count, alert.last


class _Held:
    """An incident under work, with what makes each change cost the same however large it has grown."""

    def __init__(self, incident: Incident) -> None:
        self.incident = incident
        self.worst: Severity = incident.worst or incident.severity
        self.alerts = dict.fromkeys(incident.alerts)
        self.members = dict.fromkeys(incident.members)
        self.tactics = dict.fromkeys(incident.tactics)
        self.techniques = dict.fromkeys(incident.techniques)
        self.aliases = dict.fromkeys(incident.aliases)
        self.known: links.Known = {}
        self.stored = frozenset(incident.alerts)
        self.followed: set[str] = set()  # alerts of which all that came before was taken over
        self.names: set[tuple[str, str, str, str | None]] = set()
        self.acting: dict[str, None] = {}  # members that act
        self.actors: dict[str, None] = {}  # hosts and domains that act
        self.targets = 0
        self._titled: tuple[int, int, list[str], list[str]] | None = None  # what the title was made of
        for entity in incident.entities:
            self._learn(entity)

    def add(self, entities: Iterable[Entity], alert: str = "") -> list[Entity]:
        """Take over entities that are new, targets up to MAX_TARGETS; those that were taken. `alert`: which brought
        them, where they do not say it themselves."""
        fresh: list[Entity] = []
        for entity in entities:
            if _name(entity) in self.names:
                continue
            if _counted(entity) and self.targets >= MAX_TARGETS:
                continue
            mine = entity if entity.alert or not alert else _of(entity, alert)
            self._learn(mine)
            fresh.append(mine)
        self.incident.entities.extend(fresh)
        return fresh

    def finish(self, names: Mapping[str, str]) -> Incident:
        """The incident with everything that was gathered."""
        incident = self.incident
        incident.alerts, incident.members = list(self.alerts), list(self.members)
        incident.tactics, incident.techniques = list(self.tactics), list(self.techniques)
        incident.aliases = list(self.aliases)
        incident.worst = self.worst
        incident.severity = summary.severity(self.worst, incident)
        of = len(self.acting), len(self.actors), incident.members, list(incident.rules)
        if of != self._titled:
            incident.title, self._titled = summary.title(incident, self.acting, self.actors, names), of
        return incident

    def _learn(self, entity: Entity) -> None:
        self.names.add(_name(entity))
        self.known.setdefault((entity.kind, entity.value), []).append(entity)
        if entity.role == "target":
            self.targets += 1
            return
        if entity.member:
            self.acting.setdefault(entity.member)
        if entity.kind in ("host", "domain"):
            self.actors.setdefault(entity.value)


class _Fold:
    """The incidents touched so far, over those the store has."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._index: dict[links.Key, set[str]] = {}  # incidents that have it
        self._asked: dict[links.Key, list[set[str]]] = {}  # what alerts that it can tie have near
        self._nearby: dict[str, set[str]] = {}  # by alert: incidents that have any of what can tie it
        self._tied: dict[str, links.Tied] = {}
        self.once: dict[str, tuple[links.Tied, list[links.Key]]] = {}  # of alerts that change once, found out before
        self.held: dict[str, _Held] = {}
        self.changed: set[str] = set()

    def hold(self, incident: Incident) -> _Held:
        """Work on an incident from now on."""
        held = _Held(incident)
        self.held[incident.id] = held
        self._note(held, incident.entities)
        return held

    def take(self, alert: Alert, grown: list[Entity] | None) -> None:
        """One change: find the alert's incident, join what it ties together, take over what is new in it: `grown`, when
        the change before it was taken too and that is known."""
        tied = self._tied.get(alert.id)
        fresh = alert.entities if grown is None or tied is None else grown
        keys = None
        if tied is None:
            tied, keys = self.once.pop(alert.id, None) or (links.Tied(), None)
            self._tied[alert.id] = tied
        near = self._near(alert, tied.grow(alert, fresh) if keys is None else keys)
        home = next((held for held in near if alert.id in held.alerts), None)
        if home is not None and not fresh and len(near) == 1 and alert.id in home.followed:
            self._prolong(home, alert)  # as most changes of a long attack: nothing to tie, nothing to take over
            return
        ties = [(held, links.reasons(tied.tying, held.known)) for held in near if held is not home]
        ties = [(held, why) for held, why in ties if why]
        joined = sorted([held for held, _ in ties] + ([home] if home else []), key=_age)
        if not joined:
            joined = [self._open(alert)]
        oldest = joined[0]
        oldest.alerts[alert.id] = None
        if ties:
            oldest.incident.links += [
                Link.trusted(alert=alert.id, reason=one.reason, value=one.value, to=one.to)
                for _, why in ties
                for one in why
            ]
        for younger in joined[1:]:
            self._merge(younger, oldest, alert)
        if alert.id not in oldest.followed:
            oldest.followed.add(alert.id)
            # What an incident took over before it was stored is not looked at again.
            before = grown is not None and oldest is home and alert.id in oldest.stored
            fresh = grown if grown is not None and before else [*alert.entities, *links.made(alert)]
        if any(entity.kind == links.HER for entity in fresh):
            fresh = [*fresh, *links.made(alert)]
        self._absorb(oldest, alert, fresh)
        alert.incident = oldest.incident.id

    def _near(self, alert: Alert, keys: list[links.Key]) -> list[_Held]:
        found = self._nearby.setdefault(alert.id, set())
        for key in keys:
            self._asked.setdefault(key, []).append(found)
            found |= self._index.get(key, set())
        since, until = alert.first - self._window, alert.last + self._window
        near = [held for held in map(self.held.__getitem__, found) if _open_within(held.incident, since, until)]
        return sorted(near, key=_age) if len(near) > 1 else near

    def _open(self, alert: Alert) -> _Held:
        return self.hold(
            Incident(
                id=ids.incident(alert.id),
                first=alert.first,
                last=alert.last,
                severity=alert.severity,
                title="",
                alerts=[alert.id],
                links=[Link(alert=alert.id, reason="first")],
                rules=[alert.rule_name],
                rsit=alert.rsit,
            )
        )

    def _note(self, held: _Held, entities: list[Entity]) -> None:
        name = held.incident.id
        for entity in entities:
            key = entity.kind, entity.value
            self._index.setdefault(key, set()).add(name)
            for near in self._asked.get(key, ()):
                near.add(name)

    def _prolong(self, held: _Held, alert: Alert) -> None:
        """Take over what an alert tells that went on as it was."""
        incident = held.incident
        if alert.first < incident.first:
            incident.first = alert.first
        if alert.last > incident.last:
            incident.last = alert.last
        held.members.update(dict.fromkeys(alert.members))
        if tlp.FIELD in alert.facts:
            incident.tlp = tlp.strictest([incident.tlp, *alert.facts[tlp.FIELD]])
        alert.incident = incident.id
        self.changed.add(incident.id)

    def _absorb(self, held: _Held, alert: Alert, entities: list[Entity]) -> None:
        incident = held.incident
        if summary.rank(alert.severity) > summary.rank(held.worst):
            held.worst = alert.severity
            incident.rules = [alert.rule_name, *(rule for rule in incident.rules if rule != alert.rule_name)]
            incident.rsit = alert.rsit or incident.rsit
        # Only what changes is set: a field of a record costs more to set than to read.
        if alert.rule_name not in incident.rules:
            incident.rules = [*incident.rules, alert.rule_name]
        if not incident.rsit and alert.rsit:
            incident.rsit = alert.rsit
        if alert.first < incident.first:
            incident.first = alert.first
        if alert.last > incident.last:
            incident.last = alert.last
        held.members.update(dict.fromkeys(alert.members))
        held.tactics.update(dict.fromkeys(alert.tactics))
        held.techniques.update(dict.fromkeys(alert.techniques))
        if alert.clinical and not incident.clinical:
            incident.clinical = True
        labels = alert.facts.get(tlp.FIELD)
        if labels:
            incident.tlp = tlp.strictest([incident.tlp, *labels])
        self._settle(held, entities, alert.id)

    def _merge(self, young: _Held, old: _Held, alert: Alert) -> None:
        younger, older = young.incident, old.incident
        if summary.rank(young.worst) > summary.rank(old.worst):
            older.rules = _union(younger.rules, older.rules)
            older.rsit = younger.rsit or older.rsit
            old.worst = young.worst
        older.rules = _union(older.rules, younger.rules)
        older.rsit = older.rsit or younger.rsit
        older.first, older.last = min(older.first, younger.first), max(older.last, younger.last)
        first = next(iter(young.alerts))
        older.links += [*younger.links, Link(alert=alert.id, reason="merged", value=younger.id, to=first)]
        for mine, theirs in (
            (old.alerts, young.alerts),
            (old.members, young.members),
            (old.tactics, young.tactics),
            (old.techniques, young.techniques),
            (old.aliases, {younger.id: None, **young.aliases}),
        ):
            mine.update(theirs)
        older.clinical = older.clinical or younger.clinical
        older.tlp = tlp.strictest([older.tlp, younger.tlp])
        younger.merged_into = older.id
        self.changed.add(younger.id)
        self._settle(old, younger.entities)

    def _settle(self, held: _Held, entities: list[Entity], alert: str = "") -> None:
        self._note(held, held.add(entities, alert))
        self.changed.add(held.incident.id)


def _open_within(incident: Incident, since: int, until: int) -> bool:
    return not incident.merged_into and incident.last >= since and incident.first <= until


def _of(one: Entity, alert: str) -> Entity:
    return Entity.trusted(kind=one.kind, value=one.value, role=one.role, member=one.member, alert=alert)


def _counted(entity: Entity) -> bool:
    """Whether an entity counts against MAX_TARGETS."""
    return entity.role == "target" and entity.kind not in links.SHARED


def _age(held: _Held) -> tuple[int, str]:
    return held.incident.first, held.incident.id


def _name(entity: Entity) -> tuple[str, str, str, str | None]:
    return entity.kind, entity.value, entity.role, entity.member


def _union(one: list[str], other: list[str]) -> list[str]:
    return list(dict.fromkeys([*one, *other]))
