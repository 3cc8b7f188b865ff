"""SQL over the datasets: right sums, plain values, and no way out of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from csirt.clock import Frozen
from csirt.errors import Usage
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded
from csirt.stores.hunt import sql as module
from csirt.stores.hunt.select import Question
from csirt.stores.hunt.sql import query
from tests.stores import build


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    with open_embedded(tmp_path, clock=Frozen(build.START)) as opened:
        opened.commit(Commit(batches=[build.flows(3_000), build.mails(21)]))
        opened.commit(Commit(batches=[build.flows(100, first=3_000)]))
        yield opened


def test_groups_and_text(store: EmbeddedStore) -> None:
    """Addresses and repeated text are text, sums are right, times are ISO with Z."""
    found = query(
        store,
        Question(),
        'SELECT "network.transport" AS t, count(*) AS n, sum("network.bytes") AS b, min("@timestamp") AS first '
        "FROM flow GROUP BY 1",
    )
    total = sum(sum(batch.table.column("network.bytes").to_pylist()) for batch in store.events("flow"))
    assert found["columns"] == ["t", "n", "b", "first"]
    assert found["rows"] == [["tcp", 3_100, total, "2025-11-23T12:13:20Z"]]
    one = query(store, Question(), 'SELECT "source.ip", "event.id" FROM flow ORDER BY "event.id" LIMIT 1')
    assert one["rows"][0][0].startswith("10.0.")
    assert len(one["rows"][0][1]) == 32


def test_lists_star_joins_limits(store: EmbeddedStore) -> None:
    """Every column by `*`, list columns as lists, two datasets in one query, the limit reported."""
    everything = query(store, Question(limit=2), "SELECT * FROM mail")
    assert everything["truncated"] and everything["count"] == 2
    assert ["post@m0.example"] in everything["rows"][0]
    both = query(store, Question(), "SELECT (SELECT count(*) FROM mail) AS m, count(*) AS f FROM flow")
    assert both["rows"] in ([[21, 3_100]], [[21, 3_100]] * 3_100)
    assert query(store, Question(until=0), 'SELECT "source.ip" FROM flow')["rows"] == []
    assert query(store, Question(), 'SELECT "source.ip" FROM dns')["rows"] == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM READ_CSV ('/etc/passwd')",
        "SELECT * FROM \"read_parquet\"('x.parquet')",
        "SELECT * FROM read_json/**/('x')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM nosuch",
        "SELECT",
        "",
        'SELECT "no.such" FROM flow',
        "CREATE TABLE x AS SELECT * FROM nosuch",
        "DELETE FROM flow WHERE 1 = 1; DROP TABLE flow",
    ],
)
def test_what_cannot_be_asked_is_refused(store: EmbeddedStore, text: str) -> None:
    """Files, other tables, broken SQL: a sentence with the tables there are, and nothing of the store changes."""
    with pytest.raises(Usage, match=r"flow|SELECT"):
        query(store, Question(), text)
    assert query(store, Question(), "SELECT count(*) AS n FROM flow")["rows"] == [[3_100]]


def test_too_much_is_refused_before_memory_is_gone(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the sentence says how to narrow."""
    monkeypatch.setattr(module, "MOST_BYTES", 3_000)
    with pytest.raises(Usage, match="--since"):
        query(store, Question(), "SELECT count(*) AS n FROM flow")
    with pytest.raises(Usage, match="--dataset"):
        query(store, Question(dataset="mail"), "SELECT count(*) AS n FROM flow")
