"""What an analyst may do to a case: each change is checked against the case as it is, and becomes case events.

Pure: nothing here reads the store or the clock. A `Desk` is opened on a case with its whole history; its methods add
events; `result` is what to commit. Refusals are Conflict (the case's state forbids it), Usage or NotAllowed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from csirt import ids
from csirt.cases.fold import EVIDENCE, fold, parts, summary, undone
from csirt.errors import Conflict, NotAllowed, NotFound, Usage
from csirt.model.principal import Principal
from csirt.model.severity import SEVERITIES

if TYPE_CHECKING:
    from csirt.model.records import Case, CaseEvent, Incident

VERDICTS = ("true", "false", "benign")


@dataclass
class Result:
    """What a change amounts to: new events, the cases after them, incidents that changed their case."""

    events: list[CaseEvent] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)


class Desk:
    """One case on the desk of somebody, at a time."""

    def __init__(self, case: Case, events: list[CaseEvent], who: Principal, now: int) -> None:
        self.case, self.events, self.who, self.now = case, list(events), who, now
        self.fresh: list[CaseEvent] = []

    def expect(self, version: int | None, text: str = "") -> None:
        """Refuse a change made in view of an older version, when a person changed the case since.

        Raises Conflict that carries both versions and the text, so that nothing typed is lost.
        """
        if version is None or version >= self.case.version:
            return
        since = [event for event in self.events if event.seq > version and event.actor != "system"]
        if not since:
            return  # more evidence is no conflict between people
        said = ", ".join(f"{event.actor} {event.kind}" for event in since)
        raise Conflict(
            f"{self._name} was changed since you looked (version {version}, now {self.case.version}: {said}); "
            f"look again with `csirt cases show {self._name}`, then repeat",
            case=self.case.id,
            yours=version,
            current=self.case.version,
            since=[{"seq": event.seq, "actor": event.actor, "kind": event.kind, "time": event.time} for event in since],
            text=text,
        )

    def ack(self) -> bool:
        """Somebody takes notice; whoever is first owns it. False when nothing changes."""
        self._open("acknowledge")
        if self.case.state == "acknowledged" and self.case.acked_by == self.who.name and not self.case.news:
            return False
        self._add("acked", {})
        return True

    def assign(self, owner: str) -> bool:
        """Give the case to somebody. False when nothing changes."""
        self._open("assign")
        if self.case.owner == owner:
            return False
        self._add("assigned", {"owner": owner, "from": self.case.owner})
        return True

    def note(self, text: str) -> None:
        """Add a note; closed and merged cases take notes too."""
        if not text.strip():
            raise Usage("the note is empty; give it with -m TEXT, or - for stdin")
        self._add("noted", {"text": text.rstrip()})

    def severity(self, severity: str, reason: str) -> bool:
        """Set the severity; worse evidence will take over again. False when nothing changes."""
        self._open("change the severity of")
        if severity not in SEVERITIES:
            raise Usage(f"no severity {severity!r}; one of {', '.join(SEVERITIES)}")
        if severity == self.case.severity:
            return False
        evidence = fold([event for event in self.events if event.kind != "severity"]).severity
        data = {"severity": severity, "from": self.case.severity, "evidence": evidence, "reason": reason}
        self._add("severity", data)
        return True

    def close(self, verdict: str, rsit: str, reason: str) -> None:
        """Judge the case: a true alarm, a false one, or true but harmless."""
        self._open("close")
        if verdict not in VERDICTS:
            raise Usage(f"no verdict {verdict!r}; one of {', '.join(VERDICTS)}")
        if not reason.strip():
            raise Usage("closing needs a reason: -m REASON")
        self._add("closed", {"verdict": verdict, "rsit": rsit, "reason": reason})

    def reopen(self, reason: str) -> None:
        """Take a closed case up again."""
        if self.case.state != "closed":
            raise Conflict(f"{self._name} is {self.case.state}, not closed")
        self._add("reopened", {"reason": reason})

    def merge_into(self, other: Desk, incidents: list[Incident], reason: str) -> list[Incident]:
        """Put this case's incidents (given as records) into another case; the incidents that moved."""
        if self.case.id == other.case.id:
            raise Usage(f"{self._name} cannot be merged into itself")
        if not reason.strip():
            raise Usage("merging needs a reason: -m REASON")
        self._open("merge")
        other._open("merge into")
        summaries = parts(self.events)
        moved = []
        for incident in incidents:
            if incident.id in summaries:
                incident.case = other.case.id
                moved.append(incident)
        self._add("merged", {"into": other.case.id, "reason": reason})
        other._add("merged", {"from": self.case.id, "summaries": summaries, "reason": reason})
        return moved

    def split(self, incident: Incident, reason: str) -> tuple[CaseEvent, Case]:
        """Let one incident of several go into a case of its own: the first event of that case, and the case."""
        self._open("split")
        have = parts(self.events)
        if incident.id not in have:
            raise NotFound(f"{self._name} has no incident {incident.id}; it has {', '.join(have)}")
        if len(have) < 2:
            raise Conflict(f"{self._name} has one incident only; there is nothing to split off")
        fresh = ids.digest("case-split", self.case.id, incident.id, self.case.version + 1)
        self._add("split", {"incident": incident.id, "into": fresh, "reason": reason})
        opened = self._event(
            fresh, 1, "opened", {"incident": incident.id, "summary": summary(incident), "from": self.case.id}
        )
        incident.case = fresh
        return opened, fold([opened])

    def last_change(self) -> CaseEvent:
        """The last thing a person did to the case that is not yet taken back. Raises Conflict when there is none."""
        gone = undone(self.events)
        for event in reversed(self.events):
            if (
                event.actor != "system"
                and event.kind not in EVIDENCE
                and event.kind != "undone"
                and event.seq not in gone
            ):
                return event
        raise Conflict(f"nobody has changed {self._name}; there is nothing to undo")

    def undo(self, event: CaseEvent) -> None:
        """Take an event back. One's own, or with the role lead or admin anybody's."""
        if event.actor != self.who.name and self.who.role not in ("lead", "admin"):
            raise NotAllowed(
                f"{self._name}: the last change ({event.kind}) is {event.actor}'s; only a lead undoes that"
            )
        self._add("undone", {"kind": event.kind}, undoes=event.seq)

    def absorbed(self, into: str) -> None:
        """The case a split made goes back into the one it came from."""
        self._add("merged", {"into": into})

    def latest(self) -> Case:
        """The case after the new events."""
        case = fold(self.events, self.case)
        case.updated = self.now
        return case

    @property
    def _name(self) -> str:
        return self.case.number or self.case.id

    def _open(self, verb: str) -> None:
        if self.case.state == "merged":
            raise Conflict(f"cannot {verb} {self._name}: it was merged into another case; work on that one")
        if self.case.state == "closed":
            raise Conflict(f"cannot {verb} {self._name}: it is closed; `csirt cases reopen {self._name}` first")

    def _event(self, case: str, seq: int, kind: str, data: dict[str, Any], undoes: int | None = None) -> CaseEvent:
        from csirt.model.records import CaseEvent

        return CaseEvent(
            case=case,
            seq=seq,
            time=self.now,
            actor=self.who.name,
            on_behalf=self.who.delegate,
            kind=kind,
            data=data,
            undoes=undoes,
        )

    def _add(self, kind: str, data: dict[str, Any], undoes: int | None = None) -> None:
        event = self._event(self.case.id, len(self.events) + 1, kind, data, undoes)
        self.events.append(event)
        self.fresh.append(event)
        number, created = self.case.number, self.case.created
        self.case = fold(self.events, self.case)
        self.case.number, self.case.created, self.case.updated = number, created, self.now
