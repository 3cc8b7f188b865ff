"""100,000 cases are listed as quickly as ten."""

from __future__ import annotations

import math
import resource
import shutil
import sys
from pathlib import Path

import pytest

from csirt.clock import SYSTEM
from csirt.model.records import Case, CaseEvent
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from tests.live import daemon
from tests.timing import alone

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


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all of them."""
    store = tmp_path_factory.mktemp("many") / "store"
    fill(store, MANY)
    return store


def cost(*words: str, wanted: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """Seconds on the clock and of the processor: the least of five runs of a command, each by itself; of fewer, once
    they are what is wanted."""
    wall = processor = 1e9
    for _ in range(5):
        if wall <= wanted[0] and processor <= wanted[1]:
            break
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall = min(wall, alone([sys.executable, *words]))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        processor = min(processor, used)
    return wall, processor


def stored(place: Path, number: int, waiting: int, many: Path) -> None:
    """`fill`, or a copy of what is filled already."""
    if (number, waiting) == (MANY, OPEN):
        shutil.copytree(many, place)
    else:
        fill(place, number, waiting)


def interpreter() -> float:
    """What `--help` may take: 150 ms, or six starts of a bare interpreter."""
    return max(0.150, 6 * cost("-c", "pass")[0])


@pytest.mark.parametrize("number", [OPEN, MANY])
def test_lists_answer_quickly(tmp_path: Path, number: int, many: Path) -> None:
    """`--help` within 150 ms or six interpreter starts, `cases list` within twice that, with any number of cases."""
    state = tmp_path / "state"
    stored(state / "store", number, OPEN, many)
    config = tmp_path / "csirt.toml"
    config.write_text(f'state = "{state}"\n[control]\nsocket = "{tmp_path / "csirt.sock"}"\n[health]\nlisten = ""\n')
    limit = interpreter()
    # Of the processor: it waits for nothing.
    assert cost("-m", "csirt", "--help", wanted=(math.inf, limit))[1] <= limit
    with daemon(config, tmp_path / "csirt.sock", log=tmp_path / "log"):
        words = ("-m", "csirt", "--socket", str(tmp_path / "csirt.sock"), "cases", "list")
        assert cost(*words, wanted=(2 * limit, math.inf))[0] <= 2 * limit


@pytest.mark.parametrize(("number", "waiting"), [(10, 10), (MANY, OPEN), (MANY, 1_000)])
def test_a_store_without_a_daemon_answers_as_quickly(
    tmp_path: Path, number: int, waiting: int, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--store DIR` opens and owns the store and audits the look, within the same limit but for waiting: the disk takes
    the audit's entry in its own time, and so much is only bounded."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "seen"))
    stored(tmp_path / "store", number, waiting, many)
    limit = interpreter()
    for words in ((), ("cases", "list"), ("cases", "show", f"{number - 1:032x}")):
        command = ("-m", "csirt", "--store", str(tmp_path / "store"), *words)
        wall, processor = cost(*command, wanted=(10 * limit, 2 * limit))
        assert processor <= 2 * limit, words
        assert wall <= 10 * limit, words
