"""`csirt rules` verbs that look at a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csirt.clock import DAY
from csirt.content import folder
from csirt.detect.rules.load import load_rules
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
        return load_rules([folder("rules")]) if name == "ruleset" else super().part(name)


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


RULE = """title: Smb
id: 00000000-0000-4000-8000-00000000000a
name: smb
level: low
logsource: {product: csirt, service: flow}
detection: {s: {destination.port: PORTS, csirt.agreement: null}, condition: s}
"""
COUNT = """---
title: Many
id: 00000000-0000-4000-8000-00000000000b
level: low
correlation: {type: event_count, rules: [smb], group-by: [destination.port], timespan: 1h, condition: {gte: 5}}
"""


def test_backtest_counts_what_hunting_finds(room: Room, tmp_path: Path) -> None:
    """Hits, days, members and exemptions are those of the stored events the rule matches; a correlation gives the
    alerts of the windows engine; two versions stand side by side."""
    (tmp_path / "new.yml").write_text(RULE.replace("PORTS", "445") + COUNT)
    (tmp_path / "old.yml").write_text(RULE.replace("PORTS", "[443, 445]"))
    words = ["rules", "backtest", str(tmp_path / "new.yml"), "--since", "2000-01-01"]
    document = room.run(*words, "--json").json
    check(document)
    rule, many = document["rules"]
    lines = room.run("events", "query", "--where", "destination.port:445", "--jsonl").out.splitlines()
    events = [json.loads(line) for line in lines]
    owners = [event.get("csirt", {}).get("source", {}).get("member", {}).get("id") for event in events]
    assert rule["events"] == 300 and rule["hits"] == len(events) > 20
    assert sum(day["hits"] for day in rule["days"]) == len(events)
    assert {item["id"]: item["hits"] for item in rule["members"]} == {
        name: owners.count(name) for name in set(owners) if name
    }
    best = rule["exemptions"][0]
    assert best["field"] == "csirt.source.member.id" and best["removes"] == owners.count(best["value"])
    assert {item["field"]: item["filled"] for item in rule["fields"]} == {
        "destination.port": 1.0,
        "csirt.agreement": 0.0,
    }
    assert (many["kind"], many["alerts"], many["hits"]) == ("event_count", 1, len(events))
    both = room.run(*words, "--against", str(tmp_path / "old.yml"), "--json").json
    check(both)
    assert both["against"][0]["hits"] > rule["hits"]
    rows = [line.split("\t") for line in room.run(*words, "--against", str(tmp_path / "old.yml")).out.splitlines()]
    assert ["Smb", "hits", "", str(rule["hits"]), str(both["against"][0]["hits"])] in rows


def test_backtest_says_what_is_wrong(room: Room, tmp_path: Path) -> None:
    """A rule that cannot be loaded, an unreadable file and a wrong time are usage errors; no event is no hit."""
    (tmp_path / "bad.yml").write_text(RULE.replace("condition: s", "condition: t"))
    assert room.run("rules", "backtest", str(tmp_path / "bad.yml"), "--since", "1h").code == 2
    assert room.run("rules", "backtest", str(tmp_path / "none.yml"), "--since", "1h").code == 2
    (tmp_path / "r.yml").write_text(RULE.replace("PORTS", "445"))
    assert room.run("rules", "backtest", str(tmp_path / "r.yml"), "--since", "soon").code == 2
    none = room.run("rules", "backtest", str(tmp_path / "r.yml"), "--since", "2099-01-01", "--json").json
    assert none["rules"][0]["hits"] == 0 and none["rules"][0]["alerts"] == 0


class Shelf(Desk):
    """A desk whose ruleset is read again each time, with the deploy.yml of its state folder."""

    def part(self, name: str) -> Any:
        """As in a daemon that reads it at once."""
        if name == "ruleset":
            return load_rules([folder("rules")], deployed=self.config.path("deploy.yml"))
        return None if name == "daemon" else super().part(name)


@pytest.fixture
def shelf(tmp_path: Path):  # type: ignore[no-untyped-def]
    """An analyst who ships rules, at a store with flows."""
    shelf = Shelf(tmp_path, who=Principal("anna", 1000, "analyst"))
    shelf.config.state = str(tmp_path / "state")
    shelf.store = open_embedded(tmp_path / "store", clock=shelf.clock)
    shelf.store.commit(Commit(batches=[build.flows(300)], counts={"events.flow": 300}))
    yield shelf
    shelf.store.close()


def test_a_rule_goes_to_work_on_evidence(shelf: Any) -> None:
    """From shadow after 14 days; before that it is refused off a terminal with the reason, unless --yes; every change
    is audited with the evidence, and says how to undo it."""
    answer = shelf.run("rules", "deploy", "net-01", "--to", "shadow", "-m", "new")
    assert answer.code == 0 and "on -> shadow" in answer.err and "--to on" in answer.err
    answer = shelf.run("rules", "deploy", "net-01", "--to", "on", "-m", "soon", "--json")
    document = answer.json
    check(document)
    assert answer.code == 1 and not document["changed"] and document["lacks"] == ["in shadow for 0.0 days, of 14"]
    rule = document["rule"]
    shelf.clock.time += 15 * DAY
    alerts = [build.alert(f"{n}", rule_id=rule, shadow=True, first=shelf.clock.now() - DAY) for n in range(3)]
    shelf.store.commit(Commit(alerts=alerts))
    document = shelf.run("rules", "deploy", "net-01", "--to", "on", "-m", "3 hits", "--dry-run", "--json").json
    assert document["lacks"] == [] and not document["changed"]
    assert (document["evidence"]["days"], document["evidence"]["alerts"]) == (15.0, 3)
    assert shelf.run("rules", "deploy", "net-01", "--to", "on", "-m", "3 hits").code == 0
    assert shelf.run("rules", "deploy", "net-01", "--to", "on", "-m", "3 hits").code == 0  # it is already
    entries = [item for item in shelf.store.audit() if item.action == "rules.deploy"]
    assert [(item.actor, item.subject, item.detail["after"]) for item in entries] == [
        ("anna", rule, "shadow"),
        ("anna", rule, "on"),
    ]
    assert entries[1].detail["reason"] == "3 hits" and entries[1].detail["evidence"]["alerts"] == 3
    (item,) = [item for item in shelf.run("rules", "list", "--json").json["items"] if item["id"] == rule]
    assert (item["state"], item["scope"]) == ("on", "node")


def test_noise_false_verdicts_and_deaf_rules_speak_against(shelf: Any) -> None:
    """Each said by its number; --yes does it all the same."""
    for name in ("net-01", "smtp-05"):
        shelf.run("rules", "deploy", name, "--to", "shadow", "-m", "new")
    shelf.clock.time += 15 * DAY
    rule = shelf.part("ruleset")
    (noisy,) = [item.id for item in rule.everything() if item.meta.title.startswith("NET-01")]
    alerts, cases, incidents, events = [], [], [], []
    for number in range(4):
        case, opened = build.opened(f"{number}", verdict="false" if number else "true")
        cases.append(case)
        events += opened
        incidents.append(build.incident(f"i{number}", case=case.id))
        inside = incidents[-1].id
        alerts.append(build.alert(f"a{number}", rule_id=noisy, incident=inside, first=shelf.clock.now() - DAY))
    alerts += [build.alert(f"b{number}", rule_id=noisy, first=shelf.clock.now() - DAY) for number in range(400)]
    shelf.store.commit(Commit(alerts=alerts, incidents=incidents, cases=cases, case_events=events))
    document = shelf.run("rules", "deploy", "net-01", "--to", "on", "-m", "x", "--json").json
    assert document["lacks"] == ["27 alerts a day, more than 20", "3 of 4 verdicts call it false"]
    deaf = shelf.run("rules", "deploy", "smtp-05", "--to", "on", "-m", "x")
    assert deaf.code == 1 and "the store has none of mail" in deaf.err and "--yes" in deaf.err
    assert shelf.run("rules", "deploy", "smtp-05", "--to", "on", "-m", "x", "--yes").code == 0
    assert shelf.run("rules", "deploy", "smtp-05", "--to", "on", "-m", " ").code == 2
    assert shelf.run("rules", "deploy", "no-such", "--to", "on", "-m", "x").code == 3
    reader = Shelf(shelf.folder, who=Principal("rolf", 1001, "reader"))
    reader.store, reader.config = shelf.store, shelf.config
    assert reader.run("rules", "deploy", "net-01", "--to", "off", "-m", "x").code == 4
