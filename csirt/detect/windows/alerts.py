"""An alert while it grows: hits go in, a bounded and deterministic `Alert` comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import repeat
from typing import Any

import orjson

from csirt import ids
from csirt.detect.rule import Meta
from csirt.detect.windows.keys import key_text
from csirt.model.records import SAMPLE_EVENTS, SAMPLE_TARGETS, Alert, Entity

MAX_FACTS = 20
_set = object.__setattr__
_EVERY = set(Alert.model_fields)  # of all alerts made here: each has all of its values
# What every alert is copied from: pydantic looks at each default anew when it constructs one, which takes half a
# millisecond.
_BLANK = Alert(id="", rule_id="", rule_name="", severity="low", dataset="", first=0, last=0)


# The columns in which a hit says what of its event an alert shows.
SAID = ("source", "source_member", "target", "target_member", "link", "facts")
Texts = Sequence[str | None]
Said = tuple[Texts, Texts, Texts, Texts, Texts, Texts]
"""What hits say, column by column; nothing of a column in which none says anything."""


@dataclass(slots=True)
class Summary:
    """A run of hits in (time, event id) order: `count` distinct events, of which `events` are the first ones; what they
    say, in order of appearance."""

    first: int
    last: int
    count: int
    last_event: str
    events: list[str]
    said: Said = ((), (), (), (), (), ())


@dataclass(slots=True)
class Growing:
    """An open alert as state. `last_event` is the id of the last event counted, or `key` that id as two numbers; lists
    keep the first so many in (time, event id) order, so that they do not depend on how hits were cut into steps.
    `fired`: when the condition last held (correlations)."""

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
    key: tuple[int, int] | None = field(default=None, repr=False)
    place: tuple[str, str] = field(default=("", ""), repr=False)  # the rule and the group
    reach: int = field(default=0, repr=False)  # when nothing can extend it any more
    heard: str = field(default="", repr=False)  # the facts that came last

    def __post_init__(self) -> None:
        self.place = self.rule, self.group

    def add(self, part: Summary, samples: int = SAMPLE_EVENTS) -> None:
        """Count a run of hits that comes after those counted so far."""
        events = part.events
        if not self.id:
            # Silence has no event: it is named by when it began.
            self.begin(events[0] if events else str(part.first), part.first)
        repeated = bool(events) and events[0] == self.counted
        self.count_in(part.first, part.last, part.count - repeated)
        self.last_event, self.key = part.last_event, None
        self.hear(events[1:] if repeated else events, part.said, samples)

    def begin(self, event: str, first: int) -> None:
        """An alert opens with this event."""
        self.id = ids.alert(self.rule, self.group, event)
        self.first = first

    def count_in(self, first: int, last: int, count: int) -> None:
        """So many events more, from `first` to `last`."""
        if first < self.first:
            self.first = first
        if last > self.last:
            self.last = last
        self.count += count

    def hear(self, events: Sequence[str], said: Said, samples: int) -> None:
        """The ids of events that were counted, and what their hits say, in order."""
        room = samples - len(self.events)
        if room > 0 and events:
            self.events = [*self.events, *events[:room]]  # the alerts made so far have the one before
        self._listen(said)

    @property
    def counted(self) -> str:
        """The id of the last event that was counted."""
        return self.last_event if self.key is None else key_text(*self.key)

    def _listen(self, said: Said) -> None:
        """Take in what hits say."""
        sources, source_members, targets, target_members, links, facts = said
        shown = self.shown
        before = len(shown[0]), len(shown[1]), len(shown[2])
        for members in (source_members, target_members):
            for member in dict.fromkeys(members):
                if member is not None and member not in self.members:
                    self.members[member] = self.told = None
        _meet(self.actors, shown[0], "actor", sources, source_members)
        _meet(self.targets, shown[1], "target", targets, target_members)
        _meet(self.links, shown[2], "target", links, ())
        for text in dict.fromkeys(facts):
            if text is not None and text != self.heard:
                self._hear(text)
        if (len(shown[0]), len(shown[1]), len(shown[2])) != before:
            self._show(before)

    def _hear(self, facts: str) -> None:
        self.heard = facts
        for name, value in _said(facts):
            shown = self.facts.setdefault(name, [])
            if value not in shown and len(shown) < MAX_FACTS:
                shown.append(value)
                self.told = None

    def _show(self, before: tuple[int, int, int]) -> None:
        """Take in the entities that are shown beyond those."""
        for known, start in zip(self.shown, before, strict=True):
            self.fresh += known[start:]
        self.together = [*self.shown[0], *self.shown[1], *self.shown[2]]

    def _restore(self) -> None:
        """Make the entities of a state that was read."""
        for known, shown, role in zip((self.actors, self.targets), self.shown, ("actor", "target"), strict=False):
            shown += [_entity(value, role, owner) for value, owner in known.items()]
        self.shown[2].extend(_entity(value, "target", None) for value in self.links)
        self._show((0, 0, 0))

    def taken(self) -> list[Entity]:
        """The entities that were not taken before."""
        found, self.fresh = self.fresh, []
        return found

    def alert(self, meta: Meta, numbers: tuple[int, int, int] | None = None) -> Alert:
        """The whole alert as it stands, or as it stood with these numbers (first, last, count)."""
        if self.form is None or self.form[0] is not meta:
            self.form = meta, self._form(meta)
        if self.told is None:
            facts = {name: sorted(known) for name, known in sorted(self.facts.items())}
            self.told = {"members": sorted(self.members), "facts": facts}
        values = self.form[1].__dict__ | self.told
        values["first"], values["last"], values["count"] = numbers or (self.first, self.last, self.count)
        values["events"], values["entities"] = self.events, self.together
        return _alert(values)

    def _form(self, meta: Meta) -> Alert:
        """What of the alert does not change while it grows. Every value is our own: it is not checked again."""
        custom = meta.custom
        return _alert(
            _BLANK.__dict__
            | {
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
            },
        )

    def as_dict(self) -> dict[str, Any]:
        """The state as JSON, in which what came first stays first."""
        raw = {name: getattr(self, name) for name in _FIELDS} | {"last_event": self.counted}
        return raw | {name: list(raw[name].items()) for name in _ORDERED} | {"members": sorted(raw["members"].items())}

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> Growing:
        """The state back from JSON."""
        growing = Growing(**raw | {name: dict(raw[name]) for name in _ORDERED})
        growing._restore()
        return growing


_OURS = ("shown", "together", "fresh", "form", "told", "key", "heard", "place", "reach")
_FIELDS = tuple(one.name for one in fields(Growing) if one.name not in _OURS)
_ORDERED = ("actors", "targets", "links", "members", "facts")


def _alert(values: dict[str, Any]) -> Alert:
    """An alert with these values, all of it our own: what `model_copy` makes, at a tenth of its time, for every step
    copies each alert that grew in it."""
    made = Alert.__new__(Alert)
    _set(made, "__dict__", values)
    _set(made, "__pydantic_fields_set__", _EVERY)
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)
    return made


def _meet(known: dict[str, Any], shown: list[Entity], role: str, texts: Texts, owners: Texts) -> None:
    """Entities of an alert that are named for the first time, each with the member it has there."""
    if not texts or len(shown) >= SAMPLE_TARGETS:
        return
    named = dict.fromkeys(zip(texts, owners, strict=True)) if owners else zip(dict.fromkeys(texts), repeat(None))
    for text, owner in named:
        if text is not None and text not in known and len(shown) < SAMPLE_TARGETS:
            known[text] = owner
            shown.append(_entity(text, role, owner))


@lru_cache(maxsize=10_000)
def _said(text: str) -> tuple[tuple[str, str], ...]:
    """The facts of a hit."""
    return tuple(orjson.loads(text).items())


@lru_cache(maxsize=20_000)
def _entity(text: str, role: Any, member: str | None) -> Entity:
    """An entity, which is never changed: hosts that many alerts name are made once."""
    kind, _, value = text.partition(":")
    return Entity(kind=kind, value=value, role=role, member=member)
