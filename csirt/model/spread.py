"""Compiled: small numbers of rows as codes of a dictionary column."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.jit import kernel

Array = np.ndarray[Any, np.dtype[Any]]


@kernel
def spread(values: Array, table: Array, codes: Array) -> None:
    """codes[i] = table[values[i]]."""
    for i in range(values.size):
        codes[i] = table[values[i]]


@kernel
def spread_known(values: Array, table: Array, codes: Array, valid: Array) -> bool:
    """The same where a table entry may be negative: such a row's bit in `valid` (least significant first) is 0 and its
    code 0, for under a null too there must be an index, or other readers refuse it. Whether there is such a row."""
    unknown = False
    n = values.size
    for octet in range(valid.size):
        bits = 0
        for i in range(octet * 8, min(octet * 8 + 8, n)):
            code = table[values[i]]
            codes[i] = max(code, 0)
            bits |= (code >= 0) << (i & 7)
        valid[octet] = bits
        unknown |= bits != (0xFF if octet * 8 + 8 <= n else (1 << (n & 7)) - 1)
    return unknown
