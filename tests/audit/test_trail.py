"""Every change leaves exactly one change entry, every refused try exactly one refusal, every look one access entry."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt.app import App
from csirt.configfile import load
from csirt.control import verbs
from csirt.control.verbs import Context, call
from csirt.demo.network import register
from csirt.errors import CsirtError, NotAllowed
from csirt.model.audit import AuditEntry
from csirt.model.principal import RIGHTS, Principal
from tests.corpus import make

KARI, OLA = Principal("kari", 1001, "lead"), Principal("ola", 1002, "lead")


class Desk:
    """A store with cases and plans, and people at it."""

    def __init__(self, app: App) -> None:
        self.app = app

    def ask(self, who: Principal, verb: str, **arguments: Any) -> Any:
        """Run a verb as somebody; streams are read to their end."""
        answer = call(Context(self.app.store, self.app.config, who, self.app.clock, self.app.part), verb, arguments)
        return list(answer) if isinstance(answer, Iterator) else answer

    def entries(self, since: int = 0) -> list[AuditEntry]:
        """Audit entries after a sequence number."""
        return list(self.app.store.audit(since))

    @property
    def last(self) -> int:
        """The newest sequence number."""
        return max((entry.seq for entry in self.entries()), default=0)

    def left(self, who: Principal, verb: str, **arguments: Any) -> list[AuditEntry]:
        """What running a verb leaves in the audit."""
        before = self.last
        self.ask(who, verb, **arguments)
        return self.entries(before)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Made by replay; with a register that may be replaced, and a contact."""
    inputs = make(tmp_path_factory.mktemp("inputs"), flows=200)
    store = tmp_path_factory.mktemp("store") / "store"
    text = inputs.config.read_text().replace("[decode]", '[control.users]\nkari = "lead"\nola = "lead"\n[decode]')
    inputs.config.write_text(text)
    words = [sys.executable, "-m", "csirt", "replay", *map(str, inputs.files), "--config", str(inputs.config)]
    subprocess.run([*words, "--store", str(store)], check=True, capture_output=True)
    app = App(load(inputs.config), store_directory=store)
    yield Desk(app)
    app.close()


def changes(desk: Desk) -> list[tuple[str, Principal, dict[str, Any]]]:
    """Every command that changes something, in an order in which each can be done."""
    cases = [case["id"] for case in desk.ask(KARI, "cases.list")["items"]]
    assert len(cases) >= 2
    runs = [run for run in desk.ask(KARI, "playbooks.runs")["items"] if run["state"] == "awaiting_approval"]
    assert len(runs) >= 2
    one = [cases[0]]
    return [
        ("cases.ack", KARI, {"cases": one}),
        ("cases.assign", KARI, {"cases": one, "owner": "ola"}),
        ("cases.note", OLA, {"cases": one, "text": "ringte legekontoret"}),
        ("cases.severity", OLA, {"cases": one, "to": "low", "reason": "kjent"}),
        ("cases.undo", OLA, {"cases": one}),
        ("cases.close", OLA, {"cases": one, "verdict": "false", "rsit": "Other", "reason": "prøve"}),
        ("cases.reopen", KARI, {"cases": one, "reason": "likevel"}),
        ("cases.merge", KARI, {"cases": [cases[1]], "into": cases[0], "reason": "samme"}),
        ("cases.undo", KARI, {"cases": [cases[1]]}),
        ("notify.silence", KARI, {"filter": "member:m101", "until": "2h", "message": "vedlikehold"}),
        ("playbooks.reject", OLA, {"run": runs[0]["id"], "reason": "ikke nå"}),
        ("playbooks.approve", OLA, {"run": runs[1]["id"]}),
        ("playbooks.undo", KARI, {"run": runs[1]["id"], "reason": "ferdig"}),
        ("members.import", Principal("drift", 1003, "operator"),
         {"text": register() + "\n# ny\n", "name": "register.yml", "reason": "oppdatert"}),
        ("audit.seal", Principal("revisor", 1004, "auditor"), {}),
    ]  # fmt: skip


def test_every_change_leaves_one_entry(desk: Desk) -> None:
    """Who, what and on what, once; and a change that is only tried out leaves none."""
    for verb, who, arguments in changes(desk):
        left = desk.left(who, verb, **arguments)
        made = [entry for entry in left if entry.category in ("change", "operation")]
        assert len(made) == 1, (verb, left)
        assert made[0].actor == who.name and made[0].action == verb, made
        assert not [entry for entry in left if entry.category == "refused"]
        if verb.startswith(("cases.", "playbooks.")):
            assert made[0].category == "change" and made[0].subject, verb


def test_trying_out_changes_nothing(desk: Desk) -> None:
    """`--dry-run` leaves neither a change nor an entry that says there was one."""
    cases = [case["id"] for case in desk.ask(KARI, "cases.list")["items"]]
    tried = {
        "cases.ack": {}, "cases.assign": {"owner": "ola"}, "cases.note": {"text": "x"},
        "cases.severity": {"to": "low", "reason": "x"},
        "cases.close": {"verdict": "benign", "rsit": "Other", "reason": "x"},
    }  # fmt: skip
    for verb, arguments in tried.items():
        before = desk.app.store.get("case", cases[-1])
        left = desk.left(KARI, verb, cases=cases[-1:], dry_run=True, **arguments)
        assert not [entry for entry in left if entry.category == "change"], (verb, left)
        assert desk.app.store.get("case", cases[-1]) == before


def registered() -> list[verbs.Verb]:
    """Every verb there is."""
    for module in pkgutil.iter_modules(verbs.__path__):
        importlib.import_module(f"{verbs.__name__}.{module.name}")
    return [verbs.find(name) for name in sorted(verbs._VERBS)]


def test_every_refused_try_leaves_one_entry(desk: Desk) -> None:
    """Each verb, asked for by each role that may not: refused before anything is looked at, and on record once."""
    tried = 0
    roles = sorted({role for held in RIGHTS.values() for role in held} | {"none"})
    for verb in registered():
        for role in roles:
            if role in RIGHTS[verb.right]:
                continue
            who = Principal(f"user-{role}", 2000, role)
            before = desk.last
            with pytest.raises(NotAllowed):
                desk.ask(who, verb.name)
            left = desk.entries(before)
            assert [(entry.category, entry.action, entry.actor) for entry in left] == [
                ("refused", verb.name, who.name)
            ], (verb.name, role, left)
            tried += 1
    assert tried > 150


def test_the_requester_who_approves_leaves_one_refusal(desk: Desk) -> None:
    """Four eyes: the try is refused, once on record, and the plan still waits."""
    case = desk.ask(KARI, "cases.list")["items"][0]["id"]
    requested = desk.ask(KARI, "playbooks.run", playbook="PB-LATERAL", case=case)
    before = desk.last
    with pytest.raises(NotAllowed):
        desk.ask(KARI, "playbooks.approve", run=requested["id"])
    [entry] = desk.entries(before)
    assert (entry.category, entry.actor, entry.action) == ("refused", "kari", "playbooks.approve")
    state = next(run["state"] for run in desk.ask(OLA, "playbooks.runs")["items"] if run["id"] == requested["id"])
    assert state == "awaiting_approval"


def test_looking_leaves_one_access_entry(desk: Desk) -> None:
    """Cases, alerts, events, traces and reports: who, which question, how many rows."""
    case = desk.ask(KARI, "cases.list")["items"][0]
    alert = desk.ask(KARI, "alerts.list")["items"][0]["id"]
    looks: dict[str, dict[str, Any]] = {
        "cases.list": {}, "cases.show": {"case": case["id"]}, "alerts.list": {}, "alerts.show": {"id": alert},
        "events.query": {"dataset": "mail"}, "events.top": {"fields": ["source.ip"]},
        "events.sql": {"text": "SELECT count(*) AS n FROM flow"}, "playbooks.runs": {},
        "messages.pending": {"since": "2025-01-01T00:00Z"},
        "report.build": {"case": case["id"], "member": case["members"][0]}, "report.list": {}, "cases.handover": {},
    }  # fmt: skip
    for verb, arguments in looks.items():
        left = desk.left(OLA, verb, **arguments)
        seen = [entry for entry in left if entry.category == "access"]
        assert [(entry.actor, entry.action) for entry in seen] == [("ola", verb)], (verb, left)
        assert "rows" in seen[0].detail and "arguments" in seen[0].detail, verb


def test_what_fails_leaves_no_change(desk: Desk, tmp_path: Path) -> None:
    """A command that is refused as wrong, stale or unknown changes nothing and says nothing was changed."""
    case = desk.ask(KARI, "cases.list")["items"][0]["id"]
    desk.ask(KARI, "cases.note", cases=[case], text="endret siden")
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("cases.ack", {"cases": ["C-1999-0001"]}),
        ("cases.ack", {"cases": [case], "version": 0}),
        ("cases.severity", {"cases": [case], "to": "enormous", "reason": "x"}),
        ("cases.close", {"cases": [case], "verdict": "true", "rsit": "No/Such", "reason": "x"}),
        ("playbooks.approve", {"run": "R-1999-0001"}),
        ("notify.silence", {"filter": "((", "until": "2h", "message": "x"}),
    ]
    for verb, arguments in wrong:
        before = desk.last
        try:
            answer = desk.ask(OLA, verb, **arguments)
        except CsirtError:
            answer = {}
        assert not answer.get("changed"), (verb, answer)
        assert not [entry for entry in desk.entries(before) if entry.category == "change"], verb
