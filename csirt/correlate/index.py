"""The incidents under work: found by what ties alerts to them, and by the alerts they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from csirt.correlate import links
from csirt.correlate.held import Held
from csirt.correlate.links import Key
from csirt.model.hits import AlertChange
from csirt.model.records import Alert, Entity, Link

Near = dict[Held, None]
# Something that can tie an alert, and the incidents that have it, each with its entities of that kind and value.
Tie = tuple[Entity, dict[Held, list[Entity]]]


class Index:
    """`once`: the changes of alerts that change once; those of rules on trial are left out. `several`: of each change
    of the others, in order, the alert and its entities that are new since the change before it. Incidents are found by
    what these can be tied by, which is little of what they have, and by nothing else: all changes are named before the
    first is taken."""

    def __init__(self, once: Iterable[AlertChange], several: Iterable[tuple[Alert, Sequence[Entity]]]) -> None:
        self._found: dict[Key, dict[Held, list[Entity]]] = {}  # each with its entities of that kind and value
        self.homes: dict[str, Held] = {}  # the incident that holds an alert
        self.once: dict[str, tuple[list[Tie], list[Entity]]] = {}  # what can tie them, and all entities they have
        for change in once:
            alert = change.alert  # looked at once: there are more than the processor has at hand
            if not alert.shadow:
                self.once[change.id] = self._alone(alert)
        growing: dict[str, links.Tied] = {}
        for alert, fresh in several:
            for key in growing.setdefault(alert.id, links.Tied()).grow(fresh):
                self._found.setdefault(key, {})
        self._alerts = [*self.once, *growing]
        self._tied: dict[str, links.Tied] = {}
        self._asked: dict[Key, list[Near]] = {}  # what alerts that grow, and that it can tie, have near
        self._nearby: dict[str, Near] = {}  # by alert that grows

    def _alone(self, alert: Alert) -> tuple[list[Tie], list[Entity]]:
        """Of an alert that does not grow: what can tie it, and all its entities, those made here included."""
        ties: list[Tie] = []
        entities, found = alert.entities, self._found
        for entity in entities:
            kind = entity.kind
            if kind == links.HER:
                made = links.made(alert)
                return self.ties([*links.tying(entities), *made]), [*entities, *made]
            if entity.role == "actor" if kind in links.ACTORS else kind in links.TYING:
                ties.append((entity, found.setdefault((kind, entity.value), {})))
        return ties, entities

    def wanted(self) -> list[Key]:
        """The (kind, value) pairs by which stored incidents are to be looked up."""
        return [*self._found, *[(links.OWN, name) for name in self._alerts]]

    def own(self, held: Held, alerts: Iterable[str]) -> None:
        """An incident holds these alerts from now on."""
        for name in alerts:
            self.homes[name] = held

    def note(self, held: Held, entities: Iterable[Entity]) -> None:
        """An incident has these entities from now on."""
        for entity in entities:
            key = entity.kind, entity.value
            there = self._found.get(key)
            if there is None:
                continue
            if held in there:
                there[held].append(entity)
                continue
            there[held] = [entity]
            for near in self._asked.get(key, ()):
                near[held] = None

    def ties(self, tying: Iterable[Entity]) -> list[Tie]:
        """With each of what can tie an alert: the incidents that have it."""
        return [(entity, self._found.setdefault((entity.kind, entity.value), {})) for entity in tying]

    def growing(self, alert: Alert, grown: list[Entity] | None) -> tuple[list[Entity], list[Entity], Iterable[Held]]:
        """Of an alert that changes several times: what can tie it, which of its entities are new, and the incidents
        that it can tie to. `grown`: those that its change before did not have, where that is known."""
        name = alert.id
        tied = self._tied.get(name)
        fresh = alert.entities if grown is None or tied is None else grown
        if tied is None:
            tied = self._tied[name] = links.Tied()
        near = self._nearby.setdefault(name, {})
        for key in tied.grow(fresh):
            self._asked.setdefault(key, []).append(near)
            near.update(dict.fromkeys(self._found[key]))
        return tied.tying, fresh, near


def around(ties: list[Tie]) -> Iterable[Held]:
    """The incidents that have any of what can tie an alert."""
    return dict.fromkeys([held for _, there in ties for held in there])


def reasons(alert: str, ties: Iterable[Tie], held: Held) -> list[Link]:
    """Why an alert that these can tie belongs to an incident, a link for each reason, strongest first; empty: it does
    not."""
    told: list[str] = []
    found: list[Link] = []
    for entity, there in ties:
        for other in there.get(held, ()):
            reason = links.reason(entity, other)
            if reason and reason not in told:
                told.append(reason)
                found.append(Link(alert, reason, entity.value, other.alert))
    if len(found) > 1:
        found.sort(key=_strongest)
    return found


def _strongest(link: Link) -> int:
    return links.STRONGEST.index(link.reason)
