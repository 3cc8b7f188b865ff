"""An alert while it grows: hits go in, a bounded and deterministic `Alert` comes out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from csirt import ids
from csirt.detect.rule import Meta
from csirt.model.records import SAMPLE_EVENTS, SAMPLE_TARGETS, Alert, Entity

MAX_FACTS = 20


@dataclass(slots=True)
class Summary:
    """A run of hits in (time, event id) order: `count` distinct events, of which `events` are the first ones; the
    distinct entities, links and facts in order of appearance."""

    first: int
    last: int
    count: int
    last_event: str
    events: list[str]
    sources: list[tuple[str | None, str | None]] = field(default_factory=list)
    targets: list[tuple[str | None, str | None]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Growing:
    """An open alert as state. `last_event` is the id of the last event counted at `last`; lists keep the first so many
    in (time, event id) order, so that they do not depend on how hits were cut into steps. `fired`: when the condition
    last held (correlations)."""

    rule: str
    group: str
    dataset: str
    id: str = ""
    first: int = 0
    last: int = 0
    last_event: str = ""
    fired: int = 0
    count: int = 0
    events: list[str] = field(default_factory=list)
    actors: dict[str, str | None] = field(default_factory=dict)
    targets: dict[str, str | None] = field(default_factory=dict)
    links: dict[str, None] = field(default_factory=dict)
    members: dict[str, None] = field(default_factory=dict)
    facts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, part: Summary, samples: int = SAMPLE_EVENTS) -> None:
        """Count a run of hits that comes after those counted so far."""
        if not self.id:
            self.id = ids.alert(self.rule, self.group, part.events[0])
            self.first = part.first
        repeated = part.events[0] == self.last_event
        self.first, self.last = min(self.first, part.first), max(self.last, part.last)
        self.count += part.count - repeated
        room = samples - len(self.events)
        self.events += part.events[repeated : repeated + room] if room > 0 else []
        self.last_event = part.last_event
        for found, known in ((part.sources, self.actors), (part.targets, self.targets)):
            for value, owner in found:
                if owner is not None:
                    self.members.setdefault(owner)
                if value is not None and len(known) < SAMPLE_TARGETS:
                    known.setdefault(value, owner)
        for link in part.links:
            if len(self.links) < SAMPLE_TARGETS:
                self.links.setdefault(link)
        for text in part.facts:
            for name, value in orjson.loads(text).items():
                shown = self.facts.setdefault(name, [])
                if value not in shown and len(shown) < MAX_FACTS:
                    shown.append(value)

    def alert(self, meta: Meta) -> Alert:
        """The whole alert as it stands."""
        custom = meta.custom
        return Alert(
            id=self.id,
            rule_id=meta.id,
            rule_name=meta.title,
            rule_version=meta.version,
            rule_author=meta.author,
            rule_license=meta.license,
            rule_reference=list(meta.references),
            severity=meta.level,
            rsit=custom.rsit,
            tactics=list(meta.tactics),
            techniques=list(meta.techniques),
            dataset=self.dataset,
            group=orjson.loads(self.group),
            first=self.first,
            last=self.last,
            count=self.count,
            events=list(self.events),
            entities=[
                *(_entity(value, "actor", member) for value, member in self.actors.items()),
                *(_entity(value, "target", member) for value, member in self.targets.items()),
                *(_entity(value, "target", None) for value in self.links),
            ],
            members=sorted(self.members),
            facts={name: sorted(known) for name, known in sorted(self.facts.items())},
            clinical=custom.clinical,
            playbook=custom.playbook,
        )

    def as_dict(self) -> dict[str, Any]:
        """The state as JSON, in which what came first stays first."""
        raw = {name: getattr(self, name) for name in _FIELDS}
        return raw | {name: list(raw[name].items()) for name in _ORDERED}

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> Growing:
        """The state back from JSON."""
        return Growing(**raw | {name: dict(raw[name]) for name in _ORDERED})


_FIELDS = tuple(one.name for one in fields(Growing))
_ORDERED = ("actors", "targets", "links", "members", "facts")


def _entity(text: str, role: Any, member: str | None) -> Entity:
    kind, _, value = text.partition(":")
    return Entity(kind=kind, value=value, role=role, member=member)
