"""Runs of the rules of the whole sector: one leader, whatever is killed, late or away, and every alert once."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from csirt.analysis import Analyst
from csirt.clock import MINUTE, SECOND, Frozen
from csirt.config import Config, Detect
from csirt.detect.match import Detector
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.windows.windows import Windows
from csirt.errors import Unreachable
from csirt.metrics import Metrics
from csirt.model.batch import Batch
from csirt.model.hits import kept
from csirt.model.search import Search
from csirt.nodes import NodeAnalysis
from csirt.notify.router import Router
from csirt.respond.plan import Responder
from csirt.scope import Scope, scope
from csirt.sector import Sector
from csirt.stores.base import Commit
from csirt.stores.elastic.sector.find import Searcher, Survey
from csirt.stores.elastic.shared import lease
from csirt.stores.elastic.store import ElasticStore
from csirt.stores.embedded import open_embedded
from csirt.stores.embedded.dump import dump
from csirt.watermark import tick
from tests.elastic import cluster, desk
from tests.elastic.bursts import deployed, flows, ruleset
from tests.elastic.shared import desk as shared
from tests.stores import build

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(cluster.MAJOR != 8, reason="ES|QL is tried on 8.19 only"),
]
END = build.START - build.START % MINUTE + 60 * MINUTE
FOUND = ("alert", "incident", "case", "notification")


def analyst(loaded: Ruleset) -> Analyst:
    """One as a fresh process makes it."""
    config = Config()
    responder, router = Responder({}, register=None, config=config), Router(config)  # type: ignore[arg-type]
    return Analyst(
        ruleset=lambda: loaded,
        responder=lambda: responder,
        router=lambda: router,
        names=dict,
        window_us=120 * MINUTE,
        deliver=False,
    )


class Site:
    """A daemon with a cluster: what it reads it matches, and the rules of the sector it looks for there."""

    def __init__(self, store: Any, loaded: Ruleset) -> None:
        self.store, self.loaded, self.mark = store, loaded, None
        self.config = Config(stores=store.config, detect=Detect(sector_every="1s"))
        self.metrics = Metrics()
        self.start()

    def start(self) -> None:
        """As a fresh process does."""
        since = int(self.store.state("watermark") or 0)
        self.scope: Scope = scope(self.loaded, self.config, cluster=True, since=since)
        self.detector = Detector(self.loaded.running, elsewhere=self.scope.searches)
        self.analyst = analyst(self.scope.streaming)
        self.sector = Sector(
            store=self.store, scope=lambda: self.scope, analyst=self.analyst, config=self.config,
            clock=self.store.clock, metrics=self.metrics, mark=lambda: self.mark, off=dict, overrun=print,
        )  # fmt: skip

    def read(self, batch: Batch, mark: int) -> None:
        """Commit rows, and close event time up to `mark`."""
        hits = self.detector.match(batch)
        assert not kept(hits).num_rows  # nothing of it is for the stream
        self.store.commit(Commit(batches=[batch], hits=hits if hits.num_rows else None))
        self.mark = mark
        assert not self.store.pending(1 << 62)

    def look(self) -> dict[str, int]:
        """Once the cluster has everything, all that can be looked at."""
        self.store.shipper.settle(desk.SECONDS, patient=True)
        return self.sector.drain()


class Node(Site):
    """One of two daemons, with its part of the flows; the test takes the turns of its threads."""

    def __init__(self, store: Any, loaded: Ruleset, batch: Batch, mine: Any, chance: random.Random) -> None:
        part = Batch("flow", batch.table.filter(pa.array(mine)))
        self.left = list(pieces(part, chance))
        super().__init__(store, loaded)

    def read(self) -> None:  # type: ignore[override]
        """The next rows, if there are more."""
        if self.left:
            part, mark = self.left.pop(0)
            super().read(part, mark if self.left else END)
            analysis = NodeAnalysis(self.analyst, Sources(), self.store.clock, str)  # type: ignore[arg-type]
            analysis.advance(self.store, self.mark, 1)

    def turn(self) -> None:
        """A turn of its threads."""
        self.store.present.turn()
        self.store.tail.turn()
        self.store.clock.time += int(lease.RENEW * SECOND)

    def silent(self) -> None:
        """The others hear nothing of anybody else for so long that this node leads."""
        for _ in range(12):
            self.turn()

    def look(self) -> dict[str, int]:
        """As far as the cluster has everything."""
        return self.sector.drain()


def lines(store: Any) -> dict[str, list[bytes]]:
    """What a store has found, canonically."""
    return {kind: list(dump(store, [kind])) for kind in FOUND}


def pieces(batch: Batch, chance: random.Random) -> Iterator[tuple[Batch, int]]:
    """The rows in an order in which event time is late by up to a minute, in pieces; and how far it is closed then."""
    times = np.array(batch.table.column("@timestamp").cast(pa.int64()).to_pylist())
    order = np.argsort(times + np.array([chance.randrange(MINUTE) for _ in times]), kind="stable")
    for part in np.array_split(order, 6):
        left = times[order[np.flatnonzero(order == part[-1])[0] + 1 :]]
        mark = tick(int(left.min()) - 1 if len(left) else int(times.max()) + 5 * MINUTE)
        yield Batch("flow", batch.table.take(pa.array(part))), mark


@pytest.fixture(scope="module")
def place(elasticsearch: str) -> tuple[str, str]:
    """Indices for the flows of this module."""
    prefix = f"runs-{uuid.uuid4().hex[:8]}"
    desk.install(elasticsearch, prefix)
    return elasticsearch, prefix


@pytest.fixture
def store(place: tuple[str, str], tmp_path: Path) -> Iterator[ElasticStore]:
    """An empty store whose cluster gets what rules match."""
    desk.empty(*place)
    with desk.opened(tmp_path / "cluster", *place, content="matched") as found:
        yield found


@pytest.mark.parametrize("seed", range(2))
def test_runs_find_what_the_stream_finds(store: ElasticStore, tmp_path: Path, seed: int) -> None:
    """Events late within bounds, looks at any time, processes that end between a look and its commit: alerts,
    incidents and cases are those of a daemon without a cluster on which the rules run on the stream."""
    chance, loaded = random.Random(seed), deployed()
    batch, site = flows(seed), Site(store, loaded)
    with open_embedded(tmp_path / "alone", clock=Frozen(build.START)) as alone:
        stream = analyst(loaded)
        for part, mark in pieces(batch, chance):
            hits = Detector(loaded.running).match(part)
            alone.commit(Commit(batches=[part], hits=hits if hits.num_rows else None))
            stream.advance(alone, mark, 1)
            site.read(part, mark)
            if chance.random() < 0.5:
                store.shipper.settle(desk.SECONDS, patient=True)
                site.sector._begin()
                assert site.sector._found() is not None  # and then the process ends
                site.start()
            if chance.random() < 0.7:
                site.look()
        site.look()
        found, expected = lines(store), lines(alone)
    assert len(expected["alert"]) > 20
    assert {kind: len(found[kind]) for kind in FOUND} == {kind: len(expected[kind]) for kind in FOUND}
    assert found == expected
    assert site.look() == {} and lines(store) == found


def test_a_rule_that_fails_holds_no_other_up(
    store: ElasticStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said and counted, the others' alerts come, and when the cluster takes it again its own are all there."""
    loaded, batch = deployed(), flows(3)
    site, bad = Site(store, loaded), loaded.correlations[0].id
    site.sector._begin()
    site.read(batch, END)
    whole = Searcher.survey

    def refused(self: Searcher, search: Search, *more: int) -> Survey:
        if search.id == bad:
            raise Unreachable("too much memory")
        return whole(self, search, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Searcher, "survey", refused)
        site.look()
    said = {item["id"]: item["failure"] for item in site.sector.status()["rules"]}
    assert said.pop(bad) == "too much memory" and set(said.values()) == {""}
    assert site.metrics.value("csirt_sector_failures_total", rule=bad) == 1
    fired = {orjson.loads(line)["rule_id"] for line in lines(store)["alert"]}
    assert fired and bad not in fired
    site.look()
    with open_embedded(tmp_path / "alone", clock=Frozen(build.START)) as alone:
        alone.commit(Commit(batches=[batch], hits=Detector(loaded.running).match(batch)))
        analyst(loaded).advance(alone, END, 1)
        assert lines(store)["alert"] == lines(alone)["alert"]
    assert not any(item["failure"] for item in site.sector.status()["rules"])


def test_a_rule_may_go_to_the_cluster_and_back(store: ElasticStore) -> None:
    """On the stream, in the cluster, on the stream again, events late all the while: no event that an alert would have
    had is in none."""
    chance, loaded, plain = random.Random(4), deployed(), ruleset()
    batch, site = flows(4, 240), Site(store, plain)
    wanted = {event for alert in found_at_once(plain, batch) for event in alert.events}
    for place, (part, mark) in enumerate(pieces(batch, chance)):
        if place in (2, 4):
            site.loaded = loaded if place == 2 else plain
            site.start()
            site.sector._begin()
        hits = site.detector.match(part)
        store.commit(Commit(batches=[part], hits=hits if hits.num_rows else None))
        site.mark = mark
        site.analyst.advance(store, mark, 1)
        site.look()
    assert store.state("sector") == b"{}"
    there = {event for line in lines(store)["alert"] for event in orjson.loads(line)["events"]}
    assert wanted <= there and wanted


def found_at_once(loaded: Ruleset, batch: Batch) -> list[Any]:
    """The alerts of plain rules over all events."""
    windows = Windows(replace(loaded.running, correlations=[]))
    return [change.alert for change in windows.advance(Detector(loaded.running).match(batch), END)]


class Sources:
    """The watermark of a node whose sources are active."""

    def slowest(self, now: float) -> tuple[str, int]:
        """One."""
        return "source", 0


@pytest.mark.parametrize("seed", range(2))
def test_nodes_find_what_one_daemon_finds(place: tuple[str, str], tmp_path: Path, seed: int) -> None:
    """Flows dealt to two nodes, turns, looks and leaders that fall silent in any order: alerts are those of one daemon
    that has all of them, on both nodes, and no more when the other leads in the end."""
    desk.empty(*place)
    chance, loaded, batch = random.Random(seed), deployed(), flows(seed)
    clock = Frozen(build.START)
    dealt = np.array([chance.randrange(2) for _ in range(batch.rows)])
    with open_embedded(tmp_path / "alone", clock=clock) as alone:
        alone.commit(Commit(batches=[batch], hits=Detector(loaded.running).match(batch)))
        analyst(loaded).advance(alone, END, 1)
        expected = lines(alone)["alert"]
    stores = [shared.node(tmp_path, *place, name, clock, content="matched") for name in "ab"]
    try:
        for store in stores:
            store.tail.turn()
        nodes = [Node(store, loaded, batch, dealt == place, chance) for place, store in enumerate(stores)]
        for _ in range(40):
            node, act = chance.choice(nodes), chance.choice(["read", "turn", "turn", "look", "look", "silent", "start"])
            getattr(node, act)()
        for node in nodes:
            while node.left:
                node.read()
        for _ in range(3):  # the one that led in the end, and then the other
            for node in [*nodes, *nodes]:
                node.turn()
                node.store.shipper.settle(desk.SECONDS, patient=True)
            for node in nodes:
                node.look()
            leader = next(node for node in nodes if node.store.journal.leads)
            nodes[1 - nodes.index(leader)].silent()
        for node in nodes:
            node.turn()
            assert lines(node.store)["alert"] == expected
        assert {store.journal.place.holder for store in stores} == {"a", "b"} - {leader.store.node}
    finally:
        for store in stores:
            store.close()
