"""`csirt store`: what operators type, on a real store, and every document against its schema."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from csirt.clock import DAY
from csirt.model.principal import Principal
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from tests.cli.desk import NOW, Room
from tests.conform import check
from tests.stores import build


@pytest.fixture
def room(tmp_path: Path):  # type: ignore[no-untyped-def]
    """An administrator at a store with events and a case."""
    room = Room(tmp_path, who=Principal("root", 0, "admin"))
    room.store = open_embedded(tmp_path / "store", clock=room.clock)
    room.store.commit(Commit(batches=[build.flows(3_000), build.mails(21)]))
    room.alarm("one")
    yield room
    room.store.close()


def test_info(room: Room) -> None:
    """Datasets with rows, bytes and times; documents; versions; for people and as JSON."""
    answer = room.run("store", "info")
    assert answer.code == 0
    assert any(line.startswith("flow\t3000\t0\t1\t") for line in answer.out.splitlines())
    document = room.run("store", "info", "--json").json
    check(document)
    assert document["documents"]["case"] == 1
    assert [item["dataset"] for item in document["datasets"]] == ["flow", "mail"]


def test_dump_counts_and_digest_are_those_of_the_dump(room: Room) -> None:
    """The SHA-256 in --counts is that of the bytes dump prints, for all kinds and for one."""
    for extra in ([], ["--kind", "case"], ["--kind", "event", "--kind", "alert"]):
        answer = room.run("store", "dump", "--canonical", *extra)
        document = room.run("store", "dump", "--canonical", "--counts", *extra).json
        check(document)
        assert document["sha256"] == hashlib.sha256(answer.out.encode()).hexdigest()
        kinds = [json.loads(line)["kind"] for line in answer.out.splitlines()]
        assert {kind: kinds.count(kind) for kind in document["counts"]} == document["counts"]
        assert sum(document["counts"].values()) == len(kinds) > 0
    assert room.run("store", "dump", "--kind", "cases").code == 2


def test_fsck_says_what_is_wrong_and_exits_1(room: Room) -> None:
    """Whole: exit 0. Damaged: exit 1, the file named."""
    assert room.run("store", "fsck").code == 0
    victim = next((room.folder / "store/lake").rglob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1])
    for words in (["fsck"], ["fsck", "--quick"]):
        answer = room.run("store", *words)
        assert answer.code == 1 and victim.name in answer.out
    answer = room.run("store", "fsck", "--json")
    check(answer.json)
    assert (answer.code, answer.json["count"]) == (1, 1)


def test_backup_and_restore(room: Room) -> None:
    """A backup of the running store restores to a store with the same dump; both say what they did."""
    before = room.run("store", "dump", "--canonical").out
    answer = room.run("store", "backup", str(room.folder / "backup"), "--json")
    check(answer.json)
    again = room.run("store", "restore", str(room.folder / "backup"), str(room.folder / "again"), "--json")
    check(again.json)
    assert (answer.code, again.code, again.json["findings"]) == (0, 0, [])
    room.store.close()
    room.store = open_embedded(room.folder / "again", clock=room.clock)
    assert room.run("store", "dump", "--canonical").out == before
    assert room.run("store", "backup", str(room.folder / "backup")).code == 5
    assert room.run("store", "restore", str(room.folder / "none"), str(room.folder / "new")).code == 3


def test_retention_dry_run_run_and_reports(room: Room) -> None:
    """A dry run deletes nothing; a run deletes, reports, and keeps the report."""
    room.clock.time = NOW + 91 * DAY
    dry = room.run("store", "retention", "--dry-run", "--json")
    check(dry.json)
    assert dry.json["events"][0]["rows"] == 3_000
    assert room.run("store", "retention", "--reports", "--json").json["count"] == 0
    answer = room.run("store", "retention")
    assert answer.code == 0 and "3000" in answer.err
    kept = room.run("store", "retention", "--reports", "--json").json
    check(kept)
    assert kept["items"][0]["events"] == dry.json["events"]
    assert room.run("store", "info", "--json").json["datasets"][0]["dataset"] == "mail"


def test_who_may(room: Room) -> None:
    """An analyst may neither dump, back up nor delete, and every refused try is in the audit."""
    for words in (["dump"], ["fsck"], ["backup", "/nowhere/x"], ["retention"]):
        assert room.run("store", *words, who="anna").code == 4
    refused = [entry for entry in room.store.audit() if entry.category == "refused"]
    assert [entry.actor for entry in refused] == ["anna"] * 4


def test_both_languages(room: Room) -> None:
    """What people read is in the language they asked for."""
    assert "the store is whole" in room.run("store", "fsck").err
    assert "lageret er helt" in room.run("store", "fsck", lang="nb").err
