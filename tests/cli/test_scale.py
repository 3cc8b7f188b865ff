"""100,000 cases are listed as quickly as ten."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.model.records import Case, CaseEvent
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from tests.live import daemon

MANY = 100_000
OPEN = 40


def fill(store: Path, number: int, waiting: int = OPEN) -> None:
    """A store with that many cases, the last ones open."""
    opened = open_embedded(store, clock=SYSTEM)
    at = 1_764_000_000_000_000
    for first in range(0, number, 10_000):
        change = Commit()
        for index in range(first, min(first + 10_000, number)):
            state = "open" if index >= number - waiting else "closed"
            name = f"{index:032x}"
            change.cases.append(
                Case(id=name, version=1, state=state, severity="high", title=f"Case {index}", first=at, last=at + index)
            )
            change.case_events.append(CaseEvent(case=name, seq=1, time=at, actor="system", kind="opened"))
        opened.commit(change)
    opened.close()


def cost(*words: str) -> tuple[float, float]:
    """Seconds on the clock and of the processor: the least of five runs of a command, each by itself."""
    wall = processor = 1e9
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        wall = min(wall, time.perf_counter() - begin)
        assert done.returncode == 0, done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        processor = min(processor, used)
    return wall, processor


def seconds(*words: str) -> float:
    """The quickest of five runs of a command, by the clock."""
    return cost(*words)[0]


def interpreter() -> float:
    """What `--help` may take: 150 ms, or six starts of a bare interpreter."""
    return max(0.150, 6 * seconds("-c", "pass"))


@pytest.mark.parametrize("number", [OPEN, MANY])
def test_lists_answer_quickly(tmp_path: Path, number: int) -> None:
    """`--help` within 150 ms or six interpreter starts, `cases list` within twice that, with any number of cases."""
    state = tmp_path / "state"
    fill(state / "store", number)
    config = tmp_path / "csirt.toml"
    config.write_text(f'state = "{state}"\n[control]\nsocket = "{tmp_path / "csirt.sock"}"\n[health]\nlisten = ""\n')
    limit = interpreter()
    assert cost("-m", "csirt", "--help")[1] <= limit  # of the processor: it waits for nothing
    with daemon(config, tmp_path / "csirt.sock", log=tmp_path / "log"):
        assert seconds("-m", "csirt", "--socket", str(tmp_path / "csirt.sock"), "cases", "list") <= 2 * limit


@pytest.mark.parametrize(("number", "waiting"), [(10, 10), (MANY, OPEN), (MANY, 1_000)])
def test_a_store_without_a_daemon_answers_as_quickly(
    tmp_path: Path, number: int, waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--store DIR` opens and owns the store and audits the look, within the same limit but for waiting: the disk takes
    the audit's entry in its own time, and so much is only bounded."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "seen"))
    fill(tmp_path / "store", number, waiting)
    limit = interpreter()
    for words in ((), ("cases", "list"), ("cases", "show", f"{number - 1:032x}")):
        wall, processor = cost("-m", "csirt", "--store", str(tmp_path / "store"), *words)
        assert processor <= 2 * limit, words
        assert wall <= 10 * limit, words
