"""Sums by field agree with sums made row by row."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from csirt.clock import Frozen
from csirt.errors import Usage
from csirt.model.address import to_text
from csirt.model.batch import Batch
from csirt.model.filter import Filter
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded
from csirt.stores.hunt import top as module
from csirt.stores.hunt.select import Question
from csirt.stores.hunt.top import top
from tests.stores import build

COMMON = ["@timestamp", "csirt.segment", "csirt.ordinal"]


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    with open_embedded(tmp_path, clock=Frozen(build.START)) as opened:
        for first in (0, 3_000):
            opened.commit(Commit(batches=[build.flows(3_000, first=first), build.mails(21, first=first)]))
        yield opened


def by_hand(store: EmbeddedStore) -> dict[tuple[str, int], list[int]]:
    sums: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for batch in store.events("flow"):
        for row in batch.table.to_pylist():
            key = (to_text(4, 0, row["source.ip:lo"]), row["destination.port"])
            for index, value in enumerate((1, row["network.packets"], row["network.bytes"])):
                sums[key][index] += value
    return sums


@pytest.mark.parametrize("merge", [500_000, 50])
def test_sums_are_those_made_by_hand(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, merge: int) -> None:
    """Events, packets and bytes per address and port, also when partial sums are added up on the way."""
    monkeypatch.setattr(module, "_MERGE_ROWS", merge)
    found = top(store, Question(dataset="flow"), ["source.ip", "destination.port"])
    sums = {
        (item["source.ip"], item["destination.port"]): [item["events"], item["packets"], item["bytes"]]
        for item in found["items"]
    }
    assert sums == dict(by_hand(store))
    order = [item["bytes"] for item in found["items"]]
    assert order == sorted(order, reverse=True)


def test_order_and_limit(store: EmbeddedStore) -> None:
    """By events or packets when asked; the limit keeps the largest and says that it cut."""
    whole = top(store, Question(dataset="flow"), ["destination.port"], "events")
    events = [item["events"] for item in whole["items"]]
    assert events == sorted(events, reverse=True) and sum(events) == 6_000
    cut = top(store, Question(dataset="flow", limit=2), ["destination.port"], "events")
    assert (cut["items"], cut["count"], cut["truncated"]) == (whole["items"][:2], 2, True)


def test_lists_text_and_computed_fields(store: EmbeddedStore) -> None:
    """A list counts once per value; a dataset without the field counts under null; text and computed fields work."""
    found = top(store, Question(dataset="mail"), ["email.to.address"], "events")
    assert {item["email.to.address"] for item in found["items"]} == {f"post@m{n}.example" for n in range(7)}
    assert sum(item["events"] for item in found["items"]) == 42
    kinds = top(store, Question(), ["event.dataset", "network.transport"], "events")
    assert [(i["event.dataset"], i["network.transport"], i["events"]) for i in kinds["items"]] == [
        ("flow", "tcp", 6_000),
        ("mail", None, 42),
    ]
    members = top(store, Question(where=Filter.parse("member:hospital", 0)), ["csirt.source.member.id"])
    assert [item["csirt.source.member.id"] for item in members["items"]] == ["hospital"]


def test_unknown_fields_and_orders_are_refused(store: EmbeddedStore) -> None:
    """With the nearest known name."""
    with pytest.raises(Usage, match=r"did you mean 'destination\.port'"):
        top(store, Question(), ["destination.prot"])
    with pytest.raises(Usage, match="bytes, packets, events"):
        top(store, Question(), ["destination.port"], "size")
    assert top(store, Question(until=0), ["destination.port"])["items"] == []


def test_too_many_values_want_a_limit(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound nothing is given out unless --limit says how much."""
    monkeypatch.setattr(module, "MOST_ITEMS", 3)
    with pytest.raises(Usage, match="--limit"):
        top(store, Question(dataset="flow"), ["source.ip"])
    assert top(store, Question(dataset="flow", limit=3), ["source.ip"])["count"] == 3


def test_addresses_stay_addresses_beside_datasets_without_them(tmp_path: Path) -> None:
    """Over all datasets, of which some have no such field, an address is summed and shown as in its own."""
    with open_embedded(tmp_path, clock=Frozen(build.START)) as opened:
        opened.commit(Commit(batches=[build.flows(50), Batch("flow_counters", build.mails(5).table.select(COMMON))]))
        found = top(opened, Question(), ["source.ip"])
        alone = top(opened, Question(dataset="flow"), ["source.ip"])
    assert [item for item in found["items"] if item["source.ip"]] == alone["items"]
    assert sum(item["events"] for item in found["items"]) == 55
