"""The flow table: packets metered into bidirectional flows by address pair, ports, protocol and VLAN tags.

An open-address hash table in one uint64 array, a flow per row. The hash is seeded: whoever sends packets cannot choose
keys that collide. The seed never shows in the result, which is ordered by first frame. Fragments after the first find
their flow by the IP identification in a small direct-mapped table (unseeded, so that what it forgets depends on the
packets alone).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.decode.packets import headers as h
from csirt.decode.packets.headers import compiled, inlined

# Columns of a flow's row. A_, B_: the two ends in canonical order; KEY: the rest of the 5-tuple.
A_HI, A_LO, B_HI, B_LO, KEY, VLAN, START, LAST, BYTES, PACKETS, R_BYTES, R_PACKETS, MARKS, FRAME, USED, REASON = range(
    16
)
WIDTH = 16

# MARKS: TCP flags in bits 0-15, whether B opened the flow in bit 16, ICMP type and code in 32-47, their presence in 48.
SWAPPED = 16
IDLE, ACTIVE, FORCED = 1, 2, 4  # REASON: flowEndReason (IANA IPFIX element 136)

FRAGMENT_ROWS = 1 << 14
FRAGMENT_WIDTH = 8
FRAGMENT_LIFE = 30_000_000  # microseconds a first fragment is remembered (RFC 791 suggests 15 s, Linux keeps 30 s)
GREATEST_TIME = 253_402_300_800_000_000  # the year 10000

_U = np.uint64


@inlined
def _mix(value: Any, word: Any) -> Any:
    value = (value ^ word) * _U(0x9E3779B97F4A7C15)
    return value ^ (value >> _U(29))


@compiled
def _slot(table: Any, seed: Any, key: Any) -> Any:
    """The row of the key, or the free row it belongs in."""
    value = _mix(_mix(_mix(_mix(_mix(_mix(seed, key[0]), key[1]), key[2]), key[3]), key[4]), key[5])
    value = (value * _U(0xBF58476D1CE4E5B9)) ^ (value >> _U(32))
    mask = _U(table.shape[0] - 1)
    at = value & mask
    while table[at, USED] != 0:
        if (
            table[at, 1] == key[1]
            and table[at, 3] == key[3]
            and table[at, 4] == key[4]
            and table[at, 0] == key[0]
            and table[at, 2] == key[2]
            and table[at, 5] == key[5]
        ):
            break
        at = (at + _U(1)) & mask
    return np.int64(at)


@compiled
def _fragment(fragments: Any, p: Any, time: int) -> None:
    """Remember a first fragment's protocol and ports, or give them to a later one."""
    word = (p[h.FRAGMENT_ID] << _U(1)) | _U(p[h.FAMILY] == 6)
    value = _mix(_mix(_mix(_mix(_mix(_U(1), p[h.S_HI]), p[h.S_LO]), p[h.D_HI]), p[h.D_LO]), word)
    row = fragments[np.int64((value >> _U(32)) & _U(FRAGMENT_ROWS - 1))]
    if p[h.FRAGMENT] == h.FIRST:
        if p[h.HAS_PORTS] or p[h.ICMP]:
            row[0], row[1], row[2], row[3] = p[h.S_HI], p[h.S_LO], p[h.D_HI], p[h.D_LO]
            row[4], row[5], row[6] = word, p[h.PORTS], _U(time)
            row[7] = p[h.PROTOCOL] | (p[h.HAS_PORTS] << _U(8)) | _U(1 << 9)
        return
    known = row[7] != 0 and row[0] == p[h.S_HI] and row[1] == p[h.S_LO] and row[2] == p[h.D_HI]
    if known and row[3] == p[h.D_LO] and row[4] == word and time - np.int64(row[6]) <= FRAGMENT_LIFE:
        p[h.PROTOCOL], p[h.PORTS] = row[7] & _U(0xFF), row[5]
        p[h.HAS_PORTS] = (row[7] >> _U(8)) & _U(1)


@compiled
def _key(p: Any, key: Any) -> bool:
    """The canonical key of a parsed packet; whether its source is end B."""
    source, destination = p[h.PORTS] >> _U(16), p[h.PORTS] & _U(0xFFFF)
    swapped = p[h.S_HI] > p[h.D_HI] or (
        p[h.S_HI] == p[h.D_HI] and (p[h.S_LO] > p[h.D_LO] or (p[h.S_LO] == p[h.D_LO] and source > destination))
    )
    if swapped:
        key[0], key[1], key[2], key[3] = p[h.D_HI], p[h.D_LO], p[h.S_HI], p[h.S_LO]
        source, destination = destination, source
    else:
        key[0], key[1], key[2], key[3] = p[h.S_HI], p[h.S_LO], p[h.D_HI], p[h.D_LO]
    key[4] = (
        (source << _U(16))
        | destination
        | (p[h.PROTOCOL] << _U(32))
        | (p[h.FAMILY] << _U(40))
        | (p[h.HAS_PORTS] << _U(48))
    )
    key[5] = p[h.VLAN]
    return bool(swapped)


@inlined
def _open(row: Any, key: Any, p: Any, time: int, frame: int, swapped: bool) -> None:
    for index in range(6):
        row[index] = key[index]
    row[START], row[LAST], row[FRAME], row[USED], row[REASON] = _U(time), _U(time), _U(frame), _U(1), _U(0)
    row[BYTES], row[PACKETS], row[R_BYTES], row[R_PACKETS] = _U(0), _U(0), _U(0), _U(0)
    row[MARKS] = (_U(swapped) << _U(SWAPPED)) | (p[h.ICMP] << _U(32))


@inlined
def _count(row: Any, p: Any, time: int, swapped: bool) -> None:
    if _U(swapped) == (row[MARKS] >> _U(SWAPPED)) & _U(1):
        row[BYTES] += p[h.BYTES]
        row[PACKETS] += _U(1)
    else:
        row[R_BYTES] += p[h.BYTES]
        row[R_PACKETS] += _U(1)
    row[MARKS] |= p[h.FLAGS]
    if time > np.int64(row[LAST]):
        row[LAST] = _U(time)
    if time < np.int64(row[START]):
        row[START] = _U(time)


@compiled
def meter(
    buffer: Any, offset: Any, captured: Any, original: Any, frame: Any, time: Any, linktype: Any,
    begin: Any, table: Any, flows: Any, fragments: Any, out: Any, seed: Any, idle: Any, dropped: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Meter frames from `begin` on: (next frame to do, flows in the table, rows of `out` filled).

    Stops early when the table is half full or `out` is full; the caller makes room and calls again. `dropped` counts
    by the results of `headers.parse`. Flows idle for longer than `idle` microseconds end when their next packet comes.
    """
    limit = table.shape[0] // 2
    p = np.zeros(h.SLOTS, np.uint64)
    key = np.zeros(6, np.uint64)
    written = 0
    for index in range(begin, offset.size):
        if flows >= limit or written >= out.shape[0]:
            return index, flows, written
        now = time[index]
        if now < 0 or now >= GREATEST_TIME:
            dropped[h.TIME] += 1
            continue
        result = h.parse(buffer, offset[index], captured[index], original[index], np.int64(linktype[index]), p)
        if result != h.OK:
            dropped[result] += 1
            continue
        if p[h.FRAGMENT] != h.WHOLE:
            _fragment(fragments, p, now)
        swapped = _key(p, key)
        row = table[_slot(table, seed, key)]
        if row[USED] == 0:
            _open(row, key, p, now, frame[index], swapped)
            flows += 1
        elif now - np.int64(row[LAST]) > idle:
            out[written, :] = row
            out[written, REASON] = _U(IDLE)
            written += 1
            _open(row, key, p, now, frame[index], swapped)
        _count(row, p, now, swapped)
    return offset.size, flows, written


@compiled
def move(old: Any, new: Any, seed: Any) -> None:
    """Rehash every flow of one table into a larger, empty one."""
    for index in range(old.shape[0]):
        if old[index, USED] != 0:
            new[_slot(new, seed, old[index, :6]), :] = old[index, :]
