"""Memory that is taken again and again."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
