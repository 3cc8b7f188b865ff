"""Compiled passes over whole chunks: headers and sets, exporters, templates in force, held sets. No Python objects.

Formats: NetFlow v5/v7 as Cisco documents them, v9 RFC 3954, IPFIX RFC 7011. Nothing here trusts a length or a count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.batch import Array
from csirt.model.jit import kernel

Number = Any  # inside compiled code: whatever width numba infers

# Columns of the message and set tables.
M_DATAGRAM, M_VERSION, M_EXPORT, M_UPTIME, M_SEQUENCE, M_DOMAIN, M_SAMPLING, M_BAD, M_WIDTH = 0, 1, 2, 3, 4, 5, 6, 7, 8
S_MESSAGE, S_ID, S_OFFSET, S_LENGTH, S_WIDTH = 0, 1, 2, 3, 4
# What became of a datagram's frame.
OK, MALFORMED, UNKNOWN_VERSION = 0, 1, 2
BEHIND = 1 << 20  # added to M_BAD of a whole message with octets behind it: more than a datagram can have broken sets
NONE, NO_TEMPLATE, GONE = -2, -1, -3  # GONE: so is the exporter
MASK32 = 0xFFFFFFFF


@kernel
def be16(b: Array, i: Number) -> Number:
    """Two octets at `i`, big-endian."""
    return (np.int64(b[i]) << 8) | np.int64(b[i + 1])


@kernel
def be32(b: Array, i: Number) -> Number:
    """Four octets at `i`, big-endian."""
    return (np.int64(b[i]) << 24) | (np.int64(b[i + 1]) << 16) | (np.int64(b[i + 2]) << 8) | np.int64(b[i + 3])


@kernel
def _trailing(b: Array, at: Number, end: Number) -> bool:
    """Whether anything but zeros lies in [at, end)."""
    while at < end:
        if b[at] != 0:
            return True
        at += 1
    return False


@kernel
def _sets(
    b: Array, at: Number, end: Number, message: Number, s: Number, fill: bool, table: Array
) -> tuple[Number, Number]:
    """Walk the sets in [at, end); return the next free set number and how many were broken."""
    bad = 0
    while at + 4 <= end:
        number = be16(b, at)
        length = be16(b, at + 2)
        if length < 4:
            if _trailing(b, at, end):  # zeros to the end are padding, anything else is not a set
                bad += 1
            break
        stop = at + length
        if stop > end:  # cut short: the complete records in it are still good
            bad += 1
            stop = end
        if fill:
            table[s, 0] = message
            table[s, 1] = number
            table[s, 2] = at + 4
            table[s, 3] = stop - at - 4
        s += 1
        at = stop
    return s, bad


@kernel
def _message(
    table: Array,
    m: Number,
    datagram: Number,
    version: Number,
    export: Number,
    uptime: Number,
    sequence: Number,
    domain: Number,
    sampling: Number,
    bad: Number,
) -> None:
    table[m, 0] = datagram
    table[m, 1] = version
    table[m, 2] = export
    table[m, 3] = uptime
    table[m, 4] = sequence
    table[m, 5] = domain
    table[m, 6] = sampling
    table[m, 7] = bad


@kernel
def scan(
    b: Array,
    offset: Array,
    length: Array,
    status: Array,
    first_m: Array,
    first_s: Array,
    fill: bool,
    m_t: Array,
    s_t: Array,
) -> None:
    """Read every datagram's headers and set boundaries.

    First call with `fill` False: `status`, and the numbers of messages and sets into first_m[i + 1], first_s[i + 1].
    After summing them up, a second call fills the tables. A datagram holds one message (RFC 7011, section 10.3); octets
    behind it that are not zero are counted and left alone.
    """
    for i in range(offset.size):
        q = offset[i]
        n = length[i]
        m = first_m[i] if fill else 0
        s = first_s[i] if fill else 0
        m0 = m
        s0 = s
        bad = 0
        state = 0
        version = be16(b, q) if n >= 2 else 0
        if n < 2:
            state = 1
        elif version == 5 or version == 7:
            size = 48 if version == 5 else 52
            count = be16(b, q + 2) if n >= 24 else 0
            fit = (n - 24) // size
            if n < 24 or (count > fit and (count > 30 or fit == 0)):
                state = 1
            else:
                if count > fit:
                    bad = 1
                    count = fit
                elif _trailing(b, q + 24 + count * size, q + n):
                    bad = BEHIND
                if fill:
                    _message(
                        m_t,
                        m,
                        i,
                        version,
                        be32(b, q + 8) * 1_000_000 + min(be32(b, q + 12) // 1000, 999_999),
                        be32(b, q + 4),
                        be32(b, q + 16),
                        be16(b, q + 20) if version == 5 else 0,
                        be16(b, q + 22) if version == 5 else 0,
                        bad,
                    )
                    s_t[s, 0] = m
                    s_t[s, 1] = version
                    s_t[s, 2] = q + 24
                    s_t[s, 3] = count * size
                m += 1
                s += 1
        elif version == 9:
            if n < 20:
                state = 1
            else:
                s, bad = _sets(b, q + 20, q + n, m, s, fill, s_t)
                if fill:
                    _message(
                        m_t,
                        m,
                        i,
                        9,
                        be32(b, q + 8) * 1_000_000,
                        be32(b, q + 4),
                        be32(b, q + 12),
                        be32(b, q + 16),
                        0,
                        bad,
                    )
                m += 1
        elif version == 10:
            size = be16(b, q + 2) if n >= 16 else 0
            if size < 16:
                state = 1
            else:
                end = q + min(size, n)
                s, bad = _sets(b, q + 16, end, m, s, fill, s_t)
                if size > n:
                    bad += 1
                elif _trailing(b, end, q + n):
                    bad += BEHIND
                if fill:
                    _message(m_t, m, i, 10, be32(b, q + 4) * 1_000_000, -1, be32(b, q + 8), be32(b, q + 12), 0, bad)
                m += 1
        else:
            state = 2
        if not fill:
            status[i] = state
            first_m[i + 1] = m - m0
            first_s[i + 1] = s - s0


@kernel
def in_force(slot: Array, current: Array, at: Array, of: Array, plan: Array, out: Array) -> None:
    """The plan of every data set: `current` by slot, changed where definition k (before set at[k], slot of[k]) says."""
    k = 0
    for s in range(slot.size):
        while k < at.size and at[k] <= s:
            current[of[k]] = plan[k]
            k += 1
        if slot[s] >= 0:
            out[s] = current[slot[s]]
    while k < at.size:
        current[of[k]] = plan[k]
        k += 1


@kernel
def count_variable(
    b: Array, offset: Array, length: Array, which: Array, sizes: Array, least: Number, records: Array, bad: Array
) -> None:
    """Count the complete records of sets with variable-length fields (RFC 7011, section 7)."""
    for w in range(which.size):
        s = which[w]
        at = offset[s]
        end = at + length[s]
        n = 0
        while end - at >= least:
            x = at
            good = True
            for f in range(sizes.size):
                size = sizes[f]
                if size == 65535:
                    if x >= end:
                        good = False
                        break
                    size = np.int64(b[x])
                    x += 1
                    if size == 255:
                        if x + 2 > end:
                            good = False
                            break
                        size = be16(b, x)
                        x += 2
                x += size
                if x > end:
                    good = False
                    break
            if not good:
                bad[s] += 1
                break
            n += 1
            at = x
        records[s] = n


@kernel
def hold(
    slot: Array,
    size: Array,
    now: Array,
    at: Array,
    set_at: Array,
    of: Array,
    set_now: Array,
    limit: Number,
    age: Number,
    end: Number,
    fate: Array,
) -> Number:
    """What becomes of every held set, in order of arrival.

    Entry e: `slot`, `size` in octets, `now` the receive clock at its arrival, `at` its set number in this chunk (-1 for
    older ones). Definition k: before set number set_at[k], for slot of[k], clock set_now[k]. `end`: the clock at the
    end of the chunk. `fate`: -1 still held, -2 expired, else the definition that released it. Returns the octets held.
    """
    n = slot.size
    most = 0
    for e in range(n):
        most = max(most, slot[e] + 1)
    for k in range(of.size):
        most = max(most, of[k] + 1)
    head = np.full(most, -1, np.int64)
    tail = np.full(most, -1, np.int64)
    follow = np.full(n, -1, np.int64)
    oldest = 0
    total = 0
    k = 0
    for e in range(n + 1):
        while k < of.size and (e == n or (at[e] >= 0 and set_at[k] <= at[e])):
            x = head[of[k]]
            while x >= 0:
                if fate[x] == -1:
                    fate[x] = k if set_now[k] - now[x] <= age else -2
                    total -= size[x]
                x = follow[x]
            head[of[k]] = -1
            tail[of[k]] = -1
            k += 1
        if e == n:
            break
        fate[e] = -1
        total += size[e]
        if tail[slot[e]] >= 0:
            follow[tail[slot[e]]] = e
        else:
            head[slot[e]] = e
        tail[slot[e]] = e
        while oldest <= e and (fate[oldest] != -1 or total > limit or now[e] - now[oldest] > age):
            if fate[oldest] == -1:
                fate[oldest] = -2
                total -= size[oldest]
            oldest += 1
    while oldest < n and (fate[oldest] != -1 or end - now[oldest] > age):
        if fate[oldest] == -1:
            fate[oldest] = -2
            total -= size[oldest]
        oldest += 1
    return total


@kernel
def sequence(
    exporter: Array, number: Array, units: Array, expected: Array, lost: Array, late: Array, resets: Array
) -> None:
    """Follow sequence numbers message by message, where no uptime or export time helps (sFlow).

    `units`: by how much a message advances the count, -1 when that cannot be known. `expected` by exporter, -1 when
    unknown. A jump of up to 2**24 is a loss, a step back of up to 2**12 a late datagram, anything else a restart.
    """
    for m in range(exporter.size):
        e = exporter[m]
        if e < 0:
            continue
        if expected[e] >= 0:
            ahead = (number[m] - expected[e]) & 0xFFFFFFFF
            if ahead != 0:
                if ahead <= 1 << 24:
                    lost[e] += ahead
                elif ahead >= (1 << 32) - (1 << 12):
                    late[e] += 1
                    continue
                else:
                    resets[e] += 1
        expected[e] = (number[m] + units[m]) & 0xFFFFFFFF if units[m] >= 0 else -1
