"""An incident and its playbooks become a plan that can be read before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt import ids
from csirt.config import Config, Respond
from csirt.content import folder
from csirt.respond.folders import load_playbooks
from csirt.respond.plan import Responder, facts, plan_hash, walk
from csirt.respond.playbook import Playbook, Step
from tests.respond.members import CASE, REGISTER, alert, incident

GP = "10.31.0.77"


@pytest.fixture(scope="module")
def responder() -> Responder:
    """The shipped playbooks with the small register."""
    return Responder(load_playbooks([folder("playbooks")])[0], register=REGISTER, config=Config())


def test_a_worm_gets_an_access_list_that_waits(responder: Responder) -> None:
    """The lines name the acting host alone, where they belong, when they end and how they are taken back."""
    plan = responder.plan(incident(GP), CASE, [alert(GP)], 99)
    (run,) = plan.runs
    assert (run.playbook, run.state, run.requested_by, run.case) == ("PB-WORM", "awaiting_approval", "system", "c1")
    (acl,) = [action for action in run.actions if action.kind == "acl"]
    assert acl.parameters["lines"] == ["deny tcp host 10.31.0.77 any eq 139", "deny tcp host 10.31.0.77 any eq 445"]
    assert acl.parameters["rollback"] == [
        "no deny tcp host 10.31.0.77 any eq 445",
        "no deny tcp host 10.31.0.77 any eq 139",
    ]
    assert (acl.parameters["exporter"], acl.parameters["interface"], acl.parameters["member"]) == ("192.0.2.1", 7, "gp")
    assert acl.containment and acl.precondition and acl.effect and acl.undo and not acl.refused
    assert acl.parameters["expiry_us"] == 4 * 3_600_000_000 and acl.expires == 0
    kinds = [action.kind for action in run.actions]
    assert kinds == ["notify", "manual", "acl", "manual", "manual", "report"]


def test_no_containment_outlasts_the_configured_time() -> None:
    """`respond.expiry` is the most a playbook can ask for; a shorter one of its own stays."""
    playbooks = load_playbooks([folder("playbooks")])[0]
    for said, held in (("20m", 20 * 60_000_000), ("7d", 4 * 3_600_000_000)):
        config = Config(respond=Respond(expiry=said))
        plan = Responder(playbooks, register=REGISTER, config=config).plan(incident(GP), CASE, [alert(GP)], 99)
        (acl,) = [action for action in plan.runs[0].actions if action.kind == "acl"]
        assert acl.parameters["expiry_us"] == held and not acl.refused


def test_a_plan_is_a_function_of_its_input(responder: Responder) -> None:
    """The same incident gives the same bytes; ids follow from playbook, incident and step; the clock has no part."""
    one = responder.plan(incident(GP), CASE, [alert(GP)], 99)
    two = responder.plan(incident(GP), CASE, [alert(GP)], 7_000)
    wall = {"created", "updated", "state_since"}
    assert one.runs[0].model_dump(exclude=wall) == two.runs[0].model_dump(exclude=wall)
    assert one.runs[0].id == ids.digest("run", "PB-WORM", "i1")
    assert [(item.id, item.step, item.outcome) for item in one.receipts] == [
        (ids.digest("receipt", one.runs[0].id, "action--page"), "action--page", "done")
    ]
    assert one.audit == two.audit and one.audit[0].subject == one.runs[0].id and one.audit[0].time == 20


def test_the_hash_binds_everything_that_would_be_done(responder: Responder) -> None:
    """Another host, port, end or text is another plan; the end that only the approval sets is not part of it."""
    run = responder.plan(incident(GP), CASE, [alert(GP)], 0).runs[0]
    other = responder.plan(incident("10.31.0.78"), CASE, [alert("10.31.0.78")], 0).runs[0]
    assert run.plan_hash != other.plan_hash
    run.actions[2].expires = 5
    assert plan_hash(run.playbook, run.incident, run.actions) == run.plan_hash
    run.actions[2].parameters["expiry_us"] += 1
    assert plan_hash(run.playbook, run.incident, run.actions) != run.plan_hash


def test_ports_come_from_what_was_seen(responder: Responder) -> None:
    """`ports: facts` stops the ports of the host's own alerts; none seen means no line, and the guard says so."""
    alerts = [
        alert(GP, playbook="PB-LATERAL", facts={"destination.port": ["5900", "3389"]}),
        alert("10.9.9.9", id="a2"),
    ]
    run = responder.plan(incident(GP), CASE, alerts[:1], 0).runs[0]
    (acl,) = [action for action in run.actions if action.kind == "acl"]
    assert acl.parameters["lines"] == ["deny tcp host 10.31.0.77 any eq 3389", "deny tcp host 10.31.0.77 any eq 5900"]
    blind = responder.plan(incident(GP), CASE, [alert(GP, playbook="PB-LATERAL", facts={})], 0).runs[0]
    (acl,) = [action for action in blind.actions if action.kind == "acl"]
    assert acl.refused and blind.state == "planned"


def test_the_worst_alerts_playbook_comes_first_and_unknown_ones_plan_nothing(responder: Responder) -> None:
    """An incident of several rules gets the playbooks its rules name, once each."""
    alerts = [
        alert(GP, id="a1", severity="medium", playbook="PB-SCAN"),
        alert(GP, id="a2", severity="critical", playbook="PB-WORM"),
        alert(GP, id="a3", severity="high", playbook="PB-NONE"),
        alert(GP, id="a4", severity="low", playbook="PB-SCAN"),
    ]
    assert [run.playbook for run in responder.plan(incident(GP), CASE, alerts, 0).runs] == ["PB-WORM", "PB-SCAN"]


def test_a_hospital_is_never_in_a_plan_that_could_be_approved(responder: Responder) -> None:
    """The guard's refusal stands in the plan, with its reason, and nothing awaits approval."""
    run = responder.plan(incident("10.21.4.4"), CASE, [alert("10.21.4.4")], 0).runs[0]
    (acl,) = [action for action in run.actions if action.kind == "acl"]
    assert "hospital" in acl.refused and run.state == "planned"


def test_many_members_in_one_plan_are_capped(responder: Responder) -> None:
    """A plan that would cut more members than the cap within the hour is cut short, with the reason."""
    config = Config()
    config.respond.members_per_hour = 2
    small = Responder(responder.playbooks, register=REGISTER, config=config)
    hosts = ("10.31.0.1", "10.32.0.1", "10.33.0.1", "10.31.0.2")
    run = small.plan(incident(*hosts), CASE, [alert(*hosts)], 0).runs[0]
    refused = {action.parameters["host"]: action.refused for action in run.actions if action.kind == "acl"}
    assert [bool(refused[host]) for host in sorted(hosts)] == [False, False, False, True]
    assert "members_per_hour is 2" in refused["10.33.0.1"]


def test_an_actor_that_is_no_address_never_becomes_any(responder: Responder) -> None:
    """A host entity with an odd value yields a refused line, not a crash and not a line that stops everybody."""
    run = responder.plan(incident("pc-17"), CASE, [alert("pc-17")], 0).runs[0]
    (acl,) = [action for action in run.actions if action.kind == "acl"]
    assert "'any'" in acl.refused


def test_conditions_and_parallels_are_walked_in_order() -> None:
    """A condition takes one branch and goes on after it; a parallel's branches follow each other; no step twice."""
    steps = [
        Step("start--a", "start", next=("if-condition--a",)),
        Step(
            "if-condition--a",
            "if-condition",
            condition="severity>=high",
            on_true="action--y",
            on_false="action--n",
            then="parallel--a",
        ),
        Step("action--y", "action", name="y"),
        Step("action--n", "action", name="n"),
        Step("parallel--a", "parallel", next=("action--1", "action--2"), then="action--y2"),
        Step("action--1", "action", name="1", next=("action--1b",)),
        Step("action--1b", "action", name="1b"),
        Step("action--2", "action", name="2", next=("action--1b",)),
        Step("action--y2", "action", name="last", next=("end--a",)),
        Step("end--a", "end"),
    ]
    playbook = Playbook("playbook--1", "PB-X", {}, "", "start--a", {step.id: step for step in steps})
    known = facts(incident(GP), [alert(GP)], REGISTER)
    assert [step.name for step in walk(playbook, known, 0)] == ["y", "1", "1b", "2", "last"]
    known["severity"] = "low"
    assert [step.name for step in walk(playbook, known, 0)] == ["n", "1", "1b", "2", "last"]


def test_facts_are_what_conditions_ask() -> None:
    """Kinds come from the register, ports from the alerts, rules also by their short name."""
    known = facts(incident(GP), [alert(GP)], REGISTER)
    assert known["kinds"] == ["dental", "gp"] and known["port"] == [445] and "NET-05" in known["rule"]


def test_language_follows_the_configuration(responder: Responder, tmp_path: Path) -> None:
    """Texts of the plan are in the configured language, both remain in the parameters."""
    config = Config(language="nb")
    run = (
        Responder(responder.playbooks, register=REGISTER, config=config)
        .plan(incident(GP), CASE, [alert(GP)], 0)
        .runs[0]
    )
    assert run.playbook_name == "Ormspredning over SMB"
    assert set(run.actions[2].parameters["text"]) == {"nb", "en"} and "Meldinger" in run.actions[2].effect
