"""What people may do to a case, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from csirt.cases.fold import fold, summary
from csirt.cases.workflow import Desk
from csirt.errors import Conflict, NotAllowed, NotFound, Usage
from csirt.model.principal import Principal
from csirt.model.records import CaseEvent, Incident

ANNA, BO, LEAD = Principal("anna", 1, "analyst"), Principal("bo", 2, "analyst"), Principal("kari", 3, "lead")


def incident(name: str = "i1", **more: Any) -> Incident:
    """An incident with sensible fields."""
    fields: dict[str, Any] = {"first": 10, "last": 20, "severity": "high", "title": name, "alerts": ["a"], **more}
    return Incident(id=name, case="c1", **fields)


def desk(*incidents: Incident, who: Principal = ANNA, name: str = "c1") -> Desk:
    """A fresh case on somebody's desk."""
    made = incidents or (incident(),)
    events = [
        CaseEvent(
            case=name, seq=n, time=n, actor="system", kind="opened" if n == 1 else "incident_added",
            data={"incident": one.id, "summary": summary(one)},
        )
        for n, one in enumerate(made, 1)
    ]  # fmt: skip
    case = fold(events)
    case.number = {"c1": "C-2026-0001"}.get(name, "C-2026-0002")
    return Desk(case, events, who, 100)


def sit(before: Desk, who: Principal) -> Desk:
    """The next person at the same case."""
    return Desk(before.case, before.events, who, 200)


def test_the_first_to_acknowledge_owns_the_case() -> None:
    """Acknowledging takes the case; doing it twice changes nothing; somebody else may take notice too."""
    first = desk()
    assert first.ack() and not first.ack()
    assert (first.case.state, first.case.acked_by, first.case.owner) == ("acknowledged", "anna", "anna")
    second = sit(first, BO)
    assert second.ack() and (second.case.acked_by, second.case.owner) == ("bo", "anna")


def test_closing_needs_a_verdict_and_a_reason() -> None:
    """A case is never closed by accident; a closed one takes notes and nothing else."""
    one = desk()
    with pytest.raises(Usage, match="true, false, benign"):
        one.close("maybe", "Other", "r")
    with pytest.raises(Usage, match="-m REASON"):
        one.close("true", "Other", " ")
    one.close("true", "Other", "r")
    for change in (
        one.ack,
        lambda: one.assign("bo"),
        lambda: one.severity("low", ""),
        lambda: one.close("true", "O", "r"),
    ):
        with pytest.raises(Conflict, match="reopen"):
            change()
    one.note("late knowledge")
    one.reopen("more came")
    assert (one.case.state, one.case.notes, one.case.verdict) == ("open", 1, "")
    with pytest.raises(Conflict, match="not closed"):
        one.reopen("")


def test_a_stale_write_is_refused_with_both_versions_and_the_text() -> None:
    """Who decides on an old picture is told what others did since; more evidence alone is no conflict."""
    looked = desk()
    seen = looked.case.version
    other = sit(looked, BO)
    other.close("false", "Other", "test")
    late = sit(other, ANNA)
    with pytest.raises(Conflict) as error:
        late.expect(seen, "my long text")
    assert error.value.details["yours"] == 1 and error.value.details["current"] == 2
    assert error.value.details["text"] == "my long text" and "bo closed" in error.value.message
    grown = desk(incident(), incident("i2"))
    grown.expect(1)


def test_undo_takes_back_the_last_change_of_a_person() -> None:
    """Step by step, each person their own; evidence is never taken back; a lead may undo anybody's."""
    one = desk()
    with pytest.raises(Conflict, match="nothing to undo"):
        one.last_change()
    one.ack()
    one.note("called")
    one.undo(one.last_change())
    assert (one.case.notes, one.case.state) == (0, "acknowledged")
    with pytest.raises(NotAllowed, match="anna's"):
        sit(one, BO).undo(sit(one, BO).last_change())
    lead = sit(one, LEAD)
    lead.undo(lead.last_change())
    assert (lead.case.state, lead.case.owner) == ("open", "")
    with pytest.raises(Conflict):
        lead.last_change()


def test_a_merge_moves_the_incidents_and_says_so_on_both_sides() -> None:
    """Both cases have an event; the incidents point to the case that goes on; the other takes no more changes."""
    one, two = desk(), desk(incident("i2"), name="c2")
    moved = incident("i2")
    with pytest.raises(Usage, match="reason"):
        two.merge_into(one, [moved], "")
    assert two.merge_into(one, [moved], "same campaign") == [moved]
    assert moved.case == "c1" and one.case.incidents == ["i1", "i2"]
    assert (two.case.state, two.case.merged_into) == ("merged", "c1")
    with pytest.raises(Conflict, match="merged"):
        two.ack()
    with pytest.raises(Usage, match="itself"):
        one.merge_into(one, [], "r")


def test_a_split_gives_one_incident_its_own_case() -> None:
    """The rest stays; the only incident of a case cannot be split off, nor one that is not there."""
    both = [incident(), incident("i2")]
    one = desk(*both)
    opened, case = one.split(both[1], "unrelated")
    assert one.case.incidents == ["i1"] and case.incidents == ["i2"] and both[1].case == case.id == opened.case
    with pytest.raises(Conflict, match="one incident only"):
        one.split(both[0], "r")
    with pytest.raises(NotFound, match="no incident"):
        desk().split(incident("zz"), "r")


def test_severity_remembers_what_the_evidence_said() -> None:
    """An analyst's word is kept beside the evidence it overrules."""
    one = desk()
    assert one.severity("low", "only a printer") and not one.severity("low", "")
    assert one.fresh[-1].data == {"severity": "low", "from": "high", "evidence": "high", "reason": "only a printer"}
    with pytest.raises(Usage, match="informational, low"):
        one.severity("bad", "")


def test_a_delegate_is_named_beside_the_name() -> None:
    """`--as` changes count for the one named, and keep who really spoke."""
    one = desk(who=Principal("anna", 9, "analyst", delegate="root"))
    one.ack()
    assert (one.fresh[0].actor, one.fresh[0].on_behalf) == ("anna", "root")
