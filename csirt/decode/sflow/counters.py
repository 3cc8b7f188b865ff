"""Counter records to columns. What an agent cannot count it states as all ones; such a number is left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.decode.netflow.scan import be32
from csirt.decode.sflow.layout import C_ETHERNET, C_GENERIC, ETHERNET_COUNTERS, GENERIC_WIDTHS
from csirt.decode.sflow.records import READ, SHORT, UNREAD, be64, put
from csirt.model.batch import Array
from csirt.model.jit import kernel

Number = Any  # inside compiled code: whatever width numba infers


@kernel
def counter_record(
    b: Array, kind: Number, at: Number, stop: Number, t: Array, r: Number, seen: Number
) -> tuple[Number, Number]:
    """(READ, SHORT or UNREAD, formats seen in this sample); only the first record of a format counts."""
    if kind != 1 and kind != 2:
        return UNREAD, seen
    bit = np.uint64(1) << np.uint64(kind)
    if seen & bit:
        return UNREAD, seen
    seen |= bit
    if kind == 1:
        if stop - at < 88:
            return SHORT, seen
        for k in range(len(GENERIC_WIDTHS)):
            if GENERIC_WIDTHS[k] == 8:
                wide = be64(b, at)
                if wide != ~np.uint64(0):
                    put(t, r, C_GENERIC + k, wide)
                at += 8
            else:
                value = be32(b, at)
                if value != 0xFFFFFFFF:
                    put(t, r, C_GENERIC + k, value)
                at += 4
        return READ, seen
    if stop - at < 4 * ETHERNET_COUNTERS:
        return SHORT, seen
    for k in range(ETHERNET_COUNTERS):
        value = be32(b, at + 4 * k)
        if value != 0xFFFFFFFF:
            put(t, r, C_ETHERNET + k, value)
    return READ, seen
