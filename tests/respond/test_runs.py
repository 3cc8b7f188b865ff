"""Approvals by someone else, effects with intent and outcome, undo and expiry."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from csirt.clock import HOUR
from csirt.config import Config
from csirt.content import folder
from csirt.errors import Conflict, CsirtError, NotAllowed, Usage
from csirt.model.principal import Principal
from csirt.model.records import Run
from csirt.respond import runs
from csirt.respond.folders import load_playbooks
from csirt.respond.plan import Responder
from csirt.stores.base import Commit
from tests.cases.fake import FakeStore
from tests.respond.members import CASE, REGISTER, alert, incident

NOW = 1_763_900_000_000_000
APPROVER = Principal("per", 7, "approver")
ANNA = Principal("anna", 8, "lead")
PLAYBOOKS = load_playbooks([folder("playbooks")])[0]


class Room:
    """A store with one planned run, and what is needed to work on it."""

    def __init__(self, folder: Path, host: str = "10.31.0.77", **respond: Any) -> None:
        self.config = Config(state=str(folder))
        for key, value in respond.items():
            setattr(self.config.respond, key, value)
        self.responder = Responder(PLAYBOOKS, register=REGISTER, config=self.config)
        self.store: Any = FakeStore()
        plan = self.responder.plan(incident(host), CASE, [alert(host)], NOW)
        self.store.commit(Commit(runs=plan.runs, receipts=plan.receipts))
        self.store.documents["case"][CASE.id] = CASE.model_dump()
        self.outbox = self.config.path("outbox")

    def run(self) -> Run:
        """The run as stored."""
        return Run.model_validate(next(iter(self.store.documents["run"].values())))

    def approve(self, who: Principal = APPROVER, now: int = NOW, plan_hash: str = "") -> Run:
        """Approve the stored run."""
        return runs.approve(self.store, self.config, self.responder.guard, self.run(), who, now, plan_hash)

    def outcomes(self) -> dict[str, str]:
        """Effect and outcome of every receipt that is no note or notice."""
        rows = self.store.documents["receipt"].values()
        return {row["effect"]: row["outcome"] for row in rows if row["effect"] in ("acl", "rollback")}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """A worm's plan that waits."""
    return Room(tmp_path)


def test_an_approval_writes_the_text_for_a_person(room: Room) -> None:
    """The file is the daemon's user's alone, whole, and says host, end, place and rollback."""
    run = room.approve()
    (path,) = room.outbox.iterdir()
    text = path.read_text()
    assert path.name == "R-2026-0001.acl" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "deny tcp host 10.31.0.77 any eq 445\n" in text and "!   no deny tcp host 10.31.0.77 any eq 445\n" in text
    assert "! exporter 192.0.2.1, interface 7, member gp" in text and "C-2026-0001" in text and run.plan_hash in text
    assert (run.state, run.approvals, room.outcomes()) == ("done", ["per"], {"acl": "done"})
    assert all(action.expires == NOW + 4 * HOUR for action in run.actions if action.containment)
    (entry,) = room.store.entries
    assert (entry.actor, entry.action, entry.subject, entry.detail["plan_hash"]) == (
        "per",
        "playbooks.approve",
        run.id,
        run.plan_hash,
    )


def test_nobody_approves_what_they_asked_for(room: Room) -> None:
    """Not the requester, not the requester acting for another, and nothing is written."""
    run = room.run()
    run.requested_by = "per"
    room.store.commit(Commit(runs=[run]))
    for who in (APPROVER, Principal("kari", 7, "lead", delegate="per")):
        with pytest.raises(NotAllowed, match="requested by per"):
            room.approve(who)
    assert not room.outbox.exists() and room.run().state == "awaiting_approval"
    assert room.approve(ANNA).state == "done"


def test_an_approval_binds_the_plan_that_was_read(room: Room) -> None:
    """Another hash than the plan's is a conflict; so is approving twice."""
    with pytest.raises(Conflict, match="no longer the plan"):
        room.approve(plan_hash="ffff")
    room.approve(plan_hash=room.run().plan_hash[:12])
    with pytest.raises(Conflict, match="only a plan that awaits"):
        room.approve(ANNA)


def test_the_guard_is_asked_again_at_the_approval(tmp_path: Path) -> None:
    """What became untouchable since the plan was made is refused then; the cap counts the last hour's approvals."""
    room = Room(tmp_path / "a")
    room.responder.guard = Responder(
        PLAYBOOKS, register=REGISTER, config=Room(tmp_path / "b", never_touch=["gp"]).config
    ).guard
    with pytest.raises(NotAllowed, match="guard refuses every action"):
        room.approve()
    capped = Room(tmp_path / "c", members_per_hour=1)
    capped.approve()
    plan = capped.responder.plan(incident("10.32.0.5", id="i2"), CASE, [alert("10.32.0.5")], NOW)
    capped.store.commit(Commit(runs=plan.runs))
    second = Run.model_validate(capped.store.documents["run"][plan.runs[0].id])
    with pytest.raises(NotAllowed, match="members_per_hour is 1"):
        runs.approve(capped.store, capped.config, capped.responder.guard, second, APPROVER, NOW + 1)
    later = Run.model_validate(capped.store.documents["run"][plan.runs[0].id])
    done = runs.approve(capped.store, capped.config, capped.responder.guard, later, APPROVER, NOW + 2 * HOUR)
    assert done.state == "done"


def test_a_crash_between_intent_and_outcome_is_settled(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intent is committed before the file; after a restart the file is written and the outcome recorded, once."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.outbox, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        room.approve()
    assert room.run().state == "approved" and room.outcomes() == {"acl": ""}
    monkeypatch.undo()
    assert runs.expire(room.store, room.config, NOW + 1) == []  # whoever approves may be at it
    assert [run.state for run in runs.expire(room.store, room.config, NOW + runs.CUT_OFF)] == ["done"]
    assert room.outcomes() == {"acl": "done"} and (room.outbox / "R-2026-0001.acl").exists()
    assert runs.expire(room.store, room.config, NOW + runs.CUT_OFF + 1) == []


def test_a_full_disk_fails_loudly(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file cannot be written the run and its receipt say failed, and so does the caller."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.outbox, "write", full)
    with pytest.raises(CsirtError, match="No space left"):
        room.approve()
    assert room.run().state == "failed" and room.outcomes() == {"acl": "failed"}


def test_undo_writes_the_rollback(room: Room) -> None:
    """The rollback file takes back exactly the lines that were out; undoing twice is a conflict."""
    room.approve()
    run = runs.undo(room.store, room.config, room.run(), ANNA, NOW + 5, "wrong machine")
    text = (room.outbox / "R-2026-0001-rollback.acl").read_text()
    assert "no deny tcp host 10.31.0.77 any eq 445\n" in text and "undone by anna: wrong machine" in text
    assert run.state == "undone" and room.outcomes() == {"acl": "undone", "rollback": "done"}
    with pytest.raises(Conflict, match="nothing to undo"):
        runs.undo(room.store, room.config, room.run(), ANNA, NOW + 6, "")


def test_containment_ends_by_itself(room: Room) -> None:
    """At its end the run is expired and the reminder to take it back is in the outbox; not before, and once."""
    room.approve()
    assert runs.expire(room.store, room.config, NOW + 4 * HOUR - 1) == []
    assert [run.state for run in runs.expire(room.store, room.config, NOW + 4 * HOUR)] == ["expired"]
    assert "expired: take it back now" in (room.outbox / "R-2026-0001-rollback.acl").read_text()
    assert room.outcomes() == {"acl": "expired", "rollback": "done"}
    assert runs.expire(room.store, room.config, NOW + 9 * HOUR) == []


def test_a_rejection_needs_a_reason(room: Room) -> None:
    """A plan turned down says why, and cannot be approved any more."""
    with pytest.raises(Usage, match="-m REASON"):
        runs.reject(room.store, room.run(), APPROVER, NOW, "")
    runs.reject(room.store, room.run(), APPROVER, NOW, "it is the approved scanner")
    with pytest.raises(Conflict, match="is rejected"):
        room.approve()
    with pytest.raises(Conflict, match="can be rejected"):
        runs.reject(room.store, room.run(), APPROVER, NOW, "again")
