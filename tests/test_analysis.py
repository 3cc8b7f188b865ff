"""The analysis in steps: bounded, decided by the hits alone, and the same after a kill between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from csirt import analysis
from csirt.analysis import Analyst
from csirt.clock import SYSTEM
from csirt.config import Config, Contact, Route
from csirt.detect.match import Detector
from csirt.detect.rules.deploy import Deployed
from csirt.detect.rules.load import parse_rules
from csirt.errors import Usage
from csirt.model import address
from csirt.model.batch import Batch, address_columns, assemble, constant
from csirt.model.ecs import TIME
from csirt.model.hits import HITS
from csirt.model.records import Case, Incident
from csirt.model.tlp import FIELD
from csirt.notify.router import Router
from csirt.report.build import build
from csirt.respond.plan import Responder
from csirt.stores.base import Commit, Store
from csirt.stores.embedded import open_embedded

RULE = """
title: Anything
id: 5f2a0a62-59f1-4b1c-8d55-0f7a1c0e4a12
status: test
level: low
logsource: {product: csirt, service: flow}
detection:
  selection: {destination.port: 443}
  condition: selection
"""
NAME = "5f2a0a62-59f1-4b1c-8d55-0f7a1c0e4a12"
HITS_IN_ALL = 60
MINUTE = 60_000_000


def hits(numbers: list[int]) -> pa.Table:
    """Hit `n` comes in minute n, from one of seven hosts."""
    rows = [
        {
            "stream": NAME,
            "rule": NAME,
            "time": number * MINUTE,
            "event": f"{number:032x}",
            "group": f'{{"source.ip":"10.0.0.{number % 7}"}}',
            "source": f"host:10.0.0.{number % 7}",
            "target": f"host:10.9.0.{number}",
            "facts": "{}",
        }
        for number in numbers
    ]
    return pa.Table.from_pylist(rows, schema=HITS)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of ten hits."""
    monkeypatch.setattr(analysis, "SLICE", 10)
    monkeypatch.setattr(analysis, "ALERTING", 10)


def made(folder: Path, blobs: list[list[int]]) -> Store:
    """A store in which these blobs of hits wait."""
    store = open_embedded(folder, clock=SYSTEM)
    for numbers in blobs:
        store.commit(Commit(hits=hits(numbers)))
    return store


def analyst() -> Analyst:
    """An analyst as a fresh process makes one."""
    ruleset, config = parse_rules(RULE), Config()
    assert [rule.id for rule in ruleset.rules] == [NAME]
    responder, router = Responder({}, register=None, config=config), Router(config)  # type: ignore[arg-type]
    return Analyst(
        ruleset=lambda: ruleset,
        responder=lambda: responder,
        router=lambda: router,
        names=dict,
        window_us=120 * MINUTE,
        deliver=False,
    )


def dumped(store: Store) -> list[bytes]:
    """The canonical dump."""
    return list(store.dump())


def whole(blobs: int) -> list[list[int]]:
    """All hits, dealt to so many blobs."""
    return [list(range(first, HITS_IN_ALL, blobs)) for first in range(blobs)]


class Killed(BaseException):
    """A process that ends at once."""


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Any]:
    """Makes stores, and closes them."""
    opened: list[Store] = []

    def make(name: str, blobs: list[list[int]]) -> Store:
        opened.append(made(tmp_path / name, blobs))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.mark.usefixtures("small_steps")
def test_steps_do_not_depend_on_how_the_hits_were_stored(stores: Any) -> None:
    """However the same hits lie in blobs, the steps and all that comes of them are the same, and nothing is left."""
    dumps = []
    for count in (1, 3, 20):
        store = stores(f"s{count}", whole(count))
        counts = analyst().advance(store, HITS_IN_ALL * MINUTE, 1)
        assert counts["alerts"] == 7 and store.pending(1 << 62) == []
        dumps.append(dumped(store))
    assert dumps[0] == dumps[1] == dumps[2]


@pytest.mark.usefixtures("small_steps")
def test_a_kill_between_two_steps_changes_nothing(stores: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process goes on at the step the last one had committed, and ends with the same store."""
    expected = stores("undisturbed", whole(3))
    analyst().advance(expected, HITS_IN_ALL * MINUTE, 1)
    for steps in (1, 2, 5):
        store = stores(f"killed{steps}", whole(3))
        left = iter(range(steps))
        commit = store.commit

        def short(change: Commit, left: Any = left, commit: Any = commit) -> None:
            if next(left, None) is None:
                raise Killed
            commit(change)

        monkeypatch.setattr(store, "commit", short)
        with pytest.raises(Killed):
            analyst().advance(store, HITS_IN_ALL * MINUTE, 1)
        monkeypatch.setattr(store, "commit", commit)
        assert store.pending(1 << 62)
        analyst().advance(store, HITS_IN_ALL * MINUTE, 1)
        assert dumped(store) == dumped(expected)


@pytest.mark.usefixtures("small_steps")
def test_hits_after_the_watermark_wait(stores: Any) -> None:
    """Only hits up to the time asked for are used; the others are still there, once each."""
    store = stores("store", whole(3))
    analyst().advance(store, 25 * MINUTE, 1)
    times = [time for blob in store.pending(1 << 62) for time in blob.hits.column("time").to_pylist()]
    assert sorted(times) == [number * MINUTE for number in range(26, HITS_IN_ALL)]


BASELINE = """
title: Names
id: 5f2a0a62-59f1-4b1c-8d55-0f7a1c0e4a13
name: names
logsource: {product: csirt, service: flow}
detection: {selection: {destination.port: 53}, condition: selection}
---
title: More names than ever
id: 5f2a0a62-59f1-4b1c-8d55-0f7a1c0e4a14
status: test
level: medium
correlation:
  type: baseline
  rules: [names]
  group-by: [source.ip]
  timespan: 10m
  condition: {measure: count, above: {quantile: 0.5}, at-least: 3, history: 1h, season: none}
"""


def flows(count: int) -> Batch:
    """A flow every minute, later every few seconds; two of three ask for names, the others are what RULE alerts on."""
    numbers = np.arange(count)
    times = np.where(numbers < count // 2, numbers, count // 2 + (numbers - count // 2) / 9)
    low = np.uint64(address.from_text("10.0.0.0")[2])
    columns: dict[str, Any] = {
        "csirt.segment": constant("0123456789abcdef", count),
        "csirt.ordinal": numbers.astype(np.uint64),
        "@timestamp": pa.array((times * MINUTE).astype(np.int64), TIME),
        "destination.port": np.where(numbers % 3, 53, 443).astype(np.uint16),
        "network.bytes": (numbers % 7).astype(np.uint64),
    }
    for name in ("source.ip", "destination.ip"):
        family = np.full(count, 4, np.uint8)
        columns |= address_columns(name, family, np.zeros(count, np.uint64), low + numbers.astype(np.uint64) % 5)
    return assemble("flow", columns)


@pytest.mark.usefixtures("small_steps")
def test_what_is_found_does_not_depend_on_how_rows_were_batched(stores: Any) -> None:
    """A baseline's hits stand for as many events as a batch has of a bucket, so their number is that of batches: with
    batches of two, of some or of all rows, and commits that end after ten hits, all that comes of them is the same."""
    whole, dumps = flows(300), []
    ruleset = parse_rules(RULE + "---" + BASELINE)
    for size in (2, 37, 300):
        detector, store, judge = Detector(ruleset), stores(f"s{size}", []), analyst()
        for at in range(0, 300, size):
            store.commit(Commit(hits=detector.match(Batch("flow", whole.table.slice(at, size)))))
        judge._ruleset = lambda: ruleset
        judge.advance(store, 400 * MINUTE, 1)
        assert any(item["rule_name"] == "More names than ever" for item in store.find("alert"))
        dumps.append(dumped(store))
    assert dumps[0] == dumps[1] == dumps[2]


def on_trial(state: str) -> Analyst:
    """An analyst with the rule deployed so."""
    made = analyst()
    ruleset = parse_rules(RULE)
    ruleset.deployment.rules[NAME] = Deployed(state)  # type: ignore[arg-type]
    made._ruleset = lambda: ruleset
    return made


def test_a_rule_in_shadow_tells_nobody(stores: Any) -> None:
    """Its alerts are recorded as such; no incident, case, plan or notification comes of them. Off, nothing does."""
    store = stores("shadow", whole(1))
    on_trial("shadow").advance(store, HITS_IN_ALL * MINUTE, 1)
    alerts = store.find("alert")
    assert len(alerts) == 7 and all(alert["shadow"] and not alert["incident"] for alert in alerts)
    assert sum(alert["count"] for alert in alerts) == HITS_IN_ALL
    assert [store.count(kind) for kind in ("incident", "case", "run", "receipt", "notification")] == [0] * 5
    nothing = stores("off", whole(1))
    on_trial("off").advance(nothing, HITS_IN_ALL * MINUTE, 1)
    assert nothing.count("alert") == 0


def test_promoted_while_an_alert_is_open(stores: Any) -> None:
    """What still grows is told from then on, and what was told stays part of its incident when its rule goes back to
    shadow; every hit is counted once."""
    store = stores("promoted", [list(range(20)), list(range(20, 40)), list(range(40, 60))])
    for step, state in enumerate(("shadow", "on", "shadow"), 1):
        on_trial(state).advance(store, (20 * step - 1) * MINUTE, step)
        alerts = store.find("alert")
        assert [alert["shadow"] for alert in alerts] == [state == "shadow"] * 7
        assert all(bool(alert["incident"]) == (step > 1) for alert in alerts)
        assert sum(alert["count"] for alert in alerts) == 20 * step
    incidents = store.find("incident")
    assert sum(len(item["alerts"]) for item in incidents if not item["merged_into"]) == 7


def talk(minute: int, group: str, source: str, target: str) -> dict[str, object]:
    """A hit of that group, from one host to another."""
    return {
        "stream": NAME,
        "rule": NAME,
        "time": minute * MINUTE,
        "event": f"{minute:032x}",
        "group": f'{{"source.ip":"{group}"}}',
        "source": f"host:{source}",
        "target": f"host:{target}",
        "facts": "{}",
    }


def test_how_often_it_looks_changes_no_incident(stores: Any) -> None:
    """What an alert learns later ties nothing that came before: looked at once or minute by minute, with small commits
    or large ones, the incidents are the same."""
    table = pa.Table.from_pylist(
        [
            talk(1, "one", "10.0.0.1", "10.9.0.1"),
            talk(2, "two", "10.0.0.2", "10.9.0.2"),
            talk(3, "one", "10.0.0.1", "10.0.0.2"),
            talk(4, "three", "10.0.0.2", "10.9.0.3"),
        ],
        schema=HITS,
    )
    dumps = []
    for name, times in (("once", [9]), ("often", list(range(10))), ("twice", [2, 9])):
        store = stores(name, [])
        store.commit(Commit(hits=table))
        for minute in times:
            analyst().advance(store, minute * MINUTE, 1)
        assert store.pending(1 << 62) == []
        dumps.append(dumped(store))
        found = store.find("incident")
        assert [len(item["alerts"]) for item in found if not item["merged_into"]] == [3], name
        assert any(item["merged_into"] for item in found), "the second host's alert began as an incident of its own"
    assert dumps[0] == dumps[1] == dumps[2]


def test_what_met_a_red_indicator_stays_inside(stores: Any) -> None:
    """Its label goes with alert, incident and case, beside milder ones; the notification says only that there is a
    case; a member's report is refused, whoever it is for."""
    labels = ["GREEN", "RED"]
    table = hits([0, 7]).set_column(
        HITS.names.index("facts"), HITS.field("facts"), [[f'{{"{FIELD}":"{label}"}}' for label in labels]]
    )
    store = stores("red", [])
    store.commit(Commit(hits=table))
    config = Config()
    config.notify.contacts = [Contact(name="duty", channel="mail", address="duty@csirt.example")]
    config.notify.routes = [Route(name="all", contacts=["duty"])]
    telling = analyst()
    telling._router = lambda: Router(config)
    telling.advance(store, 0, 1)
    (incident,), (case,) = store.find("incident"), store.find("case")
    assert (incident["tlp"], case["tlp"]) == ("GREEN", "AMBER")
    telling.advance(store, 60 * MINUTE, 2)
    (incident,), (case,) = store.find("incident"), store.find("case")
    assert (incident["tlp"], case["tlp"]) == ("RED", "RED")
    with pytest.raises(Usage, match="TLP:RED"):
        build(
            Case.model_validate(case),
            [Incident.model_validate(incident)],
            [],
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            "en",
            sender=None,  # type: ignore[arg-type]
            issued=0,
            recipient="Kari",
        )
    whole = stores("whole red", [])
    whole.commit(Commit(hits=table))
    telling.advance(whole, 60 * MINUTE, 2)
    (told,) = whole.find("notification")
    assert "TLP:RED" in told["body"] and "Anything" not in told["body"] + told["subject"]
    assert "10.0.0" not in told["body"] + told["subject"]
