"""Compiled walkers over the records of pcap and the blocks of pcapng. They find packets; they never trust a length.

pcap: draft-ietf-opsawg-pcap. pcapng: draft-ietf-opsawg-pcapng. Times become microseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.jit import kernel

# Why a walk stopped.
END, LIMIT, MORE, SKIP, DAMAGED = range(5)

MAX_PACKET = 262_144  # what tshark takes for the longest possible packet
MAX_BLOCK = 256 << 20
MAX_PACKET_BLOCK = 2 << 20  # packet, section and interface blocks with their options
MAX_INTERFACES = 1024

# Slots of a walker's state (int64).
BIG, INTERFACES, LAST, BAD_INTERFACE, SKIPPED = range(5)
STATE = 5
# Columns of the interface table (int64).
LINK, RESOLUTION, OFFSET, SNAP = range(4)

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6


@kernel
def u16(buffer: Any, at: Any, big: Any) -> Any:
    """16 bits as a signed 64-bit number."""
    if big:
        return (np.int64(buffer[at]) << 8) | np.int64(buffer[at + 1])
    return (np.int64(buffer[at + 1]) << 8) | np.int64(buffer[at])


@kernel
def u32(buffer: Any, at: Any, big: Any) -> Any:
    """32 bits as a signed 64-bit number."""
    if big:
        return (u16(buffer, at, 1) << 16) | u16(buffer, at + 2, 1)
    return (u16(buffer, at + 2, 0) << 16) | u16(buffer, at, 0)


@kernel
def microseconds(high: Any, low: Any, resolution: Any, offset: Any) -> Any:
    """A pcapng timestamp by if_tsresol and if_tsoffset (seconds); times beyond the year 100,000 are held there."""
    ticks = (np.uint64(high) << np.uint64(32)) | np.uint64(low)
    if resolution & 0x80:
        bits = resolution & 0x7F
        if bits > 63:
            return np.int64(0)
        seconds = ticks >> np.uint64(bits)
        fraction = ticks & ((np.uint64(1) << np.uint64(bits)) - np.uint64(1))
        if bits > 40:
            fraction = fraction >> np.uint64(bits - 40)
            bits = 40
        part = (fraction * np.uint64(1_000_000)) >> np.uint64(bits)
    else:
        digits = min(resolution, 19)
        unit = np.uint64(1)
        for _ in range(digits):
            unit *= np.uint64(10)
        seconds = ticks // unit
        fraction = ticks % unit
        if digits <= 6:  # noqa: SIM108 two lines are read more easily
            part = fraction * (np.uint64(1_000_000) // unit)
        else:
            part = fraction // (unit // np.uint64(1_000_000))
    limit = np.uint64(4_000_000_000_000)
    whole = np.int64(min(seconds, limit))
    shift = min(max(offset, -4_000_000_000_000), 4_000_000_000_000)
    return (whole + shift) * 1_000_000 + np.int64(part)


@kernel
def walk_pcap(buffer: Any, end: Any, limit: Any, header: Any, nano: Any, link: Any, state: Any, out: Any) -> Any:
    """Records from the start of `buffer` to `end`: (packets, bytes used, why it stopped).

    `header`: 16 bytes, or 24 of the modified format. `out`: int64 rows (offset, captured, original, time, link type).
    """
    at, count, big = 0, 0, state[BIG]
    while count < limit:
        if at == end:
            return count, at, END
        if end - at < header:
            return count, at, MORE
        captured = u32(buffer, at + 8, big)
        if captured > MAX_PACKET:
            return count, at, DAMAGED
        if end - at < header + captured:
            return count, at, MORE
        fraction = u32(buffer, at + 4, big)
        out[count, 0] = at + header
        out[count, 1] = captured
        out[count, 2] = u32(buffer, at + 12, big)
        out[count, 3] = u32(buffer, at, big) * 1_000_000 + (fraction // 1000 if nano else fraction)
        out[count, 4] = link
        count += 1
        at += header + captured
    return count, at, LIMIT


@kernel
def _interface(buffer: Any, at: Any, length: Any, big: Any, state: Any, table: Any) -> Any:
    """An interface description; False when there is no room for it."""
    number = state[INTERFACES]
    if number >= MAX_INTERFACES or length < 20:
        return False
    table[number, LINK] = u16(buffer, at + 8, big)
    table[number, SNAP] = u32(buffer, at + 12, big)
    table[number, RESOLUTION] = 6
    table[number, OFFSET] = 0
    option, stop = at + 16, at + length - 4
    while option + 4 <= stop:
        code, size = u16(buffer, option, big), u16(buffer, option + 2, big)
        value = option + 4
        if code == 0 or value + size > stop:
            break
        if code == 9 and size == 1:
            table[number, RESOLUTION] = buffer[value]
        elif code == 14 and size == 8:
            first, second = u32(buffer, value, big), u32(buffer, value + 4, big)
            table[number, OFFSET] = (first << 32 | second) if big else (second << 32 | first)
        option = value + size + (-size & 3)
    state[INTERFACES] = number + 1
    return True


@kernel
def _packet(buffer: Any, at: Any, length: Any, kind: Any, state: Any, table: Any, out: Any, count: Any) -> Any:
    """A packet block into row `count`: 1 taken, 0 of an interface that was never described, -1 damaged."""
    big = state[BIG]
    if kind == _SIMPLE:
        if length < 16:
            return -1
        if state[INTERFACES] == 0:
            return 0
        original = u32(buffer, at + 8, big)
        captured = min(original, length - 16)
        if table[0, SNAP]:
            captured = min(captured, table[0, SNAP])
        start, interface, time = at + 12, 0, state[LAST]
    else:
        if length < 32:
            return -1
        interface = u32(buffer, at + 8, big) if kind == _ENHANCED else u16(buffer, at + 8, big)
        captured, original = u32(buffer, at + 20, big), u32(buffer, at + 24, big)
        start = at + 28
        if captured > length - 32:
            return -1
        if interface >= state[INTERFACES]:
            return 0
        time = microseconds(
            u32(buffer, at + 12, big), u32(buffer, at + 16, big), table[interface, RESOLUTION], table[interface, OFFSET]
        )
    if captured > MAX_PACKET:
        return -1
    out[count, 0] = start
    out[count, 1] = captured
    out[count, 2] = original
    out[count, 3] = time
    out[count, 4] = table[interface, LINK]
    state[LAST] = time
    return 1


@kernel
def walk_pcapng(buffer: Any, end: Any, limit: Any, state: Any, table: Any, out: Any) -> Any:
    """Blocks from the start of `buffer` to `end`: (packets, bytes used, why it stopped).

    SKIP: the next block is of no interest and goes on beyond `end`; `state[SKIPPED]` has its length.
    """
    at, count = 0, 0
    while count < limit:
        if at == end:
            return count, at, END
        if end - at < 12:
            return count, at, MORE
        kind = u32(buffer, at, state[BIG])
        if kind == _SECTION:
            order = u32(buffer, at + 8, 0)
            if order != 0x1A2B3C4D and order != 0x4D3C2B1A:
                return count, at, DAMAGED
            state[BIG] = 1 if order == 0x4D3C2B1A else 0
        length = u32(buffer, at + 4, state[BIG])
        wanted = kind in (_SECTION, _INTERFACE, _ENHANCED, _SIMPLE, _OLD_PACKET)
        if length < 12 or length & 3 or length > (MAX_PACKET_BLOCK if wanted else MAX_BLOCK):
            return count, at, DAMAGED
        if not wanted and length > end - at:
            state[SKIPPED] = length
            return count, at, SKIP
        if length > end - at:
            return count, at, MORE
        if wanted and u32(buffer, at + length - 4, state[BIG]) != length:
            return count, at, DAMAGED
        if kind == _SECTION:
            if length < 28 or u16(buffer, at + 12, state[BIG]) != 1:
                return count, at, DAMAGED
            state[INTERFACES] = 0
        elif kind == _INTERFACE:
            if not _interface(buffer, at, length, state[BIG], state, table):
                return count, at, DAMAGED
        elif wanted:
            taken = _packet(buffer, at, length, kind, state, table, out, count)
            if taken < 0:
                return count, at, DAMAGED
            if taken:
                count += 1
            else:
                state[BAD_INTERFACE] += 1
        at += length
    return count, at, LIMIT
