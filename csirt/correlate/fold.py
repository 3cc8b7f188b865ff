"""Alerts to incidents: a pure fold over alert changes in (event time, alert id) order.

The result depends on the changes alone: cutting their list anywhere, storing what came of the first part and going on
with the rest gives the same incidents (architecture, decisions 3 and 10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from csirt import ids
from csirt.correlate import links, summary
from csirt.model.hits import AlertChange
from csirt.model.records import Alert, Entity, Incident, Link, Severity

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

    `candidates(entities, since, until)`: stored incidents, not merged, that hold any of the (kind, value) entities and
    overlap [since, until] in event time, both ends included. An alert joins an incident when `links.reasons` says why
    and not more than `window_us` microseconds lie between the two. An alert tied to several merges the younger into
    the oldest, by (first, id). Sets `alert.incident` of every change. `names`: member id -> name, for titles.
    """
    fold = _Fold(candidates, window_us, names or {})
    for change in sorted(changes, key=_order):
        fold.take(change.alert)
    return [fold.held[key] for key in sorted(fold.changed)]


def _order(change: AlertChange) -> tuple[int, str, bool, int, int]:
    alert = change.alert
    return change.at, alert.id, not change.opened, alert.count, alert.last


class _Fold:
    """The incidents touched so far, over those the store has."""

    def __init__(self, candidates: Candidates, window: int, names: Mapping[str, str]) -> None:
        self._candidates = candidates
        self._window = window
        self._names = names
        self._index: dict[links.Key, set[str]] = {}
        self.held: dict[str, Incident] = {}
        self.changed: set[str] = set()

    def take(self, alert: Alert) -> None:
        """One change: find the alert's incident, join what it ties together, take over what is new in it."""
        entities = links.tied(alert)
        near = self._near(alert, entities)
        home = next((incident for incident in near if alert.id in incident.alerts), None)
        ties = [(incident, links.reasons(entities, incident)) for incident in near if incident is not home]
        ties = [(incident, why) for incident, why in ties if why]
        joined = sorted([incident for incident, _ in ties] + ([home] if home else []), key=_age)
        if not joined:
            joined = [self._open(alert)]
        oldest = joined[0]
        oldest.alerts = _union(oldest.alerts, [alert.id])
        oldest.links += [
            Link(alert=alert.id, reason=one.reason, value=one.value, to=one.to) for _, why in ties for one in why
        ]
        for younger in joined[1:]:
            self._merge(younger, oldest, alert)
        self._absorb(oldest, alert, entities)
        alert.incident = oldest.id

    def _near(self, alert: Alert, entities: list[Entity]) -> list[Incident]:
        wanted = links.keys(entities)
        since, until = alert.first - self._window, alert.last + self._window
        for incident in self._candidates(wanted, since, until):
            if incident.id not in self.held:
                self._hold(incident.model_copy(deep=True))
        found = {key for pair in wanted for key in self._index.get(pair, ())}
        incidents = [self.held[key] for key in found]
        return sorted(
            (one for one in incidents if not one.merged_into and one.last >= since and one.first <= until), key=_age
        )

    def _open(self, alert: Alert) -> Incident:
        incident = Incident(
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
        self._hold(incident)
        return incident

    def _hold(self, incident: Incident) -> None:
        self.held[incident.id] = incident
        self._note(incident, incident.entities)

    def _note(self, incident: Incident, entities: list[Entity]) -> None:
        for entity in entities:
            self._index.setdefault((entity.kind, entity.value), set()).add(incident.id)

    def _absorb(self, incident: Incident, alert: Alert, entities: list[Entity]) -> None:
        worst = summary.base(incident)
        if summary.rank(alert.severity) > summary.rank(worst):
            worst = alert.severity
            incident.rules = [alert.rule_name, *(rule for rule in incident.rules if rule != alert.rule_name)]
            incident.rsit = alert.rsit or incident.rsit
        incident.rules = _union(incident.rules, [alert.rule_name])
        incident.rsit = incident.rsit or alert.rsit
        incident.first = min(incident.first, alert.first)
        incident.last = max(incident.last, alert.last)
        incident.members = _union(incident.members, alert.members)
        incident.tactics = _union(incident.tactics, alert.tactics)
        incident.techniques = _union(incident.techniques, alert.techniques)
        incident.clinical = incident.clinical or alert.clinical
        self._add(incident, entities)
        self._settle(incident, worst)

    def _merge(self, younger: Incident, older: Incident, alert: Alert) -> None:
        worst = max(summary.base(older), summary.base(younger), key=summary.rank)
        if summary.rank(summary.base(younger)) > summary.rank(summary.base(older)):
            older.rules = _union(younger.rules, older.rules)
            older.rsit = younger.rsit or older.rsit
        older.rules = _union(older.rules, younger.rules)
        older.rsit = older.rsit or younger.rsit
        older.first, older.last = min(older.first, younger.first), max(older.last, younger.last)
        older.alerts = _union(older.alerts, younger.alerts)
        older.links += [*younger.links, Link(alert=alert.id, reason="merged", value=younger.id, to=younger.alerts[0])]
        older.members = _union(older.members, younger.members)
        older.tactics = _union(older.tactics, younger.tactics)
        older.techniques = _union(older.techniques, younger.techniques)
        older.clinical = older.clinical or younger.clinical
        older.aliases = _union(older.aliases, [younger.id, *younger.aliases])
        younger.merged_into = older.id
        self.changed.add(younger.id)
        self._add(older, younger.entities)
        self._settle(older, worst)

    def _add(self, incident: Incident, entities: list[Entity]) -> None:
        known = {_name(entity) for entity in incident.entities}
        targets = sum(1 for entity in incident.entities if entity.role == "target")
        fresh: list[Entity] = []
        for entity in entities:
            if _name(entity) in known:
                continue
            if entity.role == "target" and entity.kind not in links.SHARED:
                if targets >= MAX_TARGETS:
                    continue
                targets += 1
            known.add(_name(entity))
            fresh.append(entity)
        incident.entities += fresh
        self._note(incident, fresh)

    def _settle(self, incident: Incident, worst: Severity) -> None:
        incident.severity = summary.severity(worst, incident)
        incident.title = summary.title(incident, self._names)
        self.changed.add(incident.id)


def _age(incident: Incident) -> tuple[int, str]:
    return incident.first, incident.id


def _name(entity: Entity) -> tuple[str, str, str, str | None]:
    return entity.kind, entity.value, entity.role, entity.member


def _union(one: list[str], other: list[str]) -> list[str]:
    return list(dict.fromkeys([*one, *other]))
