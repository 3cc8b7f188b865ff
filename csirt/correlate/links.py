"""Which entities may tie alerts together, and the reason that is stated for each tie.

- `shared_actor`: the same host or mailbox acts in both.
- `target_became_actor`: the actor was a target of an earlier alert of the incident.
- `shared_message`: the same message or other linking entity, in any role.
- `shared_her`: the same two HER-ids talk, in either direction.
Two alerts with only a target in common are never tied (everybody talks to the same resolver), nor two with only a
member, a HER-id or a mail domain in common (those are shared by many on purpose).
"""

from __future__ import annotations

from collections.abc import Iterable
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


def tied(alert: Alert) -> list[Entity]:
    """The alert's entities as an incident keeps them, those made here included, each naming the alert."""
    entities = [
        Entity.model_construct(kind=one.kind, value=one.value, role=one.role, member=one.member, alert=alert.id)
        for one in alert.entities
    ]
    actors = sorted({entity.value for entity in entities if entity.kind == "her" and entity.role == "actor"})
    targets = sorted({entity.value for entity in entities if entity.kind == "her" and entity.role == "target"})
    pairs = sorted({"|".join(sorted((one, other))) for one in actors for other in targets if one != other})
    entities += [Entity(kind=PAIR, value=pair, role="actor", alert=alert.id) for pair in pairs]
    entities.append(Entity(kind=OWN, value=alert.id, role="actor", alert=alert.id))
    return entities


def keys(entities: Iterable[Entity]) -> list[Key]:
    """The (kind, value) pairs by which other incidents are looked up, sorted."""
    return sorted({(entity.kind, entity.value) for entity in entities if _ties(entity)})


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
