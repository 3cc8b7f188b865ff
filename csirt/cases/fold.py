"""A case is the fold of its events: the same events always give the same case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from csirt.model import tlp
from csirt.model.severity import SEVERITIES, Severity

if TYPE_CHECKING:
    from csirt.model.records import Case, CaseEvent, Incident

# Kinds that bring or change an incident; the others are what people (or a policy of ours) said.
EVIDENCE = frozenset({"opened", "incident_added", "incident_updated"})


def summary(incident: Incident) -> dict[str, Any]:
    """What a case keeps of an incident: plain JSON, enough to fold without reading the incident again."""
    return {
        "title": incident.title,
        "severity": incident.severity,
        "members": list(incident.members),
        "alerts": len(incident.alerts),
        "first": incident.first,
        "last": incident.last,
        "clinical": incident.clinical,
        "rsit": incident.rsit,
        **({"tlp": incident.tlp} if incident.tlp else {}),
    }


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

    def evidence(self) -> Severity:
        """The worst severity among the incidents."""
        return max((part["severity"] for part in self.parts.values()), key=SEVERITIES.index)

    def severity(self) -> Severity:
        """What counts: the analyst's word until worse evidence comes."""
        worst = self.evidence()
        if self.said is None or SEVERITIES.index(worst) > SEVERITIES.index(self.said[1]):
            return worst
        return self.said[0]


def undone(events: Iterable[CaseEvent]) -> set[int]:
    """Sequence numbers of events that were taken back."""
    return {event.undoes for event in events if event.undoes is not None}


def fold(events: list[CaseEvent], base: Case | None = None) -> Case:
    """The case after these events (all of one case, in order, from the first).

    `base`: the stored document, for what is no part of the fold (number, TLP, creation time). Raises ValueError for a
    list that does not begin with `opened`.
    """
    from csirt.model.records import Case

    if not events or events[0].kind != "opened":
        raise ValueError("a case's first event is 'opened'")
    state = _State()
    gone = undone(events)
    for event in events:
        if event.seq not in gone:
            _apply(state, event)
    lead = min(
        state.parts.values(), key=lambda part: (-SEVERITIES.index(part["severity"]), part["first"], part["title"])
    )
    return Case(
        id=events[0].case,
        number=base.number if base else "",
        version=events[-1].seq,
        state=state.state,  # type: ignore[arg-type]
        severity=state.severity(),
        title=lead["title"],
        owner=state.owner,
        acked_by=state.acked_by,
        incidents=list(state.parts),
        members=list(dict.fromkeys(member for part in state.parts.values() for member in part["members"])),
        first=min(part["first"] for part in state.parts.values()),
        last=max(part["last"] for part in state.parts.values()),
        alerts=sum(part["alerts"] for part in state.parts.values()),
        notes=state.notes,
        news=state.news,
        verdict=state.verdict,
        rsit=state.rsit or lead["rsit"],
        clinical=any(part["clinical"] for part in state.parts.values()),
        merged_into=state.merged_into,
        tlp=tlp.strictest([base.tlp if base else "AMBER", *(part.get("tlp", "") for part in state.parts.values())]),
        created=base.created if base else 0,
    )


def parts(events: list[CaseEvent]) -> dict[str, dict[str, Any]]:
    """The summaries of a case's incidents as its events last gave them."""
    state = _State()
    gone = undone(events)
    for event in events:
        if event.seq not in gone:
            _apply(state, event)
    return state.parts


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
