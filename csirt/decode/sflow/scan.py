"""Compiled passes over whole chunks of sFlow datagrams: count, then fill. Nothing here trusts a length or a count."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.decode.netflow.scan import be32
from csirt.decode.packets.headers import SLOTS
from csirt.decode.sflow.counters import counter_record
from csirt.decode.sflow.layout import (
    BROKEN,
    C_DATAGRAM,
    C_ORDINAL,
    C_SEQUENCE,
    C_SOURCE_INDEX,
    C_SOURCE_TYPE,
    COUNTERS,
    DATAGRAM,
    DISCARDED,
    DROPS,
    EXPANDED_COUNTERS,
    EXPANDED_FLOW,
    FLOW,
    H_AT,
    H_DOMAIN,
    H_FAMILY,
    H_HIGH,
    H_LOW,
    H_SAMPLES,
    H_SEQUENCE,
    H_STATUS,
    H_UPTIME,
    INPUT_KIND,
    INTERFACE,
    LOCAL,
    MALFORMED,
    MULTIPLE,
    N_BAD,
    N_BEHIND,
    N_COUNTERS,
    N_FLOWS,
    N_SKIPPED,
    ORDINAL,
    OTHER,
    OUTPUT_KIND,
    POOL,
    RATE,
    SEQUENCE,
    SOURCE_INDEX,
    SOURCE_TYPE,
    UNCLEAR,
)
from csirt.decode.sflow.records import READ, SHORT, be64, flow_record, put, settle
from csirt.model.batch import Array
from csirt.model.jit import kernel

Number = Any  # inside compiled code: whatever width numba infers


@kernel
def sample_at(b: Array, at: Number, end: Number) -> tuple[Number, Number, Number]:
    """(kind, end of its data, where the next one begins) of the sample whose first 8 octets are at `at`. What is cut
    short ends where the datagram ends."""
    kind = be32(b, at)
    size = be32(b, at + 4)
    stop = min(at + 8 + size, end)
    if kind == FLOW:
        least = 32
    elif kind == COUNTERS:
        least = 12
    elif kind == EXPANDED_FLOW:
        least = 44
    elif kind == EXPANDED_COUNTERS:
        least = 16
    else:
        kind, least = OTHER, 0
    if stop - at - 8 < least:
        kind = BROKEN
    return kind, stop, min(at + 8 + ((size + 3) & ~3), end)


@kernel
def measure(b: Array, offset: Array, length: Array, head: Array, counts: Array) -> None:
    """Read every datagram's header and walk its samples: `head` (H_…) and `counts` (N_…) by datagram."""
    for i in range(offset.size):
        at = offset[i]
        end = at + length[i]
        status = np.int64(MALFORMED)
        if length[i] >= 8:
            kind = be32(b, at + 4)
            size = 4 if kind == 1 else 16 if kind == 2 else 0
            if size and length[i] >= 24 + size:
                status = np.int64(0)
                head[i, H_FAMILY] = 4 if kind == 1 else 6
                if kind == 1:
                    head[i, H_LOW] = be32(b, at + 8)
                else:
                    head[i, H_HIGH] = np.int64(be64(b, at + 8))
                    head[i, H_LOW] = np.int64(be64(b, at + 16))
                at += 8 + size
                head[i, H_DOMAIN] = be32(b, at)
                head[i, H_SEQUENCE] = be32(b, at + 4)
                head[i, H_UPTIME] = be32(b, at + 8)
                head[i, H_SAMPLES] = be32(b, at + 12)
                head[i, H_AT] = at + 16
                _count(b, at + 16, end, head[i, H_SAMPLES], counts, i)
        head[i, H_STATUS] = status


@kernel
def _count(b: Array, at: Number, end: Number, samples: Number, counts: Array, i: Number) -> None:
    """How many rows a datagram gives, and what of it is broken or of another format."""
    n = 0
    while n < samples and at + 8 <= end:
        kind, _, follows = sample_at(b, at, end)
        if at + 8 + be32(b, at + 4) > end or kind == BROKEN:
            counts[i, N_BAD] += 1
        if kind in (FLOW, EXPANDED_FLOW):
            counts[i, N_FLOWS] += 1
        elif kind in (COUNTERS, EXPANDED_COUNTERS):
            counts[i, N_COUNTERS] += 1
        elif kind == OTHER:
            counts[i, N_SKIPPED] += 1
        at = follows
        n += 1
    if n < samples:
        counts[i, N_BAD] += 1
    else:
        while at < end:
            if b[at] != 0:
                counts[i, N_BEHIND] = 1
                break
            at += 1


@kernel
def fill(
    b: Array, which: Array, end: Array, head: Array, flow_at: Array, counter_at: Array, flows: Array, counters: Array,
    counts: Array,
) -> None:  # fmt: skip
    """Decode the samples of the datagrams `which` into rows from `flow_at` and `counter_at` on; what of their records
    is broken or of another format is added to `counts`."""
    p = np.zeros(SLOTS, np.uint64)
    for w in range(which.size):
        i = which[w]
        at = head[i, H_AT]
        f = flow_at[w]
        c = counter_at[w]
        number = 0
        for _ in range(head[i, H_SAMPLES]):
            if at + 8 > end[i]:
                break
            kind, stop, follows = sample_at(b, at, end[i])
            if kind in (FLOW, EXPANDED_FLOW):
                flows[DATAGRAM, f] = np.uint64(i)
                flows[ORDINAL, f] = np.uint64(number)
                bad, skipped = _flow(b, at + 8, stop, kind == EXPANDED_FLOW, flows, f, p)
                counts[i, N_BAD] += bad
                counts[i, N_SKIPPED] += skipped
                f += 1
                number += 1
            elif kind in (COUNTERS, EXPANDED_COUNTERS):
                counters[C_DATAGRAM, c] = np.uint64(i)
                counters[C_ORDINAL, c] = np.uint64(number)
                bad, skipped = _counters(b, at + 8, stop, kind == EXPANDED_COUNTERS, counters, c)
                counts[i, N_BAD] += bad
                counts[i, N_SKIPPED] += skipped
                c += 1
                number += 1
            at = follows


@kernel
def _interface(t: Array, r: Number, column: Number, form: Number, value: Number) -> None:
    """An interface as its format says: an index, or why there is none. `column`: of the kind; the value follows it."""
    kind = UNCLEAR
    if form == 0:
        kind = LOCAL if value == 0x3FFFFFFF or value == 0xFFFFFFFF else INTERFACE
    elif form == 1:
        kind = DISCARDED
    elif form == 2:
        kind = MULTIPLE
    put(t, r, column, kind)
    if kind != LOCAL and not (kind == INTERFACE and value == 0):  # 0: not known
        put(t, r, column + 1, value)


@kernel
def _flow(b: Array, at: Number, stop: Number, expanded: bool, t: Array, r: Number, p: Array) -> tuple[Number, Number]:
    """One flow sample to row `r`; (broken, skipped) of its records."""
    put(t, r, SEQUENCE, be32(b, at))
    if expanded:
        put(t, r, SOURCE_TYPE, be32(b, at + 4))
        put(t, r, SOURCE_INDEX, be32(b, at + 8))
        at += 12
    else:
        put(t, r, SOURCE_TYPE, np.int64(b[at + 4]))
        put(t, r, SOURCE_INDEX, be32(b, at + 4) & 0xFFFFFF)
        at += 8
    put(t, r, RATE, be32(b, at))
    put(t, r, POOL, be32(b, at + 4))
    put(t, r, DROPS, be32(b, at + 8))
    if expanded:
        _interface(t, r, INPUT_KIND, be32(b, at + 12), be32(b, at + 16))
        _interface(t, r, OUTPUT_KIND, be32(b, at + 20), be32(b, at + 24))
        at += 28
    else:
        _interface(t, r, INPUT_KIND, np.int64(b[at + 12] >> 6), be32(b, at + 12) & 0x3FFFFFFF)
        _interface(t, r, OUTPUT_KIND, np.int64(b[at + 16] >> 6), be32(b, at + 16) & 0x3FFFFFFF)
        at += 20
    records = be32(b, at)
    at += 4
    bad = 0
    skipped = 0
    seen = np.uint64(0)
    n = 0
    while n < records and at + 8 <= stop:
        size = be32(b, at + 4)
        if at + 8 + size > stop:
            bad += 1
        found, seen = flow_record(b, be32(b, at), at + 8, min(at + 8 + size, stop), t, r, p, seen)
        if found == SHORT and at + 8 + size <= stop:
            bad += 1
        elif found != READ and found != SHORT:
            skipped += 1
        at = min(at + 8 + ((size + 3) & ~3), stop)
        n += 1
    settle(t, r)
    if n < records:
        bad += 1
    elif at < stop:
        skipped += 1
    return bad, skipped


@kernel
def _counters(b: Array, at: Number, stop: Number, expanded: bool, t: Array, r: Number) -> tuple[Number, Number]:
    """One counter sample to row `r`; (broken, skipped) of its records."""
    put(t, r, C_SEQUENCE, be32(b, at))
    if expanded:
        put(t, r, C_SOURCE_TYPE, be32(b, at + 4))
        put(t, r, C_SOURCE_INDEX, be32(b, at + 8))
        at += 12
    else:
        put(t, r, C_SOURCE_TYPE, np.int64(b[at + 4]))
        put(t, r, C_SOURCE_INDEX, be32(b, at + 4) & 0xFFFFFF)
        at += 8
    records = be32(b, at)
    at += 4
    bad = 0
    skipped = 0
    seen = np.uint64(0)
    n = 0
    while n < records and at + 8 <= stop:
        size = be32(b, at + 4)
        if at + 8 + size > stop:
            bad += 1
        found, seen = counter_record(b, be32(b, at), at + 8, min(at + 8 + size, stop), t, r, seen)
        if found == SHORT and at + 8 + size <= stop:
            bad += 1
        elif found != READ and found != SHORT:
            skipped += 1
        at = min(at + 8 + ((size + 3) & ~3), stop)
        n += 1
    if n < records:
        bad += 1
    elif at < stop:
        skipped += 1
    return bad, skipped
