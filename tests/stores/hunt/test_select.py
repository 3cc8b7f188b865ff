"""Selecting events: the order, the cuts, and the same answer however the rows lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest

from csirt.clock import HOUR, Frozen
from csirt.model.batch import Batch, event_ids
from csirt.model.filter import Filter
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded
from csirt.stores.embedded.lake import ordered
from csirt.stores.hunt.select import Outcome, Question, lines, tables
from tests.stores import build


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Two flow segments whose times interleave, mail between them, in files and in the catalogue."""
    with open_embedded(tmp_path, clock=Frozen(build.START)) as opened:
        for first in (5_000, 0):
            batches = [
                build.flows(5_000, first=first),
                build.flows(5_000, name="two", first=first),
                build.mails(50, first=first),
            ]
            opened.commit(Commit(batches=batches))
        yield opened


def found(store: EmbeddedStore, question: Question) -> list[tuple[str, str]]:
    """(@timestamp, event.id) of every line."""
    result = []
    for line in lines(store, question, Outcome()):
        event = orjson.loads(line)
        result.append((event["@timestamp"], event["event"]["id"]))
    return result


def everything(store: EmbeddedStore) -> dict[str, int]:
    """Event id to time, by reading all batches."""
    known: dict[str, int] = {}
    for batch in store.events():
        times = batch.table.column("@timestamp").cast(pa.int64()).to_pylist()
        known.update(zip(event_ids(batch.table).to_pylist(), times, strict=True))
    return known


def test_all_events_sorted_by_time_and_id(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event once, in (@timestamp, event.id) order, also when only few rows are held at a time."""
    known = everything(store)
    wanted = sorted(known, key=lambda id: (known[id], id))
    assert [id for _, id in found(store, Question())] == wanted
    monkeypatch.setattr(ordered, "_AT_ONCE", 100)
    assert [id for _, id in found(store, Question())] == wanted
    assert len(wanted) == 20_100


def test_merging_changes_no_answer(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lines before and after gathering and merging, row groups included."""
    question = Question(since=build.START + 500_000, until=build.START + 9_000_000)
    before = list(lines(store, question, Outcome()))
    store.clock.time += 2 * HOUR  # type: ignore[attr-defined]
    from csirt.stores.embedded.lake import encode, merge

    monkeypatch.setattr(merge, "ROW_GROUP", 1_000)
    monkeypatch.setattr(encode, "ROW_GROUP", 1_000)
    monkeypatch.setattr(ordered, "ROW_GROUP", 1_000)
    store.maintain()
    assert len(list(store.lake.rglob("*.parquet"))) < 6
    assert list(lines(store, question, Outcome())) == before
    assert before


def test_conditions_hold_together(store: EmbeddedStore) -> None:
    """Dataset, time range, filter and rule each cut; computed fields can be asked for."""
    where = Filter.parse("destination.port:445 event.dataset:flow network.transport:tcp", 0)
    rows = found(store, Question(where=where, since=build.START, until=build.START + 1_000_000))
    ports = [
        port
        for batch in store.events("flow", until=build.START + 1_000_000)
        for port in batch.table.column("destination.port").to_pylist()
    ]
    assert len(rows) == ports.count(445) > 100
    assert len(found(store, Question(dataset="mail"))) == 100

    def odd(batch: Batch) -> np.ndarray:
        return np.asarray(batch.table.column("csirt.ordinal").to_numpy()) % 2 == 1

    assert len(found(store, Question(dataset="flow", match=odd))) == 10_000
    one = found(store, Question(dataset="flow"))[7][1]
    assert [id for _, id in found(store, Question(where=Filter.parse(f"event.id:{one}", 0)))] == [one]


def test_the_limit_cuts_after_sorting_and_says_so(store: EmbeddedStore) -> None:
    """The first so many of the whole order; `truncated` only when something was cut off."""
    whole = found(store, Question())
    for limit in (0, 1, 77, 20_100, 30_000):
        outcome = Outcome()
        cut = [orjson.loads(line)["event"]["id"] for line in lines(store, Question(limit=limit), outcome)]
        assert cut == [id for _, id in whole[:limit]]
        assert (outcome.count, outcome.truncated) == (min(limit, 20_100), limit < 20_100)


def test_tables_hold_the_same_rows_as_lines(store: EmbeddedStore) -> None:
    """Arrow out: the same events, each table sorted, the limit over all datasets."""
    for limit in (None, 500):
        outcome = Outcome()
        names: list[str] = []
        for batch in tables(store, Question(limit=limit), outcome):
            times = batch.table.column("@timestamp").cast(pa.int64()).to_pylist()
            ids = event_ids(batch.table).to_pylist()
            assert list(zip(times, ids, strict=True)) == sorted(zip(times, ids, strict=True))
            names += ids
        assert sorted(names) == sorted(id for _, id in found(store, Question(limit=limit)))
        assert outcome.count == len(names)
