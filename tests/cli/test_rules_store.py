"""`csirt rules` verbs that look at a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csirt.content import folder
from csirt.detect.load import Ruleset
from csirt.model.principal import Principal
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from tests.cli.desk import Room
from tests.conform import check
from tests.stores import build


class Desk(Room):
    """A room with the shipped rules."""

    def part(self, name: str) -> Any:
        """The live components, the ruleset too."""
        return Ruleset.load([folder("rules")]) if name == "ruleset" else super().part(name)


@pytest.fixture
def room(tmp_path: Path):  # type: ignore[no-untyped-def]
    """An analyst at a store with flows."""
    room = Desk(tmp_path, who=Principal("anna", 1000, "analyst"))
    room.store = open_embedded(tmp_path / "store", clock=room.clock)
    room.store.commit(Commit(batches=[build.flows(300)]))
    yield room
    room.store.close()


def test_coverage_is_of_what_is_stored(room: Room, tmp_path: Path) -> None:
    """Rules on flows cover, those on TLS are blind; -o writes the layer alone; a document fits its schema."""
    document = room.run("rules", "coverage", "--json").json
    check(document)
    assert document["datasets"] == [{"dataset": "flow", "events": 300}]
    assert document["covered"] and document["blind"]
    answer = room.run("rules", "coverage", "-o", str(tmp_path / "layer.json"))
    rows = [line.split("\t") for line in answer.out.splitlines()]
    assert {row[0]: int(row[1]) for row in rows} == {item["id"]: item["score"] for item in document["techniques"]}
    assert json.loads((tmp_path / "layer.json").read_text()) == document["layer"]
    assert room.run("rules", "coverage", "-o", "/no/such/folder/layer.json").code == 2


def test_explain_takes_a_stored_event(room: Room) -> None:
    """An event's id names it; the answer is about that event."""
    event = json.loads(room.run("events", "query", "--jsonl", "--limit", "1").out)
    document = room.run("rules", "explain", "net-01", event["event"]["id"], "--json").json
    check(document)
    assert document["event"]["id"] == event["event"]["id"]
    assert document["rules"][0]["routing"]["seen"]
    assert room.run("rules", "explain", "net-01", "0" * 32).code == 3
