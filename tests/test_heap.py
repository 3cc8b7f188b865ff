"""Memory that is taken again and again."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from csirt.heap import prepare

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


def faults(*, keep: bool) -> int:
    """Page faults of taking the same memory again, in a process of its own."""
    words = [sys.executable, "-c", TAKE.format(keep=keep)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="optional: only glibc is asked")
def test_memory_taken_again_costs_no_page_faults() -> None:
    """What was freed is taken again without asking the kernel, for which it pays once."""
    assert faults(keep=True) < 100 < faults(keep=False)


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
