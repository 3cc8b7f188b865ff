"""Rules of the whole sector: what the cluster finds and the engine confirms is what the stream finds."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from csirt.clock import MINUTE
from csirt.detect.match import Detector
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.sector import candidates
from csirt.detect.sector.stretch import Stretch
from csirt.detect.windows.windows import Windows
from csirt.model.batch import Batch
from csirt.model.search import Search
from csirt.stores.base import Commit
from csirt.stores.elastic.sector import query
from csirt.stores.elastic.sector.find import Searcher
from csirt.stores.elastic.store import ElasticStore
from tests.elastic import cluster, desk
from tests.elastic.bursts import KINDS, flows, ruleset

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(cluster.MAJOR != 8, reason="ES|QL is tried on 8.19 only"),
]


def streamed(loaded: Ruleset, item: Any, batch: Batch, until: int) -> dict[str, dict[str, Any]]:
    """The alerts of one rule as the streaming engine makes them."""
    one = candidates.subset(loaded, item)
    windows = Windows(one)
    found = windows.advance(Detector(one).match(batch), until)
    return {change.alert.id: change.alert.model_dump() for change in found}


def searched(
    searcher: Searcher, loaded: Ruleset, item: Any, search: Search, cuts: list[int]
) -> dict[str, dict[str, Any]]:
    """The alerts of one rule as runs over the cluster make them, one stretch after the other."""
    one = candidates.subset(loaded, item)
    alerts: dict[str, dict[str, Any]] = {}
    opened = b""
    for after, until in itertools.pairwise(cuts):
        survey = searcher.survey(search, after, until, search.timespan)
        found = searcher.candidates(search, after, until) if not survey.odd else None
        stretch = Stretch(one, after, until, opened)
        stretch.take(searcher.batches(search, after, until, found))
        windows, hits = stretch.windows()
        for change in windows.advance(hits, until):
            assert change.opened or change.alert.id in alerts
            alerts[change.alert.id] = change.alert.model_dump()
        opened = windows.opened()
    return alerts


@pytest.fixture(scope="module")
def place(elasticsearch: str) -> tuple[str, str]:
    """Indices for the flows of this module."""
    prefix = f"sector-{uuid.uuid4().hex[:8]}"
    desk.install(elasticsearch, prefix)
    return elasticsearch, prefix


@pytest.fixture
def corner(place: tuple[str, str], tmp_path: Path) -> Iterator[ElasticStore]:
    """An empty store whose cluster gets every event."""
    desk.empty(*place)
    with desk.opened(tmp_path, *place, content="all") as store:
        yield store


@pytest.mark.parametrize("seed", range(3))
def test_the_cluster_finds_what_the_stream_finds(corner: ElasticStore, seed: int, monkeypatch: Any) -> None:
    """Every kind of rule and correlation, events in bursts at the borders of buckets, runs cut anywhere, few rows in an
    answer: the same alerts with the same ids, events and entities."""
    monkeypatch.setattr(query, "MOST", 110)
    batch = flows(seed)
    corner.commit(Commit(batches=[batch]))
    corner.shipper.settle(desk.SECONDS, patient=True)
    searcher = Searcher(corner.shipper.client, corner.config.elasticsearch)
    searcher.refresh()
    loaded = ruleset()
    chance = random.Random(seed)
    times = batch.table.column("@timestamp").cast(pa.int64()).to_pylist()
    least, most = min(times), max(times)
    cuts = [least - 1, *sorted(chance.sample(sorted(set(times)), 2)), most + chance.randrange(MINUTE)]
    fired = 0
    for item in loaded.everything():
        search = candidates.search(loaded, item, KINDS)
        expected = streamed(loaded, item, batch, cuts[-1])
        assert searched(searcher, loaded, item, search, cuts) == expected, item.meta.title
        fired += len(expected)
    assert fired > 20
