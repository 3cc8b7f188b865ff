"""The pipeline's workers: any number of them gives the same store; nothing is lost when they, or the store, fail."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from csirt.app import App
from csirt.configfile import load
from csirt.daemon import Daemon
from csirt.errors import Conflict, Unreachable
from csirt.feed import HandOver
from csirt.pipeline import Pipeline
from csirt.stores.embedded import EmbeddedStore
from tests.corpus import Inputs, make, write_config
from tests.crash.test_kill import csirt, replay
from tests.crash.test_kill import dump as dump_of


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Exports of several routers, a capture, two logs."""
    return make(tmp_path_factory.mktemp("workers"), flows=12_000)


@pytest.fixture(scope="module")
def configured(inputs: Inputs) -> Path:
    """A configuration with every file as a source of its own, in small batches."""
    text = write_config(inputs.folder, batch_rows=1_000).read_text()
    for number, path in enumerate(inputs.files):
        kind, parser = "netflow", ""
        if path.name == "gp-office.pcap":
            kind = "capture"
        elif path.suffix in (".log", ".ndjson"):
            kind, parser = "log", {"mail.log": "postfix", "msh.ndjson": "msh"}[path.name]
        text += f'[[sources]]\nid = "s{number}"\ntype = "{kind}"\npath = "{path}"\nsettle = "0s"\n'
        text += f'parser = "{parser}"\n' if parser else ""
    config = inputs.folder / "sources.toml"
    config.write_text(text)
    return config


@pytest.fixture(scope="module")
def expected(inputs: Inputs, configured: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The canonical dump of one thread's work."""
    return drained(configured, tmp_path_factory.mktemp("one") / "store", 1)


def app_of(config: Path, store: Path, workers: int) -> App:
    """The whole of it, with that many workers."""
    loaded = load(config)
    loaded.decode.workers = workers
    return App(loaded, store_directory=store)


def drained(config: Path, store: Path, workers: int) -> list[bytes]:
    """Everything through the pipeline until nothing is left; the dump."""
    app = app_of(config, store, workers)
    try:
        app.pipeline(app.feeds(), deliver=False).drain()
        return list(app.store.dump())
    finally:
        app.close()


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_same_store(
    configured: Path, expected: list[bytes], tmp_path: Path, workers: int
) -> None:
    """Events, alerts, incidents, cases and positions are what one thread finds, byte for byte."""
    assert len(expected) > 12_000 and any(b'"kind":"incident"' in line for line in expected)
    assert drained(configured, tmp_path / "store", workers) == expected


def test_killed_workers_lose_and_double_nothing(
    inputs: Inputs, configured: Path, expected: list[bytes], tmp_path: Path
) -> None:
    """SIGKILL three times on the way, with two, four and one worker: the end is the same store."""
    words = csirt("run", "--once", "--store", str(tmp_path / "store"), "--config")
    rng = random.Random(7)
    for workers in (2, 4, 1, 2):
        config = tmp_path / f"{workers}.toml"
        config.write_text(configured.read_text().replace("[decode]\n", f"[decode]\nworkers = {workers}\n"))
        process = subprocess.Popen([*words, str(config)], stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(rng.uniform(0.8, 2.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert drained(configured, tmp_path / "store", 4) == expected


def test_a_replay_with_workers_is_the_replay(inputs: Inputs, tmp_path: Path) -> None:
    """`--workers` changes no result."""
    replay(inputs, tmp_path / "one")
    replay(inputs, tmp_path / "three", "--workers", "3", "--batch-rows", "1000")
    assert dump_of(inputs, tmp_path / "three") == dump_of(inputs, tmp_path / "one")


def live(pipeline: Pipeline, done: Any, seconds: float = 60.0) -> list[Exception]:
    """Turn as the daemon does until everything is read; what was raised on the way."""
    raised: list[Exception] = []
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        try:
            pipeline.turn()
            pipeline.advance(pipeline.until())
        except Exception as error:
            raised.append(error)
        pipeline.rest(0.05, threading.Event())
    return raised


def settled(app: App, pipeline: Pipeline) -> bool:
    """Whether every input is read to its end."""
    if not all(feed.looked and not feed.moving for feed in pipeline.feeds):
        return False
    store = app.store
    inputs = [(feed, item) for feed in pipeline.feeds for item in feed.source.inputs()]
    return all(item.finished(store.position(item.source, item.fingerprint)) or item.growing for _, item in inputs)


def test_turns_of_a_daemon_find_what_a_drain_finds(configured: Path, expected: list[bytes], tmp_path: Path) -> None:
    """Events committed turn by turn, with a hand-over refused and a store out of reach on the way: nothing is lost or
    doubled, and event time waits until every source was looked at."""
    app = app_of(configured, tmp_path / "store", 3)
    pipeline = app.pipeline(app.feeds(), deliver=False)
    errors: list[Exception] = [Conflict("refused"), Unreachable("the disk is full"), Conflict("refused")]
    commit, marks = app.store.commit, []

    def failing(change: Any) -> None:
        if change.position is not None and errors and len(marks) > 5:
            raise errors.pop()
        marks.append(pipeline.until() if not all(feed.looked for feed in pipeline.feeds) else None)
        commit(change)

    app.store.commit = failing  # type: ignore[method-assign]
    try:
        raised = live(pipeline, lambda: settled(app, pipeline))
        assert [type(error) for error in raised] and {type(error) for error in raised} == {Unreachable}
        assert not errors and set(marks) == {None}
        assert app.metrics.value("csirt_hand_overs_refused_total") == 2
        pipeline.close()
        pipeline.drain()
        found = list(app.store.dump())
    finally:
        pipeline.close()
        app.close()
    assert found == expected


def test_a_hand_over_from_elsewhere_is_refused(configured: Path, tmp_path: Path) -> None:
    """The coordinator commits a step only where the input's last commit ended."""
    app = app_of(configured, tmp_path / "store", 1)
    pipeline = app.pipeline(app.feeds(), deliver=False)
    steps: list[HandOver] = []
    pipeline.ingest.hand_over = steps.append
    try:
        feed = next(feed for feed in pipeline.feeds if feed.source.kind == "netflow")
        (item,) = feed.source.inputs()
        pipeline.ingest.step(feed, item)
        pipeline.ingest.load(feed)
        pipeline.ingest.step(feed, item)
        pipeline.take(steps[0])
        with pytest.raises(Conflict, match="hand-over"):
            pipeline.take(steps[1])
        assert isinstance(app.store, EmbeddedStore)
        committed = steps[0].change.batches + steps[0].change.fresh
        assert 0 < sum(batch.rows for batch in app.store.events()) == sum(batch.rows for batch in committed)
    finally:
        app.close()


def test_a_worker_that_hangs_is_seen(configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last progress is what the pipeline's watchdog goes by, while the others work on; a failing one is not
    mistaken for a working one either."""
    release = threading.Event()
    app = app_of(configured, tmp_path / "store", 2)
    pipeline = app.pipeline(app.feeds(), deliver=False)
    stuck = pipeline.feeds[1]
    real = stuck.source.inputs
    monkeypatch.setattr(stuck.source, "inputs", lambda: release.wait(20) and real())
    try:
        begin = time.monotonic()
        pipeline.turn()
        while time.monotonic() < begin + 2.0:
            pipeline.turn()
            pipeline.rest(0.05, release)
        assert pipeline.worked() < begin + 1.0
        assert app.store.positions(), "the other worker's feeds go on"
        release.set()
        live(pipeline, lambda: settled(app, pipeline))
        assert pipeline.worked() > begin + 2.0
    finally:
        release.set()
        pipeline.close()
        app.close()


def test_what_a_worker_meets_reaches_the_coordinator(
    configured: Path, expected: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain raises the first error of any thread, the others end, and the next drain goes on from what is
    committed."""
    failures = [True]
    real = App._match

    def match(self: App, batch: Any) -> Any:
        if failures and self.store.positions():
            failures.pop()
            raise RuntimeError("defect")
        return real(self, batch)

    monkeypatch.setattr(App, "_match", match)
    app = app_of(configured, tmp_path / "store", 2)
    try:
        pipeline = app.pipeline(app.feeds(), deliver=False)
        with pytest.raises(RuntimeError, match="defect"):
            pipeline.drain()
        pipeline.drain()
        assert list(app.store.dump()) == expected
    finally:
        app.close()


def _unpaired(line: bytes) -> str:
    """An event without what settling says of it and the other records of its flow."""
    event = json.loads(line)
    ours = event["event"].get("csirt", {})
    for name in ("answered", "client", "duplicate_of", "reverse", "start"):
        ours.get("flow", {}).pop(name, None)
    for end in ("source", "destination"):  # of a pair each end has its own counters
        for name in ("bytes", "packets"):
            event["event"].get(end, {}).pop(name, None)
    if not ours.get("flow", True):
        del ours["flow"]
    return json.dumps(event, sort_keys=True)


def test_lanes_are_read_as_one_source(inputs: Inputs, tmp_path: Path) -> None:
    """Segments of two routers in two lanes, and in one folder: the same store, whatever the number of workers; a lane
    that a collector begins while we run is found, and event time waits for it."""
    segments = sorted(inputs.folder.glob("edge*.pcapng"))
    dumps = []
    for lanes, workers in ((["edge", "edge"], 1), (["edge", "edge@1"], 1), (["edge", "edge@tcp"], 3)):
        folder = tmp_path / f"{len(dumps)}"
        config = _edge(inputs, folder)
        for segment, lane in zip(segments, lanes, strict=True):
            (folder / "spool" / lane).mkdir(parents=True, exist_ok=True)
            (folder / "spool" / lane / segment.name).symlink_to(segment)
        dumps.append(drained(config, folder / "store", workers))
    assert len(dumps[0]) > 2_000 and dumps[0] == dumps[1] == dumps[2]

    config = _edge(inputs, tmp_path / "live")
    app = app_of(config, tmp_path / "live" / "store", 2)
    daemon = Daemon(app)
    (tmp_path / "live/spool/edge").mkdir(parents=True)
    (tmp_path / "live/spool/edge" / segments[0].name).symlink_to(segments[0])
    daemon.pipeline = pipeline = app.pipeline(app.feeds(patience=0.0), deliver=False)
    try:
        live(pipeline, lambda: settled(app, pipeline))
        (tmp_path / "live/spool/edge@1").mkdir()
        (tmp_path / "live/spool/edge@1" / segments[1].name).symlink_to(segments[1])
        daemon._find_lanes()
        assert [feed.key for feed in pipeline.feeds] == ["edge", "edge@1"] and not pipeline.feeds[1].looked
        assert pipeline.until() == pipeline.watermark.mark
        live(pipeline, lambda: settled(app, pipeline))
        found = list(app.store.dump(["event"]))
    finally:
        pipeline.close()
        app.close()
    # The second lane's rows came when the first one's were settled: all is there but what is said of pairs.
    events = [line for line in dumps[0] if b'"kind":"event"' in line]
    assert [_unpaired(line) for line in found] == [_unpaired(line) for line in events]


def _edge(inputs: Inputs, folder: Path) -> Path:
    """A configuration with one NetFlow source whose spool is below the folder."""
    folder.mkdir()
    config = folder / "csirt.toml"
    text = inputs.config.read_text().replace("[decode]", f'[collect.spool]\ndirectory = "{folder}/spool"\n[decode]')
    config.write_text(
        text + '[[sources]]\nid = "edge"\ntype = "netflow"\npath = ""\nsettle = "0s"\n'
        '[[collect.listeners]]\nsource = "edge"\nkind = "netflow"\nlisten = "127.0.0.1:0"\n'
    )
    return config
