"""An incident under work: plain values and what makes each change cost the same however large it has grown. The record
is written when a part of the changes has been taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from csirt.correlate import links, summary
from csirt.model import tlp
from csirt.model.records import Alert, Entity, Incident
from csirt.model.severity import RANK, Severity

# Targets beyond this many are left out of an incident (its alerts keep their samples); everything that can tie stays.
MAX_TARGETS = 1000


class Held:
    """The incident, its lists growing in place."""

    __slots__ = (
        "_titled",
        "acting",
        "actors",
        "alerts",
        "aliases",
        "clinical",
        "entities",
        "first",
        "followed",
        "id",
        "incident",
        "last",
        "links",
        "members",
        "merged_into",
        "names",
        "rsit",
        "rules",
        "stored",
        "tactics",
        "targets",
        "techniques",
        "tlp",
        "worst",
    )

    def __init__(self, incident: Incident) -> None:
        self.incident = incident
        self.id, self.first, self.last = incident.id, incident.first, incident.last
        self.worst: Severity = incident.worst or incident.severity
        self.rules, self.rsit = incident.rules, incident.rsit
        self.clinical, self.tlp, self.merged_into = incident.clinical, incident.tlp, incident.merged_into
        self.alerts = dict.fromkeys(incident.alerts)
        self.members = dict.fromkeys(incident.members)
        self.tactics = dict.fromkeys(incident.tactics)
        self.techniques = dict.fromkeys(incident.techniques)
        self.aliases = dict.fromkeys(incident.aliases)
        self.links, self.entities = incident.links, incident.entities
        self.stored = frozenset(incident.alerts)
        self.followed: set[str] = set()  # alerts of which all that came before was taken over
        self.names: set[tuple[str, str, str, str | None]] = set()
        self.acting: dict[str, None] = {}  # members that act
        self.actors: dict[str, None] = {}  # hosts and domains that act
        self.targets = 0
        self._titled: tuple[int, int, int, list[str]] | None = None  # what the title was made of
        for entity in incident.entities:
            self._learn((entity.kind, entity.value, entity.role, entity.member))

    def add(self, entities: Iterable[Entity], alert: str = "") -> list[Entity]:
        """Take over entities that are new, targets up to MAX_TARGETS; those that were taken. `alert`: which brought
        them, where they do not say it themselves."""
        fresh: list[Entity] = []
        names = self.names
        for entity in entities:
            kind, role = entity.kind, entity.role
            name = kind, entity.value, role, entity.member
            if name in names:
                continue
            if role == "target":
                if self.targets >= MAX_TARGETS and kind not in links.SHARED:
                    continue
                names.add(name)
                self.targets += 1
            else:
                self._learn(name)
            fresh.append(entity if entity.alert or not alert else Entity(*name, alert))
        if fresh:
            self.entities += fresh
        return fresh

    def absorb(self, alert: Alert) -> None:
        """Take over what an alert tells, but its entities."""
        rule, severity = alert.rule_name, alert.severity
        if severity != self.worst and RANK[severity] > RANK[self.worst]:
            self.worst = severity
            self.rules = [rule, *[other for other in self.rules if other != rule]]
            self.rsit = alert.rsit or self.rsit
        elif rule not in self.rules:
            self.rules = [*self.rules, rule]
        if not self.rsit:
            self.rsit = alert.rsit
        for tactic in alert.tactics:
            self.tactics[tactic] = None
        for technique in alert.techniques:
            self.techniques[technique] = None
        if alert.clinical:
            self.clinical = True
        self.prolong(alert)

    def prolong(self, alert: Alert) -> None:
        """Take over what an alert tells that went on as it was."""
        if alert.first < self.first:
            self.first = alert.first
        if alert.last > self.last:
            self.last = alert.last
        for member in alert.members:
            self.members[member] = None
        facts = alert.facts
        if tlp.FIELD in facts:
            self.tlp = tlp.strictest([self.tlp, *facts[tlp.FIELD]])

    def swallow(self, young: Held) -> None:
        """Take over all of a younger incident but its links and entities; it is merged into this one."""
        if RANK[young.worst] > RANK[self.worst]:
            self.rules = _union(young.rules, self.rules)
            self.rsit = young.rsit or self.rsit
            self.worst = young.worst
        self.rules = _union(self.rules, young.rules)
        self.rsit = self.rsit or young.rsit
        self.first, self.last = min(self.first, young.first), max(self.last, young.last)
        for mine, theirs in (
            (self.alerts, young.alerts),
            (self.members, young.members),
            (self.tactics, young.tactics),
            (self.techniques, young.techniques),
            (self.aliases, {young.id: None, **young.aliases}),
        ):
            mine.update(theirs)
        self.clinical = self.clinical or young.clinical
        self.tlp = tlp.strictest([self.tlp, young.tlp])
        young.merged_into = self.id

    def finish(self, names: Mapping[str, str]) -> Incident:
        """The incident with everything that was gathered."""
        members = list(self.members)
        fields = vars(self.incident)  # its links and entities grow in place
        fields["first"], fields["last"] = self.first, self.last
        fields["worst"] = self.worst
        fields["severity"] = summary.severity(self.worst, self.members, self.tactics)
        fields["alerts"], fields["members"] = list(self.alerts), members
        fields["tactics"], fields["techniques"] = list(self.tactics), list(self.techniques)
        fields["rules"], fields["rsit"] = self.rules, self.rsit
        fields["clinical"], fields["tlp"] = self.clinical, self.tlp
        fields["aliases"], fields["merged_into"] = list(self.aliases), self.merged_into
        # Members and actors only ever become more; rules also change their order, in a list made anew.
        of = len(self.acting), len(self.actors), len(members), self.rules
        if of != self._titled:
            fields["title"] = summary.title(self.rules, members, self.acting, self.actors, names)
            self._titled = of
        return self.incident

    def _learn(self, name: tuple[str, str, str, str | None]) -> None:
        self.names.add(name)
        kind, value, role, member = name
        if role == "target":
            self.targets += 1
            return
        if member:
            self.acting[member] = None
        if kind in ("host", "domain"):
            self.actors[value] = None


def age(held: Held) -> tuple[int, str]:
    """The oldest first."""
    return held.first, held.id


def _union(one: list[str], other: list[str]) -> list[str]:
    return list(dict.fromkeys([*one, *other]))
