"""Incidents open, update, merge and reopen cases."""

from __future__ import annotations

from typing import Any

from csirt import ids
from csirt.cases.open import PROLONGED, for_incidents
from csirt.model.records import Case, CaseEvent, Incident
from csirt.stores.base import Commit
from tests.cases.fake import FakeStore

ANNA = "anna"


def incident(name: str, **more: Any) -> Incident:
    """An incident with sensible fields."""
    fields: dict[str, Any] = {
        "first": 10,
        "last": 20,
        "severity": "high",
        "title": f"title {name}",
        "alerts": ["a"],
        **more,
    }
    return Incident(id=name, **fields)


def step(store: FakeStore, *incidents: Incident) -> list[CaseEvent]:
    """What the pipeline does with changed incidents."""
    existing = {
        name: Case.model_validate(store.documents["case"][name])
        for name in {one.case for one in incidents} & set(store.documents["case"])
    }
    events, cases = for_incidents(list(incidents), existing, 1_000, store.case_events)
    store.commit(Commit(incidents=list(incidents), case_events=events, cases=cases))
    return events


def say(store: FakeStore, case: str, kind: str, data: dict[str, Any]) -> None:
    """A person's event, folded and committed."""
    from csirt.cases.fold import fold

    event = CaseEvent(case=case, seq=len(store.history[case]) + 1, time=50, actor=ANNA, kind=kind, data=data)
    stored = Case.model_validate(store.documents["case"][case])
    store.commit(Commit(case_events=[event], cases=[fold([*store.history[case], event], stored)]))


def test_an_incident_opens_one_case_with_a_number() -> None:
    """The case's id follows from the incident, its number from the commit."""
    store = FakeStore()
    one = incident("i1")
    (event,) = step(store, one)
    case = store.documents["case"][ids.case("i1")]
    assert (one.case, event.kind, event.actor, event.time) == (case["id"], "opened", "system", 20)
    assert (case["number"], case["version"], case["created"]) == ("C-2026-0001", 1, 1_000)


def test_an_update_without_news_says_nothing() -> None:
    """The same incident again, or one that merely goes on for a while, adds no event; a long prolongation does."""
    store = FakeStore()
    step(store, incident("i1"))
    name = ids.case("i1")
    assert step(store, incident("i1", case=name, last=21)) == []
    assert [event.kind for event in step(store, incident("i1", case=name, last=20 + PROLONGED))] == ["incident_updated"]
    (event,) = step(store, incident("i1", case=name, last=20 + PROLONGED, alerts=["a", "b"]))
    assert event.kind == "incident_updated" and store.documents["case"][name]["alerts"] == 2


def test_merged_incidents_merge_their_cases() -> None:
    """The younger case points to the older, whose events say where it came from."""
    store = FakeStore()
    step(store, incident("i1"), incident("i2", first=11))
    one, two = ids.case("i1"), ids.case("i2")
    older = incident("i1", case=one, alerts=["a", "b"], aliases=["i2"])
    events = step(store, older, incident("i2", case=two, first=11, merged_into="i1"))
    assert [(event.case, event.kind) for event in events] == [
        (one, "incident_updated"),
        (two, "merged"),
        (one, "merged"),
    ]
    assert store.documents["case"][two]["state"] == "merged"
    assert store.documents["incident"]["i2"]["case"] == one


def test_an_incident_merged_at_birth_opens_no_case() -> None:
    """Two incidents that became one within a step are one case."""
    store = FakeStore()
    step(store, incident("i1", aliases=["i2"]), incident("i2", first=11, merged_into="i1"))
    assert list(store.documents["case"]) == [ids.case("i1")]


def test_evidence_for_a_merged_case_goes_to_where_it_went() -> None:
    """An incident whose case people merged into another updates that other case."""
    store = FakeStore()
    step(store, incident("i1"), incident("i2", first=11))
    one, two = ids.case("i1"), ids.case("i2")
    say(store, two, "merged", {"into": one})
    from csirt.cases.fold import summary

    say(store, one, "merged", {"from": two, "summaries": {"i2": summary(incident("i2", first=11))}})
    late = incident("i2", case=two, first=11, alerts=["a", "b"])
    (event,) = step(store, late)
    assert (event.case, event.kind, late.case) == (one, "incident_updated", one)


def test_closed_cases_reopen_by_their_verdict() -> None:
    """New alerts reopen a true case; a false one only when it gets worse; reopening asks for a new look."""
    for verdict, more, kinds in (
        ("true", {"alerts": ["a", "b"]}, ["incident_updated", "reopened"]),
        ("false", {"alerts": ["a", "b"]}, ["incident_updated"]),
        ("benign", {"severity": "critical"}, ["incident_updated", "reopened"]),
        ("true", {"title": "other words"}, ["incident_updated"]),
    ):
        store = FakeStore()
        step(store, incident("i1"))
        name = ids.case("i1")
        say(store, name, "acked", {})
        say(store, name, "closed", {"verdict": verdict, "rsit": "X", "reason": "r"})
        events = step(store, incident("i1", case=name, **more))
        assert [event.kind for event in events] == kinds, verdict
        state = store.documents["case"][name]
        assert (state["state"], state["acked_by"]) == (("open", "") if "reopened" in kinds else ("closed", ANNA))
