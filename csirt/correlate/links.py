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
from typing import NamedTuple

from csirt.model.records import Alert, Entity

ACTORS = frozenset({"host", "mailbox"})
SHARED = frozenset({"message", "conversation", "link"})
HER = "her"
PAIR = "her_pair"  # made here: the two HER-ids, sorted, so that the store's entity index finds the conversation
OWN = "alert"  # no entity: an incident is also found by the alerts it holds, whatever their extensions carry

TYING = SHARED | {PAIR}
KNOWN = ACTORS | SHARED | {PAIR}  # kinds of which an incident is asked for a reason, and by which it is found

_STRONGEST = ("shared_message", "shared_actor", "target_became_actor", "shared_her")

Key = tuple[str, str]
Known = dict[Key, list[Entity]]


class Reason(NamedTuple):
    """Why an alert belongs to an incident: the link's reason, the shared value, the alert that brought it."""

    reason: str
    value: str
    to: str


class Tied:
    """What can tie an alert to incidents, followed while the alert grows. `tying`: its entities that can, those made
    here included."""

    def __init__(self) -> None:
        self.tying: list[Entity] = []
        self._begun = False
        self._known: set[tuple[Key, str, str | None]] = set()
        self._hers: dict[str, set[str]] = {"actor": set(), "target": set()}

    def grow(self, alert: Alert, fresh: Sequence[Entity]) -> list[Key]:
        """Take in entities of the alert; the (kind, value) pairs by which others may now be found, which were not
        before."""
        keys: dict[Key, None] = {}
        if not self._begun:
            keys[OWN, alert.id] = None
            self._begun = True
        hers: list[Entity] = []
        tying: list[Entity] = []
        for entity in fresh:  # of an attack most are hosts it went for
            kind = entity.kind
            if kind == HER:
                hers.append(entity)
            elif entity.role == "actor" if kind in ACTORS else kind in TYING:
                tying.append(entity)
        for entity in [*tying, *self._made(hers)]:
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
    return Entity.trusted(kind=kind, value=value, role="actor", member=None, alert=alert)


def follow(
    once: Iterable[Alert], several: Iterable[tuple[Alert, Sequence[Entity]]]
) -> tuple[list[Key], dict[str, tuple[list[Entity], list[Key]]]]:
    """The (kind, value) pairs by which incidents of alerts that grow are looked up, sorted; and, of the alerts that
    change `once`, what can tie them with their own pairs, so that it need not be found out again. `several`: of each
    change of the others the alert, and its entities that are new since the change before it."""
    tied: dict[str, Tied] = {}
    found: set[Key] = set()
    for alert, fresh in several:
        known = tied.get(alert.id)
        if known is None:
            known = tied[alert.id] = Tied()
        found.update(known.grow(alert, fresh))
    made = {alert.id: _alone(alert) for alert in once}
    for _, keys in made.values():
        found.update(keys)
    return sorted(found), made


def _alone(alert: Alert) -> tuple[list[Entity], list[Key]]:
    """What can tie an alert that does not grow, and the pairs by which its incidents are found."""
    tying: list[Entity] = []
    keys: list[Key] = []
    for entity in alert.entities:
        kind = entity.kind
        if kind == HER:
            grown = Tied()
            keys = grown.grow(alert, alert.entities)
            return grown.tying, keys
        if entity.role == "actor" if kind in ACTORS else kind in TYING:
            tying.append(entity)
            keys.append((kind, entity.value))
    keys.append((OWN, alert.id))
    return tying, keys


def reasons(entities: Iterable[Entity], known: Known) -> list[Reason]:
    """Why an alert with these entities belongs to the incident that has the `known` ones, strongest first, one per
    reason; empty: it does not."""
    found: dict[str, Reason] = {}
    for entity in entities:
        value = entity.value
        for other in known.get((entity.kind, value), ()):
            reason = _reason(entity, other)
            if reason and reason not in found:
                found[reason] = Reason(reason, value, other.alert)
    return [found[reason] for reason in _STRONGEST if reason in found] if len(found) > 1 else list(found.values())


def _reason(entity: Entity, other: Entity) -> str:
    kind = entity.kind
    if kind in SHARED:
        return "shared_message"
    if kind == PAIR:
        return "shared_her"
    if kind not in ACTORS or entity.role != "actor":
        return ""
    mine, theirs = entity.member, other.member
    if mine != theirs and mine is not None and theirs is not None:
        return ""  # the same address in two members' overlapping networks
    return "shared_actor" if other.role == "actor" else "target_became_actor"
