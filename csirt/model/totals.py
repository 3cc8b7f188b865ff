"""Compiled: the sum of counters as they were on the wire."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.jit import kernel

Array = np.ndarray[Any, np.dtype[Any]]
HALF = np.uint64(1 << 63)
FULL = np.uint64(2**64 - 1)  # a counter that could not be corrected any further
ZERO, ONE = np.uint64(0), np.uint64(1)


@kernel
def total(values: Array, rates: Array) -> tuple[Any, Any]:
    """The sum of values (uint64) divided by their rates (uint32, one for all or one for each; 0 counts as 1), as two
    uint64, the high one first. But for FULL, which is rounded down, each value is a multiple of its rate; so those in a
    row with one rate are divided together."""
    high, low, run, rate = ZERO, ZERO, ZERO, ONE
    one = rates.size == 1
    if one:
        rate = max(np.uint64(rates[0]), ONE)
    for i in range(values.size):
        value = values[i]
        if run >= HALF or value >= HALF or (not one and np.uint64(rates[i]) != rate):
            part = run // rate
            low += part
            high += ONE if low < part else ZERO
            run = ZERO
            if not one:
                rate = max(np.uint64(rates[i]), ONE)
            if value >= HALF:
                value = value // rate
                low += value
                high += ONE if low < value else ZERO
                continue
        run += value
    part = run // rate
    low += part
    high += ONE if low < part else ZERO
    return high, low
