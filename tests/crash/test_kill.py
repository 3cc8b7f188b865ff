"""The same bytes give the same store, whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.stores.embedded import open_embedded
from tests.corpus import Inputs, make

KILLS = int(os.environ.get("CSIRT_KILLS", "10"))
SEED = int(os.environ.get("CSIRT_SEED", "20261123"))
KINDS = {"event", "alert", "incident", "case", "run", "receipt", "notification", "audit", "position"}


def csirt(*words: str) -> list[str]:
    """A csirt command line."""
    return [sys.executable, "-m", "csirt", *words]


def replay(inputs: Inputs, store: Path, *more: str) -> dict[str, object]:
    """Replay everything into the store; the document it prints."""
    words = csirt(
        "replay", *map(str, inputs.files), "--config", str(inputs.config), "--store", str(store), "--json", *more
    )
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def started(inputs: Inputs, store: Path) -> subprocess.Popen[bytes]:
    """A replay in a process group of its own, once its store is there and the work begins."""
    words = csirt("replay", *map(str, inputs.files), "--config", str(inputs.config), "--store", str(store))
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while not (store / "catalogue.sqlite").exists() and process.poll() is None:
        time.sleep(0.005)
    return process


def dump(inputs: Inputs, store: Path) -> dict[str, object]:
    """The canonical dump's counts and digest."""
    words = csirt("store", "dump", "--canonical", "--counts", "--config", str(inputs.config), "--store", str(store))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def digest(store: Path) -> str:
    """The same digest, read in this process: it is quicker than starting one."""
    found = hashlib.sha256()
    with open_embedded(store, clock=SYSTEM) as opened:
        for line in opened.dump():
            found.update(line)
    return found.hexdigest()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Inputs of every kind, 200,000 events and more."""
    return make(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def undisturbed(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object], float]:
    """An undisturbed run: its store, its dump, how long the work in it took."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    process = started(inputs, store)
    begin = time.monotonic()
    assert process.wait() == 0
    return store, dump(inputs, store), time.monotonic() - begin


def test_every_kind_is_there(undisturbed: tuple[Path, dict[str, object], float]) -> None:
    """The run exercises every stage: no kind of record is missing."""
    counts = undisturbed[1]["counts"]
    assert isinstance(counts, dict)
    assert set(counts) == KINDS and all(counts.values()), counts
    assert counts["event"] >= 200_000


@pytest.mark.timeout(3600)
def test_killed_and_restarted_runs_end_in_the_same_store(
    inputs: Inputs, undisturbed: tuple[Path, dict[str, object], float], tmp_path: Path
) -> None:
    """SIGKILL at a random moment strictly inside the work, then a restart: nothing lost, nothing doubled."""
    _, expected, whole = undisturbed
    rng = random.Random(SEED)
    print(f"seed {SEED}, {KILLS} kills, undisturbed run {whole:.1f} s")
    inside = number = 0
    while inside < KILLS:
        assert number < 2 * KILLS, f"only {inside} of {number} kills fell inside the work"
        store = tmp_path / f"store{number}"
        process = started(inputs, store)
        begin = time.monotonic()
        moment = begin + rng.uniform(0.0, whole * 0.8)
        while time.monotonic() < moment and process.poll() is None:
            time.sleep(0.002)
        if process.poll() is None:
            inside += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:  # the machine is quicker now than it was: aim earlier from here on
            whole = min(whole, time.monotonic() - begin)
        replay(inputs, store)
        assert digest(store) == expected["sha256"], f"seed {SEED}, kill {number}"
        shutil.rmtree(store)
        number += 1


def test_replaying_again_changes_nothing(inputs: Inputs, undisturbed: tuple[Path, dict[str, object], float]) -> None:
    """The same files into the store they are in already."""
    store, expected, _ = undisturbed
    document = replay(inputs, store)
    files = document["files"]
    assert isinstance(files, list) and all(file["already"] for file in files)
    assert dump(inputs, store) == expected


def test_other_paths_give_the_same_store(
    inputs: Inputs, undisturbed: tuple[Path, dict[str, object], float], tmp_path: Path
) -> None:
    """Identity comes from content, never from names and places."""
    moved = []
    for number, path in enumerate(inputs.files):
        target = tmp_path / f"elsewhere-{number}{path.suffix}"
        shutil.copy(path, target)
        moved.append(target)
    replay(Inputs(tmp_path, inputs.config, moved), tmp_path / "store")
    assert digest(tmp_path / "store") == undisturbed[1]["sha256"]


@pytest.mark.parametrize("rows", [1_000, 100_000])
def test_batch_limits_change_nothing(
    inputs: Inputs, undisturbed: tuple[Path, dict[str, object], float], tmp_path: Path, rows: int
) -> None:
    """How much is done at a time is nobody's business but the machine's."""
    replay(inputs, tmp_path / "store", "--batch-rows", str(rows))
    assert digest(tmp_path / "store") == undisturbed[1]["sha256"]
