"""A case is the fold of its events: the same events always give the same case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from csirt.model import tlp
from csirt.model.severity import RANK, Severity

if TYPE_CHECKING:
    from csirt.model.records import Case, CaseEvent, Incident

# Kinds that bring or change an incident; the others are what people (or a policy of ours) said.
EVIDENCE = frozenset({"opened", "incident_added", "incident_updated"})


def summary(incident: Incident) -> dict[str, Any]:
    """What a case keeps of an incident: plain JSON, enough to fold without reading the incident again."""
    found = {
        "title": incident.title,
        "severity": incident.severity,
        "members": list(incident.members),
        "alerts": len(incident.alerts),
        "first": incident.first,
        "last": incident.last,
        "clinical": incident.clinical,
        "rsit": incident.rsit,
    }
    if incident.tlp:
        found["tlp"] = incident.tlp
    return found


@dataclass
class _State:
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    state: str = "open"
    owner: str = ""
    acked_by: str = ""
    notes: int = 0
    news: int = 0
    verdict: str = ""
    rsit: str = ""
    merged_into: str = ""
    # The severity an analyst set, and what the evidence said then: worse evidence takes over again.
    said: tuple[Severity, Severity] | None = None

    def severity(self, worst: Severity) -> Severity:
        """What counts, where the incidents' worst is that: the analyst's word until worse evidence comes."""
        if self.said is None or RANK[worst] > RANK[self.said[1]]:
            return worst
        return self.said[0]


def undone(events: Iterable[CaseEvent]) -> set[int]:
    """Sequence numbers of events that were taken back."""
    return {event.undoes for event in events if event.undoes is not None}


def fold(events: list[CaseEvent], base: Case | None = None) -> Case:
    """The case after these events (all of one case, in order, from the first); see `Story.case`."""
    return Story(events).case(base)


def parts(events: list[CaseEvent]) -> dict[str, dict[str, Any]]:
    """The summaries of a case's incidents as its events last gave them."""
    return Story(events).parts


class Story:
    """The events of a case, and what they come to: an event that is added does not fold those before it again."""

    def __init__(self, events: list[CaseEvent]) -> None:
        self.events = events
        self._state = _State()
        gone = undone(events)
        for event in events:
            if event.seq not in gone:
                _apply(self._state, event)

    def add(self, event: CaseEvent) -> None:
        """One more event, which takes none back."""
        self.events.append(event)
        _apply(self._state, event)

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        """The summaries of the case's incidents as its events last gave them; not to be changed."""
        return self._state.parts

    @property
    def state(self) -> str:
        """Of the case."""
        return self._state.state

    @property
    def verdict(self) -> str:
        """What people judged when they closed it."""
        return self._state.verdict

    @property
    def merged_into(self) -> str:
        """The case it was merged into, empty when it was not."""
        return self._state.merged_into

    def case(self, base: Case | None = None) -> Case:
        """The case. `base`: the stored document, for what is no part of the fold (number, TLP, creation time). Raises
        ValueError for a list that does not begin with `opened`."""
        from csirt.model.records import Case

        if not self.events or self.events[0].kind != "opened":
            raise ValueError("a case's first event is 'opened'")
        state = self._state
        whole = _together(list(state.parts.values()))
        label = base.tlp if base else "AMBER"
        return Case.trusted(
            {
                "id": self.events[0].case,
                "number": base.number if base else "",
                "version": self.events[-1].seq,
                "state": state.state,
                "severity": state.severity(whole["severity"]),
                "title": whole["title"],
                "owner": state.owner,
                "acked_by": state.acked_by,
                "incidents": list(state.parts),
                "members": list(whole["members"]),
                "first": whole["first"],
                "last": whole["last"],
                "alerts": whole["alerts"],
                "notes": state.notes,
                "news": state.news,
                "verdict": state.verdict,
                "rsit": state.rsit or whole["rsit"],
                "clinical": whole["clinical"],
                "merged_into": state.merged_into,
                "tlp": tlp.strictest([label, whole["tlp"]]) if "tlp" in whole else label,
                "created": base.created if base else 0,
                "updated": 0,
            }
        )


def _together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The summaries of a case's incidents as one; not to be changed."""
    if len(parts) == 1:
        return parts[0]
    lead = min(parts, key=_leading)
    return {
        **lead,
        "members": list(dict.fromkeys([member for part in parts for member in part["members"]])),
        "first": min([part["first"] for part in parts]),
        "last": max([part["last"] for part in parts]),
        "alerts": sum([part["alerts"] for part in parts]),
        "clinical": any(part["clinical"] for part in parts),
        "tlp": tlp.strictest([part.get("tlp", "") for part in parts]),
    }


def _leading(part: dict[str, Any]) -> tuple[int, int, str]:
    """Which incident names the case: the worst, then the earliest."""
    return -RANK[part["severity"]], part["first"], part["title"]


def _apply(state: _State, event: CaseEvent) -> None:
    data = event.data
    match event.kind:
        case "opened" | "incident_added" | "incident_updated":
            before = state.parts.get(data["incident"], {"alerts": 0})
            fresh = data["summary"]["alerts"] - before["alerts"]
            if state.acked_by and fresh > 0:
                state.news += fresh
            state.parts[data["incident"]] = data["summary"]
        case "acked":
            state.state, state.acked_by, state.news = "acknowledged", event.actor, 0
            state.owner = state.owner or event.actor
        case "assigned":
            state.owner = data["owner"]
        case "noted":
            state.notes += 1
        case "severity":
            state.said = (data["severity"], data["evidence"])
        case "merged":
            _merged(state, data)
        case "split":
            state.parts = {key: part for key, part in state.parts.items() if key != data["incident"]}
        case "closed":
            state.state, state.verdict, state.rsit = "closed", data["verdict"], data["rsit"]
        case "reopened":
            if data.get("evidence"):
                state.acked_by, state.news = "", 0  # new evidence wants a new look
            state.state = "acknowledged" if state.acked_by else "open"
            state.verdict = ""


def _merged(state: _State, data: dict[str, Any]) -> None:
    if data.get("into"):
        state.state, state.merged_into = "merged", data["into"]
        return
    for incident, part in data["summaries"].items():
        fresh = part["alerts"] - state.parts.get(incident, {"alerts": 0})["alerts"]
        if state.acked_by and fresh > 0:
            state.news += fresh
        state.parts[incident] = part
