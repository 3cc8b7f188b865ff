"""The queue when it is long, how sure we are, and the stream of changes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from csirt.control import caseview
from csirt.control.verbs import Context, call
from csirt.model.records import Case, CaseEvent
from csirt.stores.base import Commit
from tests.cli.desk import Room


def context(room: Room, *, live: bool = False) -> Context:
    """A caller's context."""
    return Context(room.store, room.config, room.who, room.clock, room.part, "en", live)


def many(room: Room, count: int) -> None:
    """Cases of every severity and state, the later ones more recent."""
    events, cases = [], []
    for n in range(count):
        name = f"{n:04}"
        severity = ("low", "critical", "medium", "high")[n % 4]
        state: Any = ("open", "acknowledged", "closed")[n % 3]
        events.append(CaseEvent(case=name, seq=1, time=n, actor="system", kind="opened"))
        cases.append(Case(id=name, version=1, severity=severity, state=state, title="t", first=n + 1, last=n + 1))
    room.store.commit(Commit(case_events=events, cases=cases))


def test_a_very_long_queue_is_ordered_by_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the order is severity, then the latest; nothing is lost and the total is right."""
    room = Room(tmp_path)
    many(room, 60)
    monkeypatch.setattr(caseview, "SORTED", 10)
    rows, total = caseview.queue(context(room), "", False, 7)
    assert total == 40 and len(rows) == 7
    assert [row["severity"] for row in rows] == ["critical"] * 7
    assert [row["last"] for row in rows] == sorted((row["last"] for row in rows), reverse=True)
    whole, total = caseview.queue(context(room), "", False, None)
    assert total == len(whole) == 40 and {row["state"] for row in whole} == {"open", "acknowledged"}
    assert [row["id"] for row in whole[:7]] == [row["id"] for row in rows]
    chosen, total = caseview.queue(context(room), "severity>=high state:closed", False, 3)
    assert len(chosen) == 3 and total == 10


def test_confidence_counts_independent_evidence(tmp_path: Path) -> None:
    """More rules and other kinds of data make us surer; a NAT address or a known scanner less."""
    room = Room(tmp_path)
    incident = {"entities": [{"kind": "host", "value": "10.31.0.77", "role": "actor"}]}

    def level(*alerts: tuple[str, str, int]) -> tuple[str, list[str]]:
        made = [{"rule_id": rule, "dataset": dataset, "count": count} for rule, dataset, count in alerts]
        known = caseview.confidence(context(room), [incident], made)
        return known["level"], [item["reason"] for item in known["against"]]

    assert level(("a", "flow", 1)) == ("low", ["one_rule", "one_dataset", "once"])
    assert level(("a", "flow", 12)) == ("medium", ["one_rule", "one_dataset"])
    assert level(("a", "flow", 1), ("b", "flow", 1), ("c", "flow", 1)) == ("high", ["one_dataset"])
    assert level(("a", "flow", 1), ("b", "mail", 1)) == ("high", [])
    incident["entities"][0]["value"] = "198.51.100.1"
    assert level(("a", "flow", 1), ("b", "mail", 1))[1] == ["outside"]
    incident["entities"][0]["value"] = "pc-17"
    assert level(("a", "flow", 12))[0] == "medium"
    made = [{"rule_id": "a", "dataset": "flow", "count": 12, "facts": {"csirt.supplier_window": ["inside"]}}]
    assert caseview.confidence(context(room), [incident], made)["level"] == "low"


def test_watching_gives_the_queue_and_then_each_change(tmp_path: Path) -> None:
    """A change made while somebody watches arrives once; a quiet stream gives signs of life; filters hold."""
    room = Room(tmp_path)
    number = room.alarm("a")
    stream = call(context(room, live=True), "cases.watch", {"where": "severity>=high"})
    (first,) = islice(stream, 1)
    assert first["number"] == number
    room.run("cases", "ack", number)
    room.alarm("b", severity="low", host="10.32.0.5")
    room.alarm("c", host="10.33.0.5")
    seen = list(islice(stream, 3))
    assert [item.get("number", "alive") for item in seen] == [number, "C-2026-0003", "alive"]
    assert seen[0]["state"] == "acknowledged"
    stream.close()
    access = [entry for entry in room.store.entries if entry.action == "cases.watch"]
    assert len(access) == 1 and access[0].detail["rows"] == 4


def test_a_broken_register_hides_no_case(tmp_path: Path) -> None:
    """When a part cannot be built, the case is shown with what there is."""
    from csirt.errors import Usage

    room = Room(tmp_path)
    number = room.alarm("a")

    def broken(name: str) -> Any:
        raise Usage(f"{name} is broken")

    room.part = broken  # type: ignore[method-assign]
    document = room.call("cases.show", case=number)
    assert document["members"][0] == {
        "id": "gp", "name": "gp", "kind": "", "language": "", "contacts": [], "known": False,
    }  # fmt: skip
    assert document["on_call"] == []
