"""`csirt indicators` on a store; what happens to what is TLP:RED; the daemon's schedule."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from csirt import config, jobs
from csirt.app import App
from csirt.clock import DAY, Frozen
from csirt.model.principal import Principal
from csirt.stores.embedded import open_embedded
from tests.cli.desk import NOW, Room
from tests.conform import check

FEED = "value,confidence,tlp\n203.0.113.9,80,green\nbad.example,20,red\nnot a value\n"


@pytest.fixture
def room(tmp_path: Path):  # type: ignore[no-untyped-def]
    """An analyst at an empty store."""
    room = Room(tmp_path, who=Principal("anna", 1000, "analyst"))
    room.store = open_embedded(tmp_path / "store", clock=room.clock)
    (tmp_path / "feed.csv").write_text(FEED)
    yield room
    room.store.close()


def taken(room: Any, *more: str) -> Any:
    """The feed imported."""
    return room.run("indicators", "import", str(room.folder / "feed.csv"), "--list", "c2", "-m", "weekly", *more)


def test_import_list_expire(room: Any) -> None:
    """What cannot be used is told with its line, the rest counts (exit 7); lists and documents; ended at once; every
    change is audited with its reason, and values stay out of the audit's import entry."""
    answer = taken(room, "--dry-run")
    assert answer.code == 7 and "would add 2" in answer.err
    assert room.run("indicators", "list", "--json").json["count"] == 0
    answer = taken(room, "--json")
    check(answer.json)
    assert answer.code == 7 and (answer.json["added"], answer.json["refused"]) == (2, {"value": 1})
    assert answer.json["problems"][0]["place"] == "feed.csv:4"
    assert "feed.csv:4\tvalue" in taken(room).out
    document = room.run("indicators", "list", "confidence>=50", "--json").json
    check(document)
    assert [item["value"] for item in document["items"]] == ["203.0.113.9"]
    assert room.run("indicators", "list", "tlp:red", "--list", "c2").out.split("\t")[2] == "bad.example"
    assert room.run("indicators", "expire", "Bad.Example.", "-m", "shared hosting", "--dry-run").code == 0
    answer = room.run("indicators", "expire", "Bad.Example.", "-m", "shared hosting", "--json")
    check(answer.json)
    assert answer.json["count"] == 1
    assert room.run("indicators", "list", "--json").json["count"] == 1
    entries = {item.action: item.detail for item in room.store.audit() if item.action.startswith("indicators.")}
    assert entries["indicators.expire"]["reason"] == "shared hosting"
    assert entries["indicators.import"]["source"] == "feed.csv" and "bad.example" not in str(
        entries["indicators.import"]
    )


def test_what_is_wrong_with_the_call_is_said(room: Any) -> None:
    """Names, labels, lives, files; several at once need --yes; nothing of use is exit 1; a reader may not."""
    (room.folder / "none.csv").write_text("no value\n")
    file = str(room.folder / "feed.csv")
    call = lambda *words: room.run("indicators", *words, "-m", "x").code  # noqa: E731
    assert call("import", file, "--list", "Bad Name") == 2
    assert call("import", file, "--list", "c2", "--tlp", "purple") == 2
    assert call("import", file, "--list", "c2", "--ttl", "soon") == 2
    assert call("import", file, "--list", "c2", "--ttl", "0s") == 2
    assert call("import", "/no/such/file", "--list", "c2") == 3
    assert call("import", str(room.folder / "none.csv"), "--list", "c2") == 1
    assert call("expire", "bad.example") == 3
    assert call("expire", "no value") == 2
    assert call("expire") == 2
    taken(room)
    assert call("expire", "--list", "c2") == 2
    assert call("expire", "--list", "c2", "--yes") == 0
    reader = Room(room.folder, who=Principal("rolf", 1001, "reader"))
    reader.store = room.store
    assert taken(reader).code == 4


def test_a_life_is_bounded_by_the_configuration(room: Any) -> None:
    """Whatever the source or the caller says."""
    room.config.enrich.indicator_ttl = "10d"
    taken(room, "--ttl", "90d")
    (first, _) = room.run("indicators", "list", "--json").json["items"]
    assert (first["added"], first["expires"]) == ("2026-09-23T02:10:00Z", "2026-10-03T02:10:00Z")


def test_the_daemon_lets_go_what_is_over(tmp_path: Path) -> None:
    """On its schedule, audited; enrichment has the new lists at once, and rules that name one."""
    app = App(config.Config(state=str(tmp_path)), clock=Frozen(NOW))
    app.config.detect.shipped = False
    app.config.detect.rules = [str(tmp_path / "rules")]
    (tmp_path / "rules").mkdir()
    reloads: list[int] = []
    daemon: Any = SimpleNamespace(app=app, reload=lambda: reloads.append(1))
    book = tmp_path / "indicators.json"
    row = ["c2", "domain", "bad.example", 50, "RED", NOW, NOW + DAY, "", ""]
    book.write_text(json.dumps({"items": [row]}))
    enricher = app.part("enricher")
    jobs.expire_indicators(daemon)
    assert app.part("enricher") is enricher and app.part("indicators").items
    app.clock.time += DAY  # type: ignore[attr-defined]
    jobs.expire_indicators(daemon)
    assert app.part("enricher") is not enricher and not app.part("indicators").items and not reloads
    (entry,) = app.store.audit()
    assert (entry.action, entry.detail["count"], entry.detail["lists"]) == ("indicators.expire", 1, ["c2"])
    rule = "title: x\nlogsource: {product: csirt, service: dns}\n"
    rule += "detection: {s: {dns.question.name|expand: '%indicators_c2_domains%'}, condition: s}\n"
    (tmp_path / "rules" / "r.yml").write_text(rule)
    row[6] = app.clock.now() + DAY
    book.write_text(json.dumps({"items": [row]}))
    app.renew("indicators", "ruleset")
    assert app.part("ruleset").placeholders
    app.clock.time += DAY  # type: ignore[attr-defined]
    jobs.expire_indicators(daemon)
    assert reloads == [1]
    app.close()
