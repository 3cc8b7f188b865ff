"""The incidents under work: found by what ties alerts to them, and by the alerts they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from csirt.correlate import links
from csirt.correlate.held import Held
from csirt.correlate.links import Key
from csirt.model.records import Alert, Entity, Link

Near = dict[Held, None]


class Index:
    """`once`: the alerts that change once. `several`: of each change of the others, in order, the alert and its
    entities that are new since the change before it. Incidents are found by what these can be tied by, which is little
    of what they have, and by nothing else: all changes are named before the first is taken."""

    def __init__(self, once: Iterable[Alert], several: Iterable[tuple[Alert, Sequence[Entity]]]) -> None:
        self._found: dict[Key, dict[Held, list[Entity]]] = {}  # each with its entities of that kind and value
        self._homes: dict[str, Held] = {}  # by alert
        self.once: dict[str, tuple[list[Entity], list[Entity]]] = {}  # what can tie them, and all they have
        for alert in once:
            own = self.once[alert.id] = links.alone(alert)
            for entity in own[0]:
                self._found.setdefault((entity.kind, entity.value), {})
        growing: dict[str, links.Tied] = {}
        for alert, fresh in several:
            for key in growing.setdefault(alert.id, links.Tied()).grow(fresh):
                self._found.setdefault(key, {})
        self._alerts = [*self.once, *growing]
        self._tied: dict[str, links.Tied] = {}
        self._asked: dict[Key, list[Near]] = {}  # what alerts that grow, and that it can tie, have near
        self._nearby: dict[str, Near] = {}  # by alert that grows

    def wanted(self) -> list[Key]:
        """The (kind, value) pairs by which stored incidents are to be looked up."""
        return [*self._found, *[(links.OWN, name) for name in self._alerts]]

    def home(self, alert: str) -> Held | None:
        """The incident that holds the alert."""
        return self._homes.get(alert)

    def own(self, held: Held, alerts: Iterable[str]) -> None:
        """An incident holds these alerts from now on."""
        for name in alerts:
            self._homes[name] = held

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

    def tied(self, tying: Iterable[Entity]) -> Iterable[Held]:
        """The incidents that have any of what these can tie to."""
        return dict.fromkeys([held for entity in tying for held in self._found[entity.kind, entity.value]])

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

    def reasons(self, alert: str, tying: Iterable[Entity], held: Held) -> list[Link]:
        """Why an alert that these can tie belongs to an incident, a link for each reason, strongest first; empty: it
        does not."""
        found: dict[str, Link] = {}
        for entity in tying:
            for other in self._found[entity.kind, entity.value].get(held, ()):
                reason = links.reason(entity, other)
                if reason and reason not in found:
                    found[reason] = Link(alert, reason, entity.value, other.alert)
        if len(found) < 2:
            return list(found.values())
        return [found[reason] for reason in links.STRONGEST if reason in found]
