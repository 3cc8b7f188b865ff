"""Incidents become cases: one opens a case, more evidence updates it, a merge of incidents merges their cases.

Everything here is said by `system`, at event times, so that a replay says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from csirt import ids
from csirt.cases.fold import Story, summary
from csirt.clock import MINUTE
from csirt.model.records import Case, CaseEvent, Incident
from csirt.model.severity import RANK

SYSTEM = "system"
# A mere prolongation is written when the known end moved by this much: a scan of hours is not thousands of events.
PROLONGED = 15 * MINUTE

History = Callable[[str], list[dict[str, Any]]]


def for_incidents(
    incidents: list[Incident], existing: Mapping[str, Case], at: int, history: History
) -> tuple[list[CaseEvent], list[Case]]:
    """Case events of changed incidents, and the cases after them.

    `existing`: the cases the incidents already have, by case id. `at`: now, for the cases' wall-clock times only.
    `history(case id)`: the events of a stored case, as the store gives them. Sets `incident.case`. An incident merged
    into another takes its case along; one that never had a case opens none. New alerts reopen a case closed as true;
    one closed as false or benign only when the evidence is worse than it was when it was judged.
    """
    book = Book(existing.get, at, history)
    book.take(incidents)
    return book.fresh, book.cases()


class Book:
    """The cases touched, each with its whole history. `existing(case id)`: the case as it is stored, or None.
    `wanted(case ids)`: which of them are about to be asked for. `fresh`: the events so far."""

    def __init__(
        self,
        existing: Callable[[str], Case | None],
        at: int,
        history: History,
        wanted: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        self._existing, self._wanted = existing, wanted
        self._at = at
        self._history = history
        self._stories: dict[str, Story] = {}
        self._now: dict[str, Case] = {}
        self._touched: set[str] = set()
        self.fresh: list[CaseEvent] = []

    def take(self, incidents: list[Incident]) -> dict[str, Case]:
        """What changed incidents mean; the cases they touched, by id, as they are now."""
        self._touched = set()
        ordered = sorted(incidents, key=lambda one: (one.first, one.id))
        names = [incident.case or ids.case(incident.id) for incident in ordered]
        self._wanted(names)
        merged = []
        for incident, name in zip(ordered, names, strict=True):
            if incident.merged_into:
                merged.append(incident)
            else:
                self._take(incident, name)
        by_id = {incident.id: incident for incident in incidents} if merged else {}
        for incident in merged:
            self._merge(incident, by_id.get(incident.merged_into))
        now = {name: self._folded(name) for name in sorted(self._touched)}
        self._now |= now
        return now

    def cases(self) -> list[Case]:
        """The touched cases after their events, the most severe first: they get their numbers in this order."""
        return sorted(self._now.values(), key=lambda case: (-RANK[case.severity], case.first, case.id))

    def _folded(self, name: str) -> Case:
        case = self._stories[name].case(self._existing(name))
        fields = vars(case)
        fields["created"], fields["updated"] = case.created or self._at, self._at
        return case

    def _take(self, incident: Incident, name: str) -> None:
        """Open the incident's case, the one of that name, or tell it what is new."""
        story = self._of(name)
        if incident.case and story.merged_into:
            name = self._home(name)
            story = self._of(name)
        vars(incident)["case"] = name
        now = summary(incident)
        if not story.events:
            self._add(story, name, incident.last, "opened", {"incident": incident.id, "summary": now})
            return
        before = story.parts.get(incident.id)
        if before is None:
            self._add(story, name, incident.last, "incident_added", {"incident": incident.id, "summary": now})
        elif _worth_saying(before, now):
            self._add(story, name, incident.last, "incident_updated", {"incident": incident.id, "summary": now})
        else:
            return
        if story.state == "closed":
            self._reopen(story, name, incident.last, before, now)

    def _merge(self, younger: Incident, older: Incident | None) -> None:
        """The younger incident went into the older: so does its case, unless people already put both in one."""
        if older is None or not older.case:
            return
        had, younger.case = younger.case, older.case
        if not had:
            return
        had = self._home(had)
        if had == older.case or not self._of(had).events:
            return
        moved = self._of(had).parts
        others = {key: part for key, part in moved.items() if key != younger.id}
        if others:
            # Other incidents of that case stay there; only this one moves.
            self._add(self._of(had), had, older.last, "split", {"incident": younger.id, "into": older.case})
            return
        self._add(self._of(had), had, older.last, "merged", {"into": older.case})
        self._add(self._of(older.case), older.case, older.last, "merged", {"from": had, "summaries": {}})

    def _reopen(self, story: Story, name: str, time: int, before: dict[str, Any] | None, now: dict[str, Any]) -> None:
        """Open a closed case again where the new evidence asks for it."""
        fresh = now["alerts"] > (before or {"alerts": 0})["alerts"]
        worse = before is None or RANK[now["severity"]] > RANK[before["severity"]]
        if worse or (fresh and story.verdict == "true"):
            self._add(story, name, time, "reopened", {"reason": "new evidence", "evidence": True})

    def _home(self, name: str) -> str:
        """The case a case was merged into, at the end of the chain."""
        seen = {name}
        while True:
            into = self._of(name).merged_into
            if not into or into in seen:
                return name
            seen.add(into)
            name = into

    def _of(self, name: str) -> Story:
        story = self._stories.get(name)
        if story is None:
            story = self._stories[name] = Story([CaseEvent.model_validate(event) for event in self._history(name)])
        return story

    def _add(self, story: Story, name: str, time: int, kind: str, data: dict[str, Any]) -> None:
        seq = len(story.events) + 1
        event = CaseEvent.trusted(
            {
                "case": name,
                "seq": seq,
                "time": time,
                "actor": SYSTEM,
                "on_behalf": "",
                "kind": kind,
                "data": data,
                "undoes": None,
            }
        )
        story.add(event)
        self._touched.add(name)
        self.fresh.append(event)


def _worth_saying(before: dict[str, Any], now: dict[str, Any]) -> bool:
    if now["alerts"] != before["alerts"] or now["last"] - before["last"] >= PROLONGED:
        return True
    return any(before.get(key) != value for key, value in now.items() if key != "last")
