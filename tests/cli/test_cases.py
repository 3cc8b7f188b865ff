"""`csirt cases`: the screens, the changes with their undo, addressing, exit codes, hostile text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from csirt import messages
from csirt.cli import times
from csirt.content import folder
from csirt.errors import Conflict
from csirt.stores.base import Commit
from tests.cli.desk import MINUTE, NOW, Room

SCHEMAS = folder("rules").parent / "csirt" / "schemas"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    """An empty store, a home of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(times, "SYSTEM", type("Now", (), {"now": staticmethod(lambda: NOW)}))
    monkeypatch.chdir(tmp_path)
    return Room(tmp_path)


def check(document: dict[str, Any]) -> None:
    """A document keeps to its schema file."""
    name = document["schema"].removeprefix("csirt.").replace("/", "-")
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    _valid(document, schema, name)


def _valid(value: Any, schema: dict[str, Any], where: str) -> None:
    """The part of JSON Schema the files use."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    if "const" in schema:
        assert value == schema["const"], where
    if "enum" in schema:
        assert value in schema["enum"], where
    if "type" in schema:
        wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert any(type(value) is kinds[kind] for kind in wanted), (where, value)
    if isinstance(value, dict):
        assert set(schema.get("required", [])) <= set(value), (where, set(schema["required"]) - set(value))
        if schema.get("additionalProperties") is False:
            assert set(value) <= set(schema["properties"]), (where, set(value) - set(schema["properties"]))
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                _valid(value[key], inner, f"{where}.{key}")
    if isinstance(value, list) and "items" in schema:
        for item in value:
            _valid(item, schema["items"], f"{where}[]")


def test_the_queue_is_the_most_urgent_first(room: Room) -> None:
    """`csirt` and `csirt cases list` are the same lines, tab-separated off a terminal, worst first."""
    low, high = room.alarm("a", severity="low"), room.alarm("b", severity="critical", clinical=True)
    listed = room.run("cases", "list")
    assert (listed.code, listed.err) == (0, "")
    lines = [line.split("\t") for line in listed.out.splitlines()]
    assert [line[0] for line in lines] == [high, low] and all(len(line) == 10 for line in lines)
    assert room.run().out == listed.out


def test_the_json_documents_keep_to_their_schemas(room: Room) -> None:
    """List, show, next, a change and the hand-over; keys sorted, times UTC with Z; the same bytes twice."""
    number = room.alarm("a")
    room.run("cases", "ack", number)
    room.run("cases", "note", number, "-m", "called")
    room.alarm("b", host="10.32.0.5")
    for words in (["list"], ["show", number], ["next"], ["handover"], ["ack", number, "--dry-run"]):
        answer = room.run("cases", *words, "--json")
        assert answer.code == 0, answer.err
        check(answer.json)
        assert answer.out == json.dumps(answer.json, sort_keys=True, ensure_ascii=False) + "\n"
        assert room.run("cases", *words, "--json").out == answer.out
    item = room.run("cases", "list", "--json").json["items"][0]
    assert item["first"] == "2026-09-23T01:58:00Z" and item["urgency"]["reasons"][0]["reason"] == "severity"


def test_the_screen_of_a_case_answers_the_questions_of_the_night(room: Room) -> None:
    """What, who with telephone kind, since when with zone, why, evidence, doubt, done, plan, on call, next three."""
    number = room.alarm("a", severity="critical", clinical=True)
    screen = room.run("cases", "show", number)
    assert screen.code == 0, screen.err
    for piece in (
        f"P1 critical  {number}  open, unowned",
        "NET-05 SMB worm fan-out: Gp -> Dental",
        "SINCE     03:58 CEST, 12 min ago\n",
        "last 04:06 CEST, 4 min ago\n",
        "Gp (gp, gp)",
        "first alert",
        "x25",
        "10.31.0.77 -> 10.32.0.1, 10.32.0.2, 10.32.0.3 +5",
        "destination.port 445",
        "only one rule matched",
        "R-2026-0001 PB-WORM: awaits approval",
        "deny tcp host 10.31.0.77 any eq 445",
        "nobody: no notification route takes the case",
        f"NEXT      csirt cases ack {number}",
        "csirt playbooks show R-2026-0001",
    ):
        assert piece in screen.out, piece
    assert all(len(line) <= 80 for line in screen.out.splitlines())
    assert "UTC" in room.run("cases", "show", number, "--utc").out


def test_the_screen_reads_in_bokmaal(room: Room) -> None:
    """The same screen in the other language, from one catalogue; no English sentence is left."""
    number = room.alarm("a")
    screen = room.run("cases", "show", number, lang="nb").out
    for piece in (
        "åpen, uten eier",
        "12 min siden",
        "HVORFOR",
        "første varsel",
        "bare én regel slo til",
        "venter på godkjenning",
    ):
        assert piece in screen, piece
    catalogue = json.loads((Path(messages.__file__).parent / "cases.json").read_text("utf-8"))
    for key, both in catalogue.items():
        assert set(both) == {"nb", "en"} and all(both.values()), key
        assert sorted(part.split("}")[0] for part in both["nb"].split("{")[1:]) == sorted(
            part.split("}")[0] for part in both["en"].split("{")[1:]
        ), key


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b2K\r\n\x08\u202e\u200b\u2028\tdone"


def test_text_from_the_network_cannot_touch_the_terminal(room: Room) -> None:
    """Escapes, controls, direction marks in every field come out as visible text, on every command, in both forms."""
    number = room.alarm(
        "a",
        rule=f"NET-05 {HOSTILE}",
        facts={"dns.question.name": [HOSTILE], f"x{HOSTILE}": ["1"]},
        rsit=HOSTILE,
        members=["gp", HOSTILE],
    )
    room.run("cases", "note", number, "-m", HOSTILE)
    room.run("cases", "severity", number, "--to", "low", "-m", HOSTILE)
    answers = [
        room.run("cases", *words)
        for words in (["list"], ["show", number], ["next"], ["handover"], ["watch"], ["undo", number], ["ack", HOSTILE])
    ]
    for answer in answers:
        for line in (answer.out + answer.err).splitlines():
            bad = [char for char in line if unicodedata.category(char) in ("Cc", "Cf") and char != "\t"]
            assert not bad, (line, bad)
    assert "\\x1b]0;owned\\x07" in answers[1].out
    assert len(answers[0].out.splitlines()) == 1


def test_a_change_says_what_changed_and_how_to_undo_it(room: Room) -> None:
    """Each change prints the fields that moved and the undo; undoing takes them back; each is in the audit once."""
    number = room.alarm("a")
    acked = room.run("cases", "ack", number)
    assert (acked.code, acked.out) == (0, "")
    assert "state open -> acknowledged" in acked.err and f"Undo: csirt cases undo {number}" in acked.err
    assert "nothing to change" in room.run("cases", "ack", number).err
    closed = room.run("cases", "close", number, "--verdict", "true", "--rsit", "infected system", "-m", "reinstalled")
    assert "verdict - -> true" in closed.err and "the plan R-2026-0001 still awaits approval" in closed.err
    undone = room.run("cases", "undo", number)
    assert "took back 'closed' (state closed -> acknowledged; verdict true alarm -> -)" in undone.err
    actions = [entry.action for entry in room.store.entries if entry.category == "change"]
    assert actions == ["playbooks.plan", "cases.ack", "cases.close", "cases.undo"]


def test_a_dry_run_changes_nothing(room: Room) -> None:
    """`--dry-run` says what would be and leaves store and audit alone."""
    number = room.alarm("a")
    before = room.store.commits
    answer = room.run("cases", "close", number, "--verdict", "false", "--rsit", "other", "-m", "r", "--dry-run")
    assert answer.code == 0 and "nothing was changed" in answer.err
    assert room.store.commits == before and room.run("cases", "list", "--json").json["items"][0]["state"] == "open"


def test_people_say_cases_in_many_ways(room: Room) -> None:
    """Number, last digits, id, beginning, @last, @mine, stdin; ambiguous names list candidates and exit 2."""
    first, second = room.alarm("a"), room.alarm("b", host="10.32.0.5")
    case = room.run("cases", "show", "1", "--json").json["case"]
    assert case["number"] == first
    for name in (first.lower(), case["id"], case["id"][:9], "@last", "0001"):
        assert room.run("cases", "show", name, "--json").json["case"]["number"] == first, name
    ambiguous = room.run("cases", "show", "C-2026-000")
    assert ambiguous.code == 2 and first in ambiguous.err and second in ambiguous.err
    assert room.run("cases", "show", "C-2031-0001").code == 3
    assert room.run("cases", "show", "@mine").code == 3
    room.run("cases", "assign", second)
    assert room.run("cases", "show", "@mine", "--json").json["case"]["number"] == second
    piped = room.run("cases", "ack", "-", "--yes", stdin=f"{first}\topen\thigh\n{second}\n")
    assert piped.code == 0 and piped.err.count("acknowledged") >= 2


def test_at_last_needs_a_last_one(room: Room) -> None:
    """Without a case looked at, `@last` says how to get one."""
    answer = room.run("cases", "ack", "@last")
    assert answer.code == 3 and "csirt cases next" in answer.err


def test_filters_choose_and_bulk_asks_first(room: Room) -> None:
    """Filters see members by kind, rules and hosts; many cases at once need --yes off a terminal."""
    first, second = room.alarm("a"), room.alarm("b", host="10.32.0.5", rule="NET-17 DNS bypass", severity="low")
    for where, wanted in (
        ("severity>=high", [first]),
        ("member:dental rule:net-17", [second]),
        ("ip:10.32.0.5", [second, first]),
        ('"dns bypass"', [second]),
        ("not:ack age<1h -rule:net-17", [first]),
        ("state:closed", []),
        ("id:C-2026-0002", [second]),
    ):
        rows = room.run("cases", "list", "--where", where).out.splitlines()
        assert sorted(row.split("\t")[0] for row in rows) == sorted(wanted), where
    assert room.run("cases", "list", "severity:low", "--where", "member:gp").out.startswith(second)
    bad = room.run("cases", "list", "--where", "serverity>=high")
    assert bad.code == 2 and "did you mean 'severity'" in bad.err
    words = ["cases", "close", "--where", "member:dental", "--verdict", "benign", "--rsit", "test", "-m", "drill"]
    refused = room.run(*words)
    assert refused.code == 2 and "2 cases" in refused.err and first in refused.err and "--yes" in refused.err
    assert room.run(*words, "--yes").code == 0
    assert room.run("cases", "list").out == ""
    assert len(room.run("cases", "list", "--all").out.splitlines()) == 2
    assert room.run(*words, "--yes").code == 0


def test_some_of_several_failing_is_partly_done(room: Room) -> None:
    """The others are changed, the failure is named, the exit code is 7; of a single case it is the failure's own."""
    first, second = room.alarm("a"), room.alarm("b", host="10.32.0.5")
    room.run("cases", "close", first, "--verdict", "true", "--rsit", "test", "-m", "r")
    answer = room.run("cases", "ack", first, second, "--yes")
    assert answer.code == 7 and "reopen" in answer.err and f"{second}: acknowledged" in answer.err
    assert room.run("cases", "ack", first).code == 5


def test_a_stale_write_is_refused_with_both_versions_and_the_text(room: Room) -> None:
    """Who looked before a colleague's change is told what the colleague did; evidence alone stops nobody."""
    number = room.alarm("a")
    room.run("cases", "show", number)
    room.run("cases", "assign", number, "--to", "bo", "--version", "1", who="bo")
    stale = room.run(
        "cases",
        "close",
        number,
        "--verdict",
        "false",
        "--rsit",
        "other",
        "-m",
        "my long reason",
        "--version",
        "1",
        "--json",
    )
    error = json.loads(stale.err)["error"]
    assert stale.code == 5 and error["details"]["yours"] == 1 and error["details"]["current"] == 2
    assert "bo assigned" in error["message"] and error["details"]["text"] == "my long reason"
    room.run("cases", "show", number)
    assert room.run("cases", "close", number, "--verdict", "false", "--rsit", "other", "-m", "r").code == 0


def test_looking_is_what_the_guard_against_stale_writes_remembers(room: Room, tmp_path: Path) -> None:
    """The version last shown to this user is sent along without being asked for; a colleague's home is another."""
    number = room.alarm("a")
    room.run("cases", "show", number)
    os.environ["XDG_STATE_HOME"] = str(tmp_path / "bo")
    room.run("cases", "assign", number, who="bo")
    os.environ["XDG_STATE_HOME"] = str(tmp_path / "home")
    assert room.run("cases", "assign", number).code == 5
    assert room.run("cases", "note", number, "-m", "notes never conflict").code == 0


def test_a_merge_and_its_undo_move_the_incidents(room: Room) -> None:
    """Merging needs a reason; the case that goes on has both incidents; undoing on either side gives both back."""
    first, second = room.alarm("a"), room.alarm("b", host="10.32.0.5")
    assert room.run("cases", "merge", second, "--into", first).code == 2
    merged = room.run("cases", "merge", second, "--into", first, "-m", "same campaign")
    assert merged.code == 0 and f"{second}: merged into {first}" in merged.err
    shown = room.run("cases", "show", first, "--json").json
    assert [item["id"] for item in shown["incidents"]] == ["incident-a", "incident-b"]
    assert room.run("cases", "ack", second).code == 5
    assert room.run("cases", "undo", first).code == 0
    states = {
        item["number"]: (item["state"], item["incidents"]) for item in room.run("cases", "list", "--json").json["items"]
    }
    assert states == {first: ("open", ["incident-a"]), second: ("open", ["incident-b"])}
    assert (
        room.store.get("incident", "incident-b")["case"]
        == room.run("cases", "show", second, "--json").json["case"]["id"]
    )


def test_a_split_and_its_undo(room: Room) -> None:
    """An incident gets a case of its own with a number; undoing puts it back."""
    first, second = room.alarm("a"), room.alarm("b", host="10.32.0.5")
    room.run("cases", "merge", second, "--into", first, "-m", "r")
    assert room.run("cases", "split", first, "incident-", "-m", "r").code == 2
    assert room.run("cases", "split", first, "incident-b", "-m", "another machine").code == 0
    items = room.run("cases", "list", "--json").json["items"]
    assert sorted((item["number"], *item["incidents"]) for item in items) == [
        (first, "incident-a"),
        ("C-2026-0003", "incident-b"),
    ]
    assert room.run("cases", "undo", first).code == 0
    (item,) = room.run("cases", "list", "--json").json["items"]
    assert item["incidents"] == ["incident-a", "incident-b"]


def test_rights_and_refusals_are_audited(room: Room) -> None:
    """An approver may not triage, nobody undoes a colleague's change but a lead; refusals are in the audit."""
    number = room.alarm("a")
    assert room.run("cases", "ack", number, who="per").code == 4
    room.run("cases", "ack", number)
    assert room.run("cases", "undo", number, who="bo").code == 4
    refused = [(entry.actor, entry.action) for entry in room.store.entries if entry.category == "refused"]
    assert refused == [("per", "cases.ack"), ("bo", "cases.undo")]
    assert room.run("cases", "undo", number, who="kari").code == 0
    seen = [entry for entry in room.store.entries if entry.category == "access"]
    assert not seen
    room.run("cases", "list")
    assert room.store.entries[-1].category == "access" and room.store.entries[-1].detail["rows"] == 1


def test_the_pipeline_changing_a_case_at_the_same_moment_is_no_conflict(room: Room) -> None:
    """A commit refused because evidence came in between is tried again on what is there now."""
    number = room.alarm("a")
    real, tries = room.store.commit, []

    def once(change: Commit) -> None:
        tries.append(change)
        if len(tries) == 1:
            raise Conflict("changed meanwhile")
        real(change)

    room.store.commit = once
    assert room.run("cases", "ack", number).code == 0 and len(tries) == 2


def test_next_is_the_case_nobody_looks_after(room: Room) -> None:
    """Cases in a colleague's hands are passed over; with none left the queue says so."""
    first, second = room.alarm("a", severity="critical"), room.alarm("b", host="10.32.0.5")
    room.run("cases", "ack", first, who="bo")
    assert room.run("cases", "next", "--json").json["case"]["number"] == second
    room.run("cases", "ack", second, who="bo")
    answer = room.run("cases", "next")
    assert answer.code == 3 and "nothing waits" in answer.err


def test_unknown_names_are_answered_with_the_nearest(room: Room) -> None:
    """Owners, RSIT classes, severities: a slip of the pen costs one line, never a wrong case."""
    number = room.alarm("a")
    assert "did you mean 'anna'" in room.run("cases", "assign", number, "--to", "ana").err
    wrong = room.run("cases", "close", number, "--verdict", "true", "--rsit", "infected sistem", "-m", "r")
    assert wrong.code == 2 and "Malicious Code/Infected System" in wrong.err
    assert room.run("cases", "severity", number, "--to", "bad").code == 2
    assert room.run("cases", "ack").code == 2


def test_the_handover_names_what_is_open(room: Room) -> None:
    """Waiting, in work, closed, plans and notices that did not arrive, each with its heading."""
    first, second = room.alarm("a"), room.alarm("b", host="10.32.0.5")
    room.run("cases", "ack", first)
    text = room.run("cases", "handover").out
    assert text.index(second) < text.index("In work") < text.index(first) < text.index("Plans")
    assert "R-2026-0001  PB-WORM: awaits approval" in text


def test_a_poor_terminal_gets_the_same_words(tmp_path: Path) -> None:
    """LANG=C, TERM=dumb, no home to write: the help and errors are plain ASCII and nothing is raised."""
    env = {
        "PATH": os.environ["PATH"],
        "LANG": "C",
        "LC_ALL": "C",
        "TERM": "dumb",
        "PYTHONUTF8": "0",
        "HOME": "/nonexistent",
    }
    words = [sys.executable, "-m", "csirt", "--socket", str(tmp_path / "none"), "cases", "list"]
    done = subprocess.run(words, env=env, capture_output=True, timeout=30, check=False)
    assert done.returncode == 6 and done.stderr.isascii() and b"Traceback" not in done.stderr


def test_the_module_is_light_to_import() -> None:
    """The command line's fast path loads no engine: neither pydantic nor numpy nor pyarrow."""
    code = "import sys, csirt.cli.cases, csirt.cli.casescreen, csirt.cli.caselast; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "numpy", "pyarrow", "polars", "apsw", "yaml"} & set(loaded)


def test_a_wide_case_still_fits(room: Room) -> None:
    """Names of any length are folded, not cut, and the commands stay whole lines for copying."""
    number = room.alarm("a", title="x" * 200, members=["gp", "dental", "clinic", "hf", "lab"])
    lines = room.run("cases", "show", number).out.splitlines()
    assert all(len(line) <= 80 for line in lines) and "x" * 200 in "".join(lines)
    assert room.clock.now() - NOW < MINUTE
