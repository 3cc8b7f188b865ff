"""A case is the fold of its events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.cases.fold import fold, parts, summary
from csirt.model.records import CaseEvent, Incident


def incident(name: str = "i1", **more: Any) -> Incident:
    """An incident with sensible fields."""
    fields: dict[str, Any] = {"first": 10, "last": 20, "severity": "high", "title": f"title {name}", **more}
    return Incident(id=name, **fields)


def events(*items: tuple[str, str, dict[str, Any]], undoes: dict[int, int] | None = None) -> list[CaseEvent]:
    """Events of one case: (actor, kind, data) in order."""
    return [
        CaseEvent(case="c1", seq=n, time=n, actor=actor, kind=kind, data=data, undoes=(undoes or {}).get(n))
        for n, (actor, kind, data) in enumerate(items, 1)
    ]


def brings(one: Incident, kind: str = "opened") -> tuple[str, str, dict[str, Any]]:
    """A system event that brings an incident."""
    return "system", kind, {"incident": one.id, "summary": summary(one)}


def test_a_case_shows_the_worst_of_its_incidents() -> None:
    """Severity and title come from the worst incident, members and alerts from all of them."""
    low = incident("i1", severity="low", members=["a", "b"], alerts=["1", "2"])
    high = incident("i2", severity="high", members=["b", "c"], alerts=["3"], first=5, last=99, clinical=True, rsit="X")
    case = fold(events(brings(low), brings(high, "incident_added")))
    assert (case.severity, case.title, case.members, case.alerts) == ("high", "title i2", ["a", "b", "c"], 3)
    assert (case.first, case.last, case.clinical, case.rsit, case.version) == (5, 99, True, "X", 2)


def test_new_alerts_after_the_acknowledgement_are_counted() -> None:
    """`news` says how many alerts joined since somebody last looked; another look clears it."""
    one, more = incident(alerts=["1"]), incident(alerts=["1", "2", "3"])
    seen = events(brings(one), ("anna", "acked", {}), brings(more, "incident_updated"))
    assert fold(seen).news == 2
    again = events(brings(one), ("anna", "acked", {}), brings(more, "incident_updated"), ("bo", "acked", {}))
    assert (fold(again).news, fold(again).acked_by, fold(again).owner) == (0, "bo", "anna")


def test_an_analysts_severity_stands_until_worse_evidence() -> None:
    """What the analyst said holds against more of the same, and gives way to evidence worse than it was then."""
    said = ("anna", "severity", {"severity": "low", "evidence": "high"})
    same = brings(incident(alerts=["1", "2"]), "incident_updated")
    worse = brings(incident(severity="critical"), "incident_updated")
    assert fold(events(brings(incident()), said, same)).severity == "low"
    assert fold(events(brings(incident()), said, worse)).severity == "critical"


def test_undone_events_do_not_count() -> None:
    """Taking back a closing gives the case as it was, and keeps both events."""
    items = [
        brings(incident()),
        ("anna", "acked", {}),
        ("anna", "closed", {"verdict": "true", "rsit": "X", "reason": "r"}),
    ]
    closed = fold(events(*items))
    assert (closed.state, closed.verdict, closed.rsit) == ("closed", "true", "X")
    back = fold(events(*items, ("anna", "undone", {}), undoes={4: 3}))
    assert (back.state, back.verdict, back.rsit, back.version) == ("acknowledged", "", "", 4)


def test_a_merge_takes_the_incidents_along() -> None:
    """The case merged into holds both; the other points to it."""
    into = fold(
        events(brings(incident()), ("anna", "merged", {"from": "c2", "summaries": {"i2": summary(incident("i2"))}}))
    )
    gone = fold(events(brings(incident("i2")), ("anna", "merged", {"into": "c9"})))
    assert into.incidents == ["i1", "i2"] and (gone.state, gone.merged_into) == ("merged", "c9")


def test_a_list_without_an_opening_is_refused() -> None:
    """Events from the middle of a case are never folded as if they were all."""
    with pytest.raises(ValueError, match="first event"):
        fold(events(("anna", "acked", {})))


KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("anna", "acked", {}),
    ("bo", "assigned", {"owner": "bo"}),
    ("anna", "noted", {"text": "t"}),
    ("anna", "severity", {"severity": "low", "evidence": "high"}),
    ("anna", "closed", {"verdict": "false", "rsit": "X", "reason": "r"}),
    ("bo", "reopened", {"reason": ""}),
    brings(incident(alerts=["1", "2"]), "incident_updated"),
    brings(incident("i2", severity="critical"), "incident_added"),
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(KINDS), max_size=8), st.data())
def test_undoing_equals_never_having_happened(items: list[tuple[str, str, dict[str, Any]]], data: Any) -> None:
    """Any history with one event taken back folds to the case without that event, apart from the version."""
    chosen = data.draw(st.integers(0, len(items)))
    whole = [brings(incident()), *items]
    if chosen == 0:
        return
    back = fold(events(*whole, ("anna", "undone", {}), undoes={len(whole) + 1: chosen + 1}))
    without = fold(events(*(item for n, item in enumerate(whole) if n != chosen)))
    assert back.model_dump(exclude={"version"}) == without.model_dump(exclude={"version"})


def test_parts_are_the_last_known_summaries() -> None:
    """The next update is compared with what the case last said of its incident."""
    newer = incident(alerts=["1", "2"])
    assert parts(events(brings(incident()), brings(newer, "incident_updated"))) == {"i1": summary(newer)}
