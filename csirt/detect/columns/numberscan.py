"""The compiled loop that reads numbers of a Parquet page to their rows. Nothing read is trusted."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.detect.columns.loads import lowest, uint8, whole
from csirt.detect.columns.pagescan import ODD, SPLIT, _levels, _present
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel


@inlined
def _four(address: int, step: int) -> Any:
    """A number of four bytes, each `step` behind the one before."""
    low = whole(uint8(address, 0)) | whole(uint8(address, step)) << 8
    return low | whole(uint8(address, 2 * step)) << 16 | whole(uint8(address, 3 * step)) << 24


@inlined
def _number(address: int, number: int, count: int, width: int, split: Any) -> Any:
    """The bits of a page's number of so many, each of 8 or 4 bytes, or 0: of one bit."""
    if width == 0:
        return (whole(uint8(address, number >> 3)) >> (number & 7)) & 1
    step = count if split else 1
    first = address + (number if split else number * width)
    found = _four(first, step)
    return found if width == 4 else found | _four(first + 4 * step, step) << 32


@kernel
def placed(
    address: int,
    size: int,
    required: bool,
    row: int,
    count: int,
    encoding: int,
    width: int,
    words: Array,
    dense: Array,
) -> int:
    """Put the numbers of an unpacked page to its `count` rows from `row` on and mark those that have one in `words`;
    how many do, or ODD."""
    if row + count > dense.size:
        return ODD
    start, some = 0, count
    if required:
        for here in range(row, row + count):
            words[here >> 6] |= np.uint64(1) << np.uint64(here & 63)
    else:
        first, start = _levels(address, size)
        if start < 0:
            return ODD
        some = _present(address, first, start, row, count, words)
        if some < 0:
            return ODD
    room = some * width if width else (some + 7) >> 3
    if room != size - start:
        return ODD
    number, here, behind = 0, row, row + count
    while number < some and here < behind:
        left = words[here >> 6] >> np.uint64(here & 63)
        if not left:
            here = (here | 63) + 1
            continue
        here += lowest(left)
        dense[here] = _number(address + start, number, some, width, encoding == SPLIT)
        number += 1
        here += 1
    return some
