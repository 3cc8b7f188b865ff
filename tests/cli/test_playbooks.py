"""`csirt playbooks`: plans that can be read, approvals by someone else, exit codes, the audit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csirt.cli import times
from csirt.model.principal import Principal
from tests.cli.desk import NOW, Room
from tests.cli.test_cases import HOSTILE, check


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    """A worm's case with its plan."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(times, "SYSTEM", type("Now", (), {"now": staticmethod(lambda: NOW)}))
    monkeypatch.chdir(tmp_path)
    made = Room(tmp_path)
    made.alarm("a", severity="critical")
    return made


def refused(room: Room) -> list[tuple[str, str]]:
    """Who was refused what."""
    return [(entry.actor, entry.action) for entry in room.store.entries if entry.category == "refused"]


def test_the_way_from_plan_to_undo(room: Room) -> None:
    """Read the plan, approve it as another, find the file, take it back; every step says the next."""
    shown = room.run("playbooks", "show", "R-2026-0001").out
    for piece in (
        "R-2026-0001  PB-WORM Worm spreading over SMB  case C-2026-0001",
        "awaits approval; requested by system",
        "deny tcp host 10.31.0.77 any eq 445",
        "Where: exporter 192.0.2.1, interface 7, member gp",
        "Precondition: The address belongs to one machine",
        "Stops: File sharing from this machine",
        "Undo: Take the lines out",
        "Holds 4 h from the approval",
        "Nothing was applied to the network",
        "csirt playbooks approve R-2026-0001",
    ):
        assert piece in " ".join(shown.split()) or piece in shown, piece
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "awaits" in shown and room.run("playbooks", "approve", "1", who="per").code == 2
    approved = room.run("playbooks", "approve", "1", "--yes", who="per")
    assert (
        approved.code == 0 and "R-2026-0001.acl" in approved.err and "csirt playbooks undo R-2026-0001" in approved.err
    )
    assert (room.config.path("outbox") / "R-2026-0001.acl").exists()
    assert room.run("playbooks", "runs").out.split("\t")[:3] == ["R-2026-0001", "done", "PB-WORM"]
    undone = room.run("playbooks", "undo", "1", "-m", "clean")
    assert undone.code == 0 and "R-2026-0001-rollback.acl" in undone.err
    changes = [(entry.actor, entry.action) for entry in room.store.entries if entry.category == "change"]
    assert changes == [("system", "playbooks.plan"), ("per", "playbooks.approve"), ("anna", "playbooks.undo")]


def test_every_document_keeps_to_its_schema(room: Room) -> None:
    """list, plan, run, runs, show, check, approve: one document each, keys sorted."""
    for words in (
        ["list"],
        ["plan", "1"],
        ["run", "PB-LATERAL", "1", "--dry-run"],
        ["runs"],
        ["show", "1"],
        ["approve", "1", "--dry-run"],
    ):
        answer = room.run("playbooks", *words, "--json", who="kari")
        assert answer.code == 0, answer.err
        check(answer.json)
        assert answer.out == json.dumps(answer.json, sort_keys=True, ensure_ascii=False) + "\n"
    assert room.run("playbooks", "runs", "--json").json["schema"] == "csirt.playbooks/1"
    done = room.run("playbooks", "approve", "1", "--yes", "--json", who="kari").json
    check(done)
    assert done["actions"][2]["expires"] == "2026-09-23T06:10:00Z"


def test_nobody_approves_their_own_request(room: Room) -> None:
    """Asking for the waiting plan makes it one's own; the try to approve it is refused and audited; another may."""
    asked = room.run("playbooks", "run", "PB-WORM", "1", who="kari")
    assert asked.code == 0 and "requested by kari" in asked.err
    own = room.run("playbooks", "approve", "1", "--yes", who="kari")
    assert own.code == 4 and "someone other" in own.err
    room.who = Principal("per", 2000, "approver", delegate="kari")
    assert room.run("playbooks", "approve", "1", "--yes").code == 4
    room.who = Principal("anna", 1000, "analyst")
    assert room.run("playbooks", "approve", "1", "--yes").code == 4
    assert refused(room) == [("kari", "playbooks.approve"), ("per", "playbooks.approve"), ("anna", "playbooks.approve")]
    assert not room.config.path("outbox").exists()
    assert room.run("playbooks", "run", "PB-WORM", "1").code == 5
    assert room.run("playbooks", "approve", "1", "--yes", who="per").code == 0


def test_an_approval_is_of_the_plan_that_was_read(room: Room) -> None:
    """The hash of an older plan is refused with exit 5, also when somebody changed the plan in between."""
    old = room.run("playbooks", "show", "1", "--json").json["plan_hash"]
    incident = room.store.documents["incident"]["incident-a"]
    incident["entities"].append({"kind": "host", "value": "10.31.0.99", "role": "actor", "member": "gp", "alert": ""})
    fresh = room.run("playbooks", "run", "PB-WORM", "1", "--json").json
    assert fresh["id"] == room.run("playbooks", "show", "1", "--json").json["id"] and fresh["plan_hash"] != old
    stale = room.run("playbooks", "approve", "1", "--hash", old, who="per")
    assert stale.code == 5 and "no longer the plan" in stale.err
    assert room.run("playbooks", "approve", "1", "--hash", fresh["plan_hash"][:8], who="per").code == 0


def test_a_playbook_can_be_run_again_after_its_end(room: Room) -> None:
    """A rejected plan stays as it was; asking again gives a new run with its own number."""
    assert room.run("playbooks", "reject", "1", who="per").code == 2
    assert room.run("playbooks", "reject", "1", "-m", "wrong host", who="per").code == 0
    again = room.run("playbooks", "run", "PB-WORM", "1", "--json").json
    assert again["number"] == "R-2026-0002" and again["state"] == "awaiting_approval"
    assert room.run("playbooks", "runs", "--state", "rejected").out.startswith("R-2026-0001")
    assert room.run("playbooks", "runs", "--case", "1").out.count("PB-WORM") == 2


def test_what_must_not_be_touched_is_refused_with_the_reason(room: Room) -> None:
    """A hospital's machine: the plan says refused, the approval has nothing to approve."""
    room.alarm("b", host="10.21.4.4")
    shown = room.run("playbooks", "show", "2").out
    assert "REFUSED by the guard" in shown and "hospital" in shown
    assert room.run("playbooks", "approve", "2", "--yes", who="per").code == 5


def test_names_that_are_not_there_exit_3(room: Room) -> None:
    """Unknown runs, playbooks and cases say what there is."""
    assert room.run("playbooks", "show", "R-2031-0001").code == 3
    assert "PB-WORM" in room.run("playbooks", "plan", "1", "PB-NONE").err
    assert room.run("playbooks", "run", "PB-WORM", "99").code == 3
    assert room.run("playbooks", "run", "PB-WORM", "@last").code == 3


def test_check_finds_problems_with_their_line(room: Room, tmp_path: Path) -> None:
    """The shipped playbooks are sound; a broken one exits 1 with file and line, in JSON too."""
    sound = room.run("playbooks", "check")
    assert sound.code == 0 and "17 playbooks" in sound.err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bad.yml").write_text("type: playbook\nname: PB-X\n")
    broken = room.run("playbooks", "check", str(tmp_path / "mine"))
    assert broken.code == 1 and "bad.yml:1:" in broken.out
    document = room.run("playbooks", "check", str(tmp_path / "mine"), "--json").json
    check(document)
    assert document["count"] >= 3


def test_hostile_text_in_a_plan_cannot_touch_the_terminal(room: Room) -> None:
    """Addresses, members and reasons that came from outside are shown, never obeyed."""
    number = room.alarm("b", host=HOSTILE)
    for words in (
        ["playbooks", "plan", number],
        ["playbooks", "show", "2"],
        ["playbooks", "runs"],
        ["cases", "show", number],
    ):
        answer = room.run(*words)
        assert answer.code == 0 and not set(answer.out) & set("\x1b\x07\x08\x9b\u202e\u200b"), words


def test_both_languages_say_everything(room: Room) -> None:
    """The catalogue has both languages with the same fields, and the screen uses them."""
    from csirt import messages

    catalogue = json.loads((Path(messages.__file__).parent / "playbooks.json").read_text("utf-8"))
    for key, both in catalogue.items():
        fields = {lang: sorted(part.split("}")[0] for part in both[lang].split("{")[1:]) for lang in ("nb", "en")}
        assert fields["nb"] == fields["en"] and all(both.values()), key
    assert "venter på godkjenning" in room.run("playbooks", "show", "1", lang="nb").out
