"""Captured frames to UDP payloads, by compiled code over whole windows. Link types by their pcap numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.batch import Array
from csirt.model.chunk import Datagrams
from csirt.model.jit import kernel
from csirt.sources.pcap import Found
from csirt.sources.walk import u16, u32

OK, NOT_UDP, NOT_IP, FRAGMENT, TRUNCATED, MALFORMED, LINKTYPE = range(7)
REASONS = ("", "not_udp", "not_ip", "fragment", "truncated", "malformed", "linktype")

_MAX_TAGS = 8
_MAX_EXTENSIONS = 16


@kernel
def _network(buffer: Any, at: Any, end: Any, link: Any) -> Any:
    """(where the IP header begins, reason) behind the link layer's header."""
    if link == 1:  # Ethernet
        kind, at = at + 12, at + 14
    elif link == 113:  # Linux cooked capture
        kind, at = at + 14, at + 16
    elif link == 276:  # Linux cooked capture v2
        kind, at = at, at + 20
    elif link == 0 or link == 108:  # BSD loopback: what follows shows its own version
        return at + 4, OK
    elif link == 12 or link == 14 or link == 101 or link == 228 or link == 229:  # raw IP
        return at, OK
    else:
        return at, LINKTYPE
    if at > end:
        return at, TRUNCATED
    ether = u16(buffer, kind, 1)
    for _ in range(_MAX_TAGS):
        if ether != 0x8100 and ether != 0x88A8 and ether != 0x9100 and ether != 0x9200:
            break
        if at + 4 > end:
            return at, TRUNCATED
        ether = u16(buffer, at + 2, 1)
        at += 4
    return at, OK if ether == 0x0800 or ether == 0x86DD else NOT_IP


@kernel
def _behind6(buffer: Any, at: Any, end: Any) -> Any:
    """(upper protocol, where it begins, reason) behind an IPv6 header and its extensions (RFC 8200, 4)."""
    size: Any = 0
    protocol, at = np.int64(buffer[at + 6]), at + 40
    for _ in range(_MAX_EXTENSIONS):
        if protocol == 44:
            if at + 8 > end:
                return protocol, at, TRUNCATED
            if u16(buffer, at + 2, 1) & 0xFFF9:
                return protocol, at, FRAGMENT
            size = 8
        elif protocol == 0 or protocol == 43 or protocol == 60 or protocol == 135:
            if at + 8 > end:
                return protocol, at, TRUNCATED
            size = (np.int64(buffer[at + 1]) + 1) * 8
        elif protocol == 51:
            if at + 8 > end:
                return protocol, at, TRUNCATED
            size = (np.int64(buffer[at + 1]) + 2) * 4
        else:
            return protocol, at, OK
        protocol, at = np.int64(buffer[at]), at + size
    return protocol, at, MALFORMED


@kernel
def _datagram(buffer: Any, at: Any, end: Any, row: Any) -> Any:
    """An IP packet's UDP payload into `row`: offset, length, family, high, low, destination port. The reason if not."""
    if at >= end:
        return TRUNCATED
    version = buffer[at] >> 4
    if version == 4:
        if at + 20 > end:
            return TRUNCATED
        header, total = (np.int64(buffer[at]) & 15) * 4, u16(buffer, at + 2, 1)
        if header < 20 or (total and total < header):
            return MALFORMED
        if u16(buffer, at + 6, 1) & 0x3FFF:
            return FRAGMENT
        protocol, upper = np.int64(buffer[at + 9]), at + header
        stop = min(end, at + total) if total else end
        row[2], row[3], row[4] = 4, 0, u32(buffer, at + 12, 1)
    elif version == 6:
        if at + 40 > end:
            return TRUNCATED
        payload = u16(buffer, at + 4, 1)
        stop = min(end, at + 40 + payload) if payload else end
        protocol, upper, reason = _behind6(buffer, at, stop)
        if reason != OK:
            return reason
        row[2] = 6
        row[3] = (np.uint64(u32(buffer, at + 8, 1)) << np.uint64(32)) | np.uint64(u32(buffer, at + 12, 1))
        row[4] = (np.uint64(u32(buffer, at + 16, 1)) << np.uint64(32)) | np.uint64(u32(buffer, at + 20, 1))
    else:
        return NOT_IP
    if protocol != 17:
        return NOT_UDP
    if upper + 8 > stop:
        return TRUNCATED if stop == end else MALFORMED
    length = u16(buffer, upper + 4, 1)
    if length and length < 8:
        return MALFORMED
    if length:
        stop = min(stop, upper + length)
    row[0], row[1], row[5] = upper + 8, stop - upper - 8, u16(buffer, upper + 2, 1)
    return OK


@kernel
def _extract(buffer: Any, offset: Any, captured: Any, link: Any, rows: Any, chosen: Any, lost: Any) -> Any:
    count = 0
    for index in range(len(offset)):
        end = offset[index] + captured[index]
        at, reason = _network(buffer, offset[index], end, link[index])
        if reason == OK:
            reason = _datagram(buffer, at, end, rows[count])
        if reason == OK:
            chosen[count] = index
            count += 1
        else:
            lost[reason] += 1
    return count


def datagrams(found: Found) -> tuple[Datagrams, dict[str, int]]:
    """The UDP payloads among the packets, as far as they were captured, and the frames that have none by reason.

    The sender's address is the exporter's. Fragments are counted: an exporter keeps below the path's MTU.
    """
    size = len(found.offset)
    rows: Array = np.zeros((size + 1, 6), np.uint64)
    chosen: Array = np.empty(size, np.int64)
    lost: Array = np.zeros(len(REASONS), np.int64)
    count = int(_extract(found.buffer, found.offset, found.captured, found.linktype, rows, chosen, lost))
    rows, chosen = rows[:count], chosen[:count]
    result = Datagrams(
        buffer=found.buffer,
        offset=rows[:, 0].astype(np.int64),
        length=rows[:, 1].astype(np.int64),
        frame=found.frame[chosen],
        time=found.time[chosen],
        family=rows[:, 2].astype(np.uint8),
        high=np.ascontiguousarray(rows[:, 3]),
        low=np.ascontiguousarray(rows[:, 4]),
        port=rows[:, 5].astype(np.uint16),
    )
    return result, {REASONS[code]: int(number) for code, number in enumerate(lost.tolist()) if number and code}
