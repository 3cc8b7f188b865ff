"""Kills between and inside the commits that settle flows."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.demo.network import register
from csirt.stores.embedded import open_embedded
from tests.endtoend.test_two_routers import ONE, TWO, Router, export, traffic

STEP = 100
# A replay in steps of so many rows that kills itself at a point of its n-th commit of settled rows.
REPLAY = """
import os, signal, sys
from pathlib import Path
from csirt import replay
from csirt.app import App
from csirt.configfile import load
from csirt.settle import Settler
from csirt.stores.embedded.catalogue import apply
from csirt.stores.embedded.store import EmbeddedStore

point, number, step, config, store, *files = sys.argv[1:]
Settler.__init__.__kwdefaults__["step"] = int(step)
commit, transaction, made = EmbeddedStore.commit, apply.apply, []

def die(where, change):
    if change.settled is not None and where == point and len(made) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)

def committing(self, change):
    if change.settled is not None:
        made.append(change)
    die("before", change)
    self.prepare(change)
    die("written", change)
    commit(self, change)
    die("after", change)

def applying(connection, change, *rest):
    found = transaction(connection, change, *rest)
    die("inside", change)
    return found

EmbeddedStore.commit, apply.apply = committing, applying
replay.run(
    App(load(config), store_directory=Path(store)),
    [Path(name) for name in files], kind="auto", parser="", configured=True,
)
print(len(made))
"""


def replayed(folder: Path, store: Path, point: str = "", number: int = 0, step: int = STEP) -> int | None:
    """Replay into the store; how many steps there were, or None when it was killed."""
    files = [str(path) for path in sorted(folder.glob("*.pcapng"))]
    words = [sys.executable, "-c", REPLAY, point, str(number), str(step), str(folder / "csirt.toml"), str(store)]
    done = subprocess.run([*words, *files], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return int(done.stdout) if done.returncode == 0 else None


def dumped(store: Path) -> tuple[int, list[bytes]]:
    """How many flows are seen, and the canonical dump."""
    with open_embedded(store, clock=SYSTEM) as opened:
        return sum(batch.rows for batch in opened.events("flow")), list(opened.dump())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two routers sent, and a configuration."""
    made = tmp_path_factory.mktemp("settle")
    (made / "register.yml").write_text(register())
    (made / "csirt.toml").write_text(
        f"state = {json.dumps(str(made))}\n[enrich]\nregister = {json.dumps(str(made / 'register.yml'))}\n"
    )
    for router in (Router(ONE), Router(TWO, ahead=0.4, timeout=30.0)):
        export(made, router, traffic())
    return made


def test_kills_around_the_commits_of_settling_change_nothing(folder: Path, tmp_path: Path) -> None:
    """One store, killed before, within and after commits of settled rows, and gone on with each time: in between every
    flow is seen once, whether it was settled or not, and in the end all is as after one undisturbed run in one step."""
    assert replayed(folder, tmp_path / "undisturbed", step=1_000_000) == 1
    flows, expected = dumped(tmp_path / "undisturbed")
    store = tmp_path / "killed"
    for point, number in (("before", 2), ("written", 1), ("inside", 2), ("after", 1), ("after", 2)):
        assert replayed(folder, store, point, number) is None, "it was over before it was killed"
        assert dumped(store)[0] == flows
    assert (replayed(folder, store) or 0) > 1
    assert dumped(store) == (flows, expected)
