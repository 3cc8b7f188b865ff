"""`csirt events`: hunting as people type it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from csirt import ids
from csirt.config import Source
from csirt.model.batch import Batch, event_ids
from csirt.model.chunk import Lines, Position
from csirt.model.principal import Principal
from csirt.sources.build import open_source
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from tests.cli.desk import Room
from tests.conform import check
from tests.stores import build

RULE = """
title: SMB
id: 7b7c8a3e-9a5e-4f0e-8f57-0c5a4c1d2e3f
logsource: {product: csirt, service: flow}
detection:
  selection: {destination.port: 445}
  condition: selection
level: low
"""


@pytest.fixture
def room(tmp_path: Path):  # type: ignore[no-untyped-def]
    """An analyst at a store with flows and mail."""
    room = Room(tmp_path, who=Principal("anna", 1000, "analyst"))
    room.store = open_embedded(tmp_path / "store", clock=room.clock)
    room.store.commit(Commit(batches=[build.flows(3_000), build.mails(21)], alerts=[build.alert("a")]))
    yield room
    room.store.close()


def test_lines_documents_and_rows_are_the_same_events(room: Room) -> None:
    """--jsonl, --json, tab-separated rows and CSV give the same events in the same order."""
    words = ["events", "query", "--where", "destination.port:445 network.bytes>900000"]
    lines = [json.loads(line) for line in room.run(*words, "--jsonl").out.splitlines()]
    document = room.run(*words, "--json").json
    check(document)
    assert document["events"] == lines and not document["truncated"]
    assert len(lines) > 20
    rows = [line.split("\t") for line in room.run(*words).out.splitlines()]
    assert [row[2] for row in rows] == [event["event"]["id"] for event in lines]
    table = list(csv.reader(room.run(*words, "--csv", "--fields", "event.id,source.ip").out.splitlines()))
    assert table[0] == ["event.id", "source.ip"]
    assert table[1:] == [[event["event"]["id"], event["source"]["ip"]] for event in lines]
    picked = room.run(*words, "--jsonl", "--fields", "source.ip,no.such").out.splitlines()
    assert [json.loads(line) for line in picked] == [{"source": {"ip": event["source"]["ip"]}} for event in lines]


def test_the_limit_is_said(room: Room) -> None:
    """A cut list says so on stderr, or in the document; without --limit nothing is cut."""
    assert len(room.run("events", "query", "--jsonl").out.splitlines()) == 3_021
    answer = room.run("events", "query", "--limit", "5")
    assert len(answer.out.splitlines()) == 5 and "--limit" in answer.err
    assert room.run("events", "query", "--limit", "5", "--json").json["truncated"] is True


def test_a_rule_hunts_in_the_past(room: Room) -> None:
    """--rule gives exactly the events its condition matches; a broken rule is refused with its line."""
    path = room.folder / "rule.yml"
    path.write_text(RULE)
    ports = [port for batch in room.store.events("flow") for port in batch.table.column("destination.port").to_pylist()]
    assert len(room.run("events", "query", "--rule", str(path)).out.splitlines()) == ports.count(445) > 0
    path.write_text(RULE.replace("condition: selection", "condition: nothing"))
    answer = room.run("events", "query", "--rule", str(path))
    assert answer.code == 2 and "rule:" in answer.err
    assert room.run("events", "query", "--rule", str(room.folder / "none.yml")).code == 2


def test_sums_and_sql(room: Room) -> None:
    """--top and --sql, as rows, CSV, JSON lines and documents."""
    top = room.run("events", "query", "--top", "destination.port", "--dataset", "flow", "--json").json
    check(top)
    assert sum(item["events"] for item in top["items"]) == 3_000
    out = room.run("events", "query", "--top", "destination.port", "--limit", "2").out
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == [str(item["destination.port"]) for item in top["items"][:2]]
    text = 'SELECT "destination.port" AS port, count(*) AS n FROM flow GROUP BY 1 ORDER BY n DESC, port'
    found = room.run("events", "query", "--sql", text, "--json").json
    check(found)
    assert sum(row[1] for row in found["rows"]) == 3_000
    assert room.run("events", "query", "--sql", text, "--csv").out.splitlines()[0] == '"port","n"'
    one = room.run("events", "query", "--sql", text, "--jsonl").out.splitlines()[0]
    assert set(json.loads(one)) == {"port", "n"}
    assert room.run("events", "query", "--sql", "SELECT * FROM nosuch").code == 2


def test_parquet_is_written_on_the_callers_side(room: Room) -> None:
    """The file holds every event with identity, and the rule author's tool reads it."""
    path = room.folder / "out.parquet"
    answer = room.run("events", "query", "--dataset", "flow", "--parquet", str(path), "--json")
    assert answer.code == 0, answer.err
    check(answer.json)
    assert answer.json["count"] == 3_000
    table = pq.read_table(path)
    known = [name for batch in room.store.events("flow") for name in event_ids(batch.table).to_pylist()]
    assert event_ids(table).to_pylist() == known
    rule = room.folder / "rule.yml"
    rule.write_text(RULE)
    run = room.run("rules", "run", str(rule), "--on", str(path))
    assert run.code == 0
    assert len(run.out.splitlines()) == table.column("destination.port").to_pylist().count(445)
    assert room.run("events", "query", "--until", "2001-01-01", "--parquet", str(path)).code == 0
    assert pq.read_table(path).num_rows == 0


def test_contradictions_are_refused(room: Room) -> None:
    """Two forms at once, an unknown dataset, a bad time or filter: exit 2 with the next step."""
    for words in (
        ["--csv", "--jsonl"],
        ["--json", "--csv"],
        ["--sql", "SELECT 1", "--top", "destination.port"],
        ["--top", "destination.port", "--parquet", "x"],
        ["--dataset", "flwo"],
        ["--since", "soon"],
        ["--where", "destination.port:("],
    ):
        assert room.run("events", "query", *words).code == 2, words
    assert "'flow'" in room.run("events", "query", "--dataset", "flwo").err


def test_looking_leaves_an_access_entry(room: Room) -> None:
    """Who, which filter, how many rows: for lists, sums and single events; an operator may not look."""
    room.run("events", "query", "--where", "destination.port:445", "--limit", "3")
    entry = list(room.store.audit())[-1]
    assert (entry.actor, entry.category, entry.action, entry.detail["rows"]) == ("anna", "access", "events.query", 3)
    assert entry.detail["arguments"]["where"] == "destination.port:445"
    room.config.control.users["ops"] = "operator"
    assert room.run("events", "query", who="ops").code == 4


def test_show_one_event(room: Room) -> None:
    """Whole or by the start of its id, with the alerts that name it; ambiguous gives the candidates, exit 2."""
    names = event_ids(next(room.store.events("flow")).table).to_pylist()
    room.store.commit(Commit(alerts=[build.alert("b", events=[names[7]], first=0, last=1 << 60)]))
    document = room.run("events", "show", names[7], "--json").json
    check(document)
    assert document["event"]["event"]["id"] == names[7]
    assert document["alerts"] == [build.alert("b").id]
    out = room.run("events", "show", names[7].upper()).out
    assert f"event.id\t{names[7]}" in out and f"alert\t{build.alert('b').id}" in out
    answer = room.run("events", "show", names[7][:30])
    assert answer.code == 2 and names[7] in answer.err
    assert room.run("events", "show", names[7][:16] + "f").code == 3
    assert room.run("events", "show", "f" * 32).code == 3
    assert room.run("events", "show", "C-2026-0001").code == 2


def test_raw_is_there_or_said_to_be_gone(room: Room) -> None:
    """The line behind an event is shown while its log has it; afterwards the sentence says why not."""
    log = room.folder / "mail.log"
    log.write_text("first line\nsecond line\x1b[2J\n")
    room.config.sources = [Source(id="relay", type="log", path=str(log), parser="postfix")]
    chunk = open_source(room.config.sources[0], room.config).inputs()[0].read(None, 100)
    assert chunk is not None and isinstance(chunk.data, Lines)
    position = Position("relay", chunk.fingerprint, chunk.end, extra=chunk.extra)
    room.store.commit(Commit(position=position))
    id = ids.event(chunk.segment, int(chunk.data.position[1]) << 8)
    document = room.run("events", "show", id, "--raw", "--json").json
    check(document)
    assert (document["kind"], document["offset"]) == ("line", 11)
    assert room.run("events", "show", id, "--raw").out == "second line\\x1b[2J\n"
    assert list(room.store.audit())[-1].action == "events.raw"
    log.unlink()
    answer = room.run("events", "show", id, "--raw")
    assert answer.code == 3 and "no longer there" in answer.err
    room.config.control.users["eye"] = "reader"
    assert room.run("events", "show", id, "--raw", who="eye").code == 4


def test_text_from_the_network_cannot_move_the_cursor(room: Room) -> None:
    """Rows carry escapes in place of control characters."""
    mail = build.mails(1, name="evil").table
    index = mail.column_names.index("email.message_id")
    evil = mail.set_column(index, "email.message_id", pa.array(["\x1b]0;x\x07\u202e"]))
    room.store.commit(Commit(batches=[Batch("mail", evil)]))
    out = room.run("events", "query", "--dataset", "mail", "--fields", "email.message_id").out
    assert "\x1b" not in out and "\u202e" not in out and "\\x1b" in out
