"""Compiled: octets that columns of text and of packets point to."""

from __future__ import annotations

import numpy as np

from csirt.decode.netflow.reading import Number
from csirt.decode.netflow.scan import be16
from csirt.model.batch import Array
from csirt.model.jit import kernel


@kernel
def gather(b: Array, offset: Array, length: Array, out: Array) -> None:
    """Copy the spans one after the other."""
    at = 0
    for i in range(offset.size):
        x = offset[i]
        for j in range(length[i]):
            out[at + j] = b[x + j]
        at += length[i]


@kernel
def header_end(b: Array, offset: Array, length: Array, ethernet: bool) -> None:
    """Shorten the spans, which are sections of packets, to the end of the transport header (decision 15)."""
    for i in range(offset.size):
        x = offset[i]
        n = np.int64(length[i])
        at: Number = 0
        kind: Number = 0x0800
        if ethernet:
            at = 14
            kind = be16(b, x + 12) if n >= 14 else 0
            while (kind == 0x8100 or kind == 0x88A8) and n >= at + 4:
                kind = be16(b, x + at + 2)
                at += 4
        elif n > 0 and b[x] >> 4 == 6:
            kind = 0x86DD
        protocol: Number = -1
        if kind == 0x0800 and n >= at + 20 and b[x + at] >> 4 == 4:
            protocol = np.int64(b[x + at + 9])
            if be16(b, x + at + 6) & 0x1FFF:
                protocol = -1  # not the first fragment
            at += 4 * np.int64(b[x + at] & 15)
        elif kind == 0x86DD and n >= at + 40:
            protocol = np.int64(b[x + at + 6])
            at += 40
        if protocol == 6 and n >= at + 13:
            at += max(20, 4 * np.int64(b[x + at + 12] >> 4))
        elif protocol == 17:
            at += 8
        elif protocol == 1 or protocol == 58:
            at += 4
        if at < n:
            length[i] = at
