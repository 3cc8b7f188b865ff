"""SIGKILL at random points of commits and of care: after reopening exactly the committed prefix is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.model.batch import event_ids
from csirt.stores.embedded import open_embedded
from csirt.stores.embedded.fsck import fsck

# Commits numbered chunks of 2,100 flows (a file each) and 3 mails (rows in the catalogue), each with a document and an
# audit entry, and maintains with everything due at once, until it is killed. Says "committed N" after every commit.
CHILD = """
import sys
from pathlib import Path
from csirt.clock import Clock
from csirt.config import Stores
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from tests.stores import build

store = open_embedded(Path(sys.argv[1]), clock=Clock(), config=Stores(gather="0s", compact_after="0s"))
position = store.position("s", "f")
done = position.offset if position else 0
while True:
    store.commit(Commit(
        batches=[build.flows(2_100, first=done * 2_100), build.mails(3, first=done * 3)],
        position=Position("s", "f", done + 1), previous=done, states={"decoder:s": str(done + 1).encode()},
        counts={"chunks": 1}, alerts=[build.alert(f"{done}")], audit=[build.entry(f"chunk-{done}")]))
    done += 1
    print("committed", done, flush=True)
    if done % 3 == 0:
        store.maintain()
"""


def check(folder: Path, said: int, seen: int) -> int:
    """The store holds a whole prefix, at least what was said to be committed; returns its length."""
    with open_embedded(folder, clock=SYSTEM) as store:
        position = store.position("s", "f")
        done = position.offset if position else 0
        assert done >= max(said, seen)
        assert done <= max(said, seen) + 1
        names = [name for batch in store.events() for name in event_ids(batch.table).to_pylist()]
        assert len(names) == len(set(names)) == done * 2_103
        assert store.count("alert") == done
        assert store.counts() == ({"chunks": done} if done else {})
        assert store.state("decoder:s") == (str(done).encode() if done else None)
        assert [entry.action for entry in store.audit()] == [f"chunk-{n}" for n in range(done)]
        assert fsck(store) == []
    return done


@pytest.mark.timeout(240)
def test_killed_at_random_points(tmp_path: Path) -> None:
    """Twelve kills in a row on one store, the seed in the failure: nothing lost, nothing twice, nothing half."""
    seed = 20261123
    rng = random.Random(seed)
    root = Path(__file__).resolve().parents[2]
    done = 0
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert child.stdout is not None
        said = done
        for _ in range(rng.randint(1, 5)):
            line = child.stdout.readline()
            assert line.startswith("committed"), (seed, line)
            said = int(line.split()[1])
        time.sleep(rng.uniform(0, 0.03))
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split("\n")
        child.wait()
        said = max([said, *(int(line.split()[1]) for line in rest if line.startswith("committed") and line[10:])])
        done = check(tmp_path, said, done)
    assert done > 20


SWEEP = ("fdatasync", "fsync", "rename", "unlink")


@pytest.mark.timeout(240)
def test_killed_at_system_calls(tmp_path: Path) -> None:
    """Killed at the k-th sync, rename or unlink of a run: the same promise at each."""
    import shutil

    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian package strace)")
    root = Path(__file__).resolve().parents[2]
    rng = random.Random(7)
    for call in SWEEP:
        for k in sorted(rng.sample(range(1, 15), 2)):
            folder = tmp_path / f"{call}-{k}"
            argv = [
                "strace",
                "-f",
                "-o",
                "/dev/null",
                "-e",
                f"trace={call}",
                "-e",
                f"inject={call}:signal=KILL:when={k}",
            ]
            child = subprocess.run(
                [*argv, sys.executable, "-c", CHILD + "    if done == 12: break\n", str(folder)],
                capture_output=True,
                text=True,
                cwd=root,
            )
            lines = [line for line in child.stdout.split("\n") if line.startswith("committed")]
            check(folder, int(lines[-1].split()[1]) if lines else 0, 0)
