"""An alert while it grows: hits go in, a bounded and deterministic `Alert` comes out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson

from csirt import ids
from csirt.detect.rule import Meta
from csirt.model.records import SAMPLE_EVENTS, SAMPLE_TARGETS, Alert, Entity

MAX_FACTS = 20
# What every alert is copied from: pydantic looks at each default anew when it constructs one, which takes half a
# millisecond.
_BLANK = Alert(id="", rule_id="", rule_name="", severity="low", dataset="", first=0, last=0)


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
    # What the three above are as entities, made once: an alert over many events is shown many times. Values of it that
    # have the same entities have the same list.
    shown: tuple[list[Entity], list[Entity], list[Entity]] = field(default_factory=lambda: ([], [], []), repr=False)
    together: list[Entity] = field(default_factory=list, repr=False)
    fresh: list[Entity] = field(default_factory=list, repr=False)  # made since they were taken
    form: tuple[Meta, Alert] | None = field(default=None, repr=False)  # what stays as it is, and of which rule
    told: dict[str, Any] | None = field(default=None, repr=False)  # members and facts as they are shown, once made

    def add(self, part: Summary, samples: int = SAMPLE_EVENTS) -> None:
        """Count a run of hits that comes after those counted so far."""
        if not self.id:
            # Silence has no event: it is named by when it began.
            self.id = ids.alert(self.rule, self.group, part.events[0] if part.events else str(part.first))
            self.first = part.first
        repeated = bool(part.events) and part.events[0] == self.last_event
        self.first, self.last = min(self.first, part.first), max(self.last, part.last)
        self.count += part.count - repeated
        room = samples - len(self.events)
        self.events += part.events[repeated : repeated + room] if room > 0 else []
        self.last_event = part.last_event
        for found, known in ((part.sources, self.actors), (part.targets, self.targets)):
            for value, owner in found:
                if owner is not None and owner not in self.members:
                    self.members[owner] = self.told = None
                if value is not None and len(known) < SAMPLE_TARGETS:
                    known.setdefault(value, owner)
        for link in part.links:
            if len(self.links) < SAMPLE_TARGETS:
                self.links.setdefault(link)
        for text in part.facts:
            for name, value in _said(text):
                shown = self.facts.setdefault(name, [])
                if len(shown) < MAX_FACTS and value not in shown:
                    shown.append(value)
                    self.told = None
        self._show()

    def _show(self) -> None:
        """Make the entities that came since."""
        before = len(self.fresh)
        for known, shown, role in ((self.actors, self.shown[0], "actor"), (self.targets, self.shown[1], "target")):
            if len(known) > len(shown):
                made = [_entity(value, role, owner) for value, owner in islice(known.items(), len(shown), None)]
                shown += made
                self.fresh += made
        made = [_entity(value, "target", None) for value in islice(self.links, len(self.shown[2]), None)]
        self.shown[2].extend(made)
        self.fresh += made
        if len(self.fresh) > before:
            self.together = [*self.shown[0], *self.shown[1], *self.shown[2]]

    def taken(self) -> list[Entity]:
        """The entities that were not taken before."""
        found, self.fresh = self.fresh, []
        return found

    def alert(self, meta: Meta) -> Alert:
        """The whole alert as it stands."""
        if self.form is None or self.form[0] is not meta:
            self.form = meta, self._form(meta)
        if self.told is None:
            facts = {name: sorted(known) for name, known in sorted(self.facts.items())}
            self.told = {"members": sorted(self.members), "facts": facts}
        return self.form[1].model_copy(
            update={
                "first": self.first,
                "last": self.last,
                "count": self.count,
                "events": list(self.events),
                "entities": self.together,
                **self.told,
            }
        )

    def _form(self, meta: Meta) -> Alert:
        """What of the alert does not change while it grows. Every value is our own: it is not checked again."""
        custom = meta.custom
        return _BLANK.model_copy(
            update={
                "id": self.id,
                "rule_id": meta.id,
                "rule_name": meta.title,
                "rule_version": meta.version,
                "rule_author": meta.author,
                "rule_license": meta.license,
                "rule_reference": list(meta.references),
                "severity": meta.level,
                "rsit": custom.rsit,
                "tactics": list(meta.tactics),
                "techniques": list(meta.techniques),
                "dataset": self.dataset,
                "group": orjson.loads(self.group),
                "clinical": custom.clinical,
                "playbook": custom.playbook,
                "shadow": meta.shadow,
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """The state as JSON, in which what came first stays first."""
        raw = {name: getattr(self, name) for name in _FIELDS}
        return raw | {name: list(raw[name].items()) for name in _ORDERED}

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> Growing:
        """The state back from JSON."""
        growing = Growing(**raw | {name: dict(raw[name]) for name in _ORDERED})
        growing._show()
        return growing


_FIELDS = tuple(one.name for one in fields(Growing) if one.name not in ("shown", "together", "fresh", "form", "told"))
_ORDERED = ("actors", "targets", "links", "members", "facts")


@lru_cache(maxsize=10_000)
def _said(text: str) -> tuple[tuple[str, str], ...]:
    """The facts of a hit."""
    return tuple(orjson.loads(text).items())


@lru_cache(maxsize=20_000)
def _entity(text: str, role: Any, member: str | None) -> Entity:
    """An entity, which is never changed: hosts that many alerts name are made once."""
    kind, _, value = text.partition(":")
    return Entity(kind=kind, value=value, role=role, member=member)
