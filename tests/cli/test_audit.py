"""`csirt audit`: reading, verifying and sealing the trail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csirt.model.principal import Principal
from csirt.stores.embedded import open_embedded
from tests.cli.desk import NOW, Room
from tests.conform import check
from tests.stores import build


@pytest.fixture
def room(tmp_path: Path):  # type: ignore[no-untyped-def]
    """An auditor at a store with ten entries."""
    room = Room(tmp_path, who=Principal("kari", 1000, "auditor"))
    room.store = open_embedded(tmp_path / "store", clock=room.clock)
    for n in range(10):
        entry = build.entry(f"action.{n}", time=NOW - (10 - n) * 60_000_000, actor="system" if n % 2 else "anna")
        room.store.append_audit([entry])
    yield room
    room.store.close()


def test_list_filters_and_leaves_an_access_entry(room: Room) -> None:
    """By the filter grammar, time and sequence number; whoever looks is seen."""
    lines = room.run("audit", "list").out.splitlines()
    assert len(lines) == 10 and lines[0].split("\t")[:5] == ["1", "2026-09-23T02:00:00Z", "anna", "change", "action.0"]
    last = list(room.store.audit())[-1]
    assert (last.category, last.action, last.actor, last.detail["rows"]) == ("access", "audit.list", "kari", 10)
    assert len(room.run("audit", "list", "--where", "actor:system").out.splitlines()) == 5
    assert len(room.run("audit", "list", "--since", "3m", "--where", "category:change").out.splitlines()) == 3
    assert len(room.run("audit", "list", "--after", "4", "--limit", "2").out.splitlines()) == 2
    assert room.run("audit", "list", "--where", "colour:red").code == 2
    document = room.run("audit", "list", "--json").json
    check(document)
    assert document["count"] == len(document["items"])
    assert json.loads(room.run("audit", "list", "--jsonl").out.splitlines()[0])["action"] == "action.0"


def test_verify_and_seal(room: Room) -> None:
    """A sealed head verifies; a chain that was cut does not, and the first missing entry is named."""
    sealed = room.run("audit", "seal").out.strip()
    document = room.run("audit", "seal", "--json").json
    check(document)
    assert room.run("audit", "verify", "--head", sealed, "--head", document["head"]).code == 0
    answer = room.run("audit", "verify", "--head", sealed, "--json")
    check(answer.json)
    assert answer.json["whole"] is True
    room.store.database.writer.execute("UPDATE audit SET actor = 'x' WHERE seq = 4")
    answer = room.run("audit", "verify")
    assert answer.code == 1 and "entry 4" in answer.err
    assert room.run("audit", "verify", "--json").json["first_bad"] == 4
    assert "post 4" in room.run("audit", "verify", lang="nb").err
    assert room.run("audit", "verify", "--head", "nonsense").code == 2


def test_only_auditors_leads_and_admins_may(room: Room) -> None:
    """An analyst does not read who looked at what."""
    for words in (["list"], ["verify"], ["seal"]):
        assert room.run("audit", *words, who="anna").code == 4
        assert room.run("audit", *words, who="kari").code == 0
