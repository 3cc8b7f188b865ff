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

from csirt.model.records import Alert, Entity

ACTORS = frozenset({"host", "mailbox"})
SHARED = frozenset({"message", "conversation", "link"})
HER = "her"
PAIR = "her_pair"  # made here: the two HER-ids, sorted, so that the store's entity index finds the conversation
OWN = "alert"  # no entity: an incident is also found by the alerts it holds, whatever their extensions carry

TYING = SHARED | {PAIR}

STRONGEST = ("shared_message", "shared_actor", "target_became_actor", "shared_her")

Key = tuple[str, str]


class Tied:
    """What can tie an alert to incidents, followed while the alert grows. `tying`: its entities that can, those made
    here included."""

    def __init__(self) -> None:
        self.tying: list[Entity] = []
        self._known: set[tuple[Key, str, str | None]] = set()
        self._hers: dict[str, set[str]] = {"actor": set(), "target": set()}

    def grow(self, fresh: Sequence[Entity]) -> list[Key]:
        """Take in entities of the alert; the (kind, value) pairs by which others may now be found, which were not
        before."""
        keys: dict[Key, None] = {}
        hers = [entity for entity in fresh if entity.kind == HER]
        for entity in [*tying(fresh), *self._made(hers)]:
            name = ((entity.kind, entity.value), entity.role, entity.member)
            if name not in self._known:
                self._known.add(name)
                self.tying.append(entity)
                keys[name[0]] = None
        return list(keys)

    def _made(self, hers: list[Entity]) -> list[Entity]:
        """What is made here of HER-ids."""
        for entity in hers:
            self._hers[entity.role].add(entity.value)
        return [_made(PAIR, pair) for pair in pairs(self._hers["actor"], self._hers["target"])] if hers else []


def tying(entities: Sequence[Entity]) -> list[Entity]:
    """Those that can tie: of an attack most are hosts it went for, which cannot."""
    return [
        entity for entity in entities if (entity.role == "actor" if entity.kind in ACTORS else entity.kind in TYING)
    ]


def pairs(actors: Iterable[str], targets: Iterable[str]) -> list[str]:
    """The conversations of HER-ids, each sorted, in order."""
    return sorted({"|".join(sorted((one, other))) for one in actors for other in targets if one != other})


def made(alert: Alert) -> list[Entity]:
    """The entities made here: the conversations of HER-ids an alert tells of."""
    hers = [entity for entity in alert.entities if entity.kind == HER]
    if not hers:
        return hers
    actors = {entity.value for entity in hers if entity.role == "actor"}
    targets = {entity.value for entity in hers if entity.role == "target"}
    return [_made(PAIR, pair, alert.id) for pair in pairs(actors, targets)]


def _made(kind: str, value: str, alert: str = "") -> Entity:
    return Entity(kind, value, "actor", None, alert)


def reason(entity: Entity, other: Entity) -> str:
    """Why an alert that this can tie belongs to an incident that has the `other`, of the same kind and value; empty: it
    does not."""
    kind = entity.kind
    if kind in SHARED:
        return "shared_message"
    if kind == PAIR:
        return "shared_her"
    mine, theirs = entity.member, other.member
    if mine != theirs and mine is not None and theirs is not None:
        return ""  # the same address in two members' overlapping networks
    return "shared_actor" if other.role == "actor" else "target_became_actor"
