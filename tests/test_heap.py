"""Memory that is taken again and again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from csirt.bench.process import environment
from csirt.heap import LARGE_PAGES, prepare

TAKE = """
import resource
import numpy as np
from csirt.heap import keep_freed
if {keep}:
    keep_freed()
for turn in range(6):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for block in range(2):
        np.ones(40_000_000, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


THREADS = """
import threading
from pathlib import Path
from csirt.heap import keep_freed, prepare
prepare()
import numpy as np
def rest():
    turns[-1].wait()
turns = [threading.Event() for _ in range(14)]
for n in range(10):  # of libraries, before the daemon's work begins
    threading.Thread(target=rest).start()
keep_freed()
def work(n):
    turns[n].wait()
    np.ones(30_000_000, np.uint8)
    turns[n + 1].set()
    turns[-1].wait()
for n in range(12):
    threading.Thread(target=work, args=(n,)).start()
turns[0].set()
turns[12].wait()
print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
turns[-1].set()
"""


FREE = """
from pathlib import Path
from csirt.heap import give_back, keep_freed, prepare
prepare()
keep_freed()
def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = held()
blocks = [(bytearray(900_000), bytearray(2_000)) for n in range(200)]
kept = [small for _, small in blocks]
del blocks
free = held() - before
give_back()
print(free, held() - before)
"""


LARGE = """
import re
from pathlib import Path
from csirt.heap import keep_freed
keep_freed()
kept = bytearray(40_000_000)
print(sum(map(int, re.findall(r"AnonHugePages: *(\\d+)", Path("/proc/self/smaps").read_text()))))
"""
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
UNIT = Path(__file__).parents[1] / "systemd" / "csirt.service"


def faults(*, keep: bool) -> int:
    """Page faults of taking the same memory again, in a process of its own."""
    words = [sys.executable, "-c", TAKE.format(keep=keep)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="optional: only glibc is asked")
def test_memory_taken_again_costs_no_page_faults() -> None:
    """What was freed is taken again without asking the kernel, for which it pays once."""
    assert faults(keep=True) < 100 < faults(keep=False)


@pytest.mark.skipif(sys.platform != "linux", reason="optional: only glibc is asked")
def test_memory_that_one_thread_freed_is_taken_by_another() -> None:
    """A process holds what its work needs at once, and not that for each of its threads."""
    words = [sys.executable, "-c", THREADS]
    held = int(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert held < 6 * 30_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="optional: only glibc is asked")
def test_what_lies_free_between_what_is_used_is_given_back() -> None:
    """Of 180 MB that were freed around small things that stay, the process keeps next to nothing once it is told to."""
    words = [sys.executable, "-c", FREE]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    before, after = map(int, done.stdout.split())
    assert before > 150_000_000 > 20_000_000 > after


def given(setting: str) -> int:
    """KiB of large pages a process with 40 MB of its own has."""
    known = os.environ | {"GLIBC_TUNABLES": setting}
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, env=known, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(
    not SETTING.exists() or "[madvise]" not in SETTING.read_text(), reason="optional: pages are large for all, or none"
)
def test_memory_is_in_large_pages_where_one_has_to_ask() -> None:
    """What the unit says is what gives the daemon large pages."""
    assert given(LARGE_PAGES) > 20_000 > given("")


def test_runs_that_are_measured_have_what_the_unit_gives(tmp_path: Path) -> None:
    """The bench measures what is deployed."""
    assert f"Environment=GLIBC_TUNABLES={LARGE_PAGES}\n" in UNIT.read_text()
    assert environment(tmp_path)["GLIBC_TUNABLES"] == os.environ.get("GLIBC_TUNABLES", LARGE_PAGES)


def test_garbage_is_looked_for_rarely_and_still_found() -> None:
    """Far more objects than the interpreter waits for pass between two looks; what hangs together in cycles goes."""
    before = gc.get_threshold()
    try:
        prepare()
        assert gc.get_threshold()[0] >= 10_000
        gc.collect()
        turns = gc.get_stats()[0]["collections"]
        for _ in range(100_000):
            cycle: list[object] = []
            cycle.append(cycle)
        assert 1 <= gc.get_stats()[0]["collections"] - turns <= 10
    finally:
        gc.set_threshold(*before)
