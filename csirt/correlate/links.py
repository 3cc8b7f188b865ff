"""Which entities may tie alerts together, and the reason that is stated for each tie.

- `shared_actor`: the same host or mailbox acts in both.
- `target_became_actor`: the actor was a target of an earlier alert of the incident.
- `shared_message`: the same message or other linking entity, in any role.
- `shared_her`: the same two HER-ids talk, in either direction.
Two alerts with only a target in common are never tied (everybody talks to the same resolver), nor two with only a
member, a HER-id or a mail domain in common (those are shared by many on purpose).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from csirt.model.records import Alert, Entity

ACTORS = frozenset({"host", "mailbox"})
SHARED = frozenset({"message", "conversation", "link"})
MADE = ("her_pair", "alert")  # kinds made here: for finding, not for people
PAIR = "her_pair"  # made here: the two HER-ids, sorted, so that the store's entity index finds the conversation
OWN = "alert"  # made here for every alert, so that its extensions find its incident whatever they carry

Key = tuple[str, str]
Known = dict[Key, list[Entity]]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an alert belongs to an incident: the link's reason, the shared value, the alert that brought it."""

    reason: str
    value: str
    to: str


class Tied:
    """An alert's entities as incidents keep them, each naming the alert, those made here included. An alert that grows
    is followed: what it had before is not made again.

    `tying`: those that can tie it to an incident; `keys`: the (kind, value) pairs by which others are looked up, which
    change with `version`.
    """

    def __init__(self) -> None:
        self._alert: Alert | None = None
        self._kept: dict[int, tuple[Entity, Entity]] = {}  # by identity: the alert's, ours
        self._made: dict[tuple[str, str], Entity] = {}
        self.tying: list[Entity] = []
        self.keys: dict[Key, None] = {}
        self.version = 0  # of the keys

    def grow(self, alert: Alert) -> list[Entity]:
        """Follow the alert; what is new in it."""
        if self._alert is not None and alert.entities is self._alert.entities:
            return []
        fresh = [one for one in alert.entities if id(one) not in self._kept]
        if len(alert.entities) - len(fresh) != len(self._kept):  # another one than it was
            self._kept, self._made, self.tying, self.keys = {}, {}, [], {}
            fresh = alert.entities
            self.version += 1
        self._alert = alert
        ours = [_kept(one, alert) for one in fresh]
        self._kept.update((id(one), (one, mine)) for one, mine in zip(fresh, ours, strict=True))
        for key in made(alert):
            if key not in self._made:
                self._made[key] = Entity(kind=key[0], value=key[1], role="actor", alert=alert.id)
                ours.append(self._made[key])
        for entity in ours:
            if _ties(entity):
                self.tying.append(entity)
                self.keys[entity.kind, entity.value] = None
                self.version += 1
        return ours

    def all(self) -> list[Entity]:
        """All of them: the alert's, in its order, then those made here."""
        assert self._alert is not None
        return [
            *(self._kept[id(one)][1] for one in self._alert.entities),
            *(self._made[key] for key in made(self._alert)),
        ]


def _kept(one: Entity, alert: Alert) -> Entity:
    return Entity.model_construct(kind=one.kind, value=one.value, role=one.role, member=one.member, alert=alert.id)


def made(alert: Alert) -> list[Key]:
    """The (kind, value) pairs made here: the conversations of HER-ids it tells of, sorted, and the alert itself."""
    actors = {entity.value for entity in alert.entities if entity.kind == "her" and entity.role == "actor"}
    targets = {entity.value for entity in alert.entities if entity.kind == "her" and entity.role == "target"}
    pairs = {"|".join(sorted((one, other))) for one in actors for other in targets if one != other}
    return [*((PAIR, pair) for pair in sorted(pairs)), (OWN, alert.id)]


def keys(alerts: Sequence[Alert]) -> list[Key]:
    """The (kind, value) pairs by which incidents of these alerts are looked up, sorted."""
    found: set[Key] = set()
    seen: set[int] = set()  # values of an alert that has nothing new share their list, others what is in it
    for alert in alerts:
        if id(alert.entities) not in seen:
            fresh = [entity for entity in alert.entities if id(entity) not in seen]
            seen.add(id(alert.entities))
            seen.update(map(id, fresh))
            found.update((entity.kind, entity.value) for entity in fresh if _ties(entity))
            found.update(made(alert))
    return sorted(found)


def _ties(entity: Entity) -> bool:
    if entity.kind in ACTORS:
        return entity.role == "actor"
    return entity.kind in SHARED or entity.kind in (PAIR, OWN)


def reasons(entities: Iterable[Entity], known: Known) -> list[Reason]:
    """Why an alert with these entities belongs to the incident that has the `known` ones, strongest first, one per
    reason; empty: it does not."""
    found: dict[str, Reason] = {}
    for entity in entities:
        for other in known.get((entity.kind, entity.value), ()):
            reason = _reason(entity, other)
            if reason and reason not in found:
                found[reason] = Reason(reason, entity.value, other.alert)
    order = ("shared_message", "shared_actor", "target_became_actor", "shared_her")
    return [found[reason] for reason in order if reason in found]


def _reason(entity: Entity, other: Entity) -> str:
    if entity.kind in SHARED:
        return "shared_message"
    if entity.kind == PAIR:
        return "shared_her"
    if entity.kind not in ACTORS or entity.role != "actor":
        return ""
    if entity.member is not None and other.member is not None and entity.member != other.member:
        return ""  # the same address in two members' overlapping networks
    return "shared_actor" if other.role == "actor" else "target_became_actor"
