"""One captured frame's headers, link layer to transport, as compiled code.

Link types by their pcap numbers (https://www.tcpdump.org/linktypes.html). Addresses and protocol are those of the
outermost IP header: GRE, IP in IP, ESP and AH are protocols of their own. Lengths are the IP header's (RFC 791 total
length, RFC 8200 payload length and 40), never the frame's, so padding and link headers do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

# Slots of the scratch array (uint64) that `parse` fills. KIND: the ether type of what follows the link headers,
# NETWORK: where that is in the buffer. LABEL: the top MPLS label, with bit 20 set where there is one.
S_HI, S_LO, D_HI, D_LO, FAMILY, PROTOCOL, PORTS, HAS_PORTS, BYTES, FLAGS, VLAN, ICMP, FRAGMENT, FRAGMENT_ID = range(14)
KIND, NETWORK, LABEL, HAS_FLAGS = 14, 15, 16, 17
SLOTS = 18

# Results of `parse`; the names are the reasons of the drop counter.
OK, TRUNCATED, NOT_IP, MALFORMED, LINKTYPE, TIME = range(6)
REASONS = {TRUNCATED: "truncated", NOT_IP: "not_ip", MALFORMED: "malformed", LINKTYPE: "linktype", TIME: "time"}

WHOLE, FIRST, LATER = range(3)  # FRAGMENT

_IPV4, _IPV6 = 0x0800, 0x86DD
_MAX_TAGS = 16
_MAX_EXTENSIONS = 16

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile to machine code on first call, kept in numba's cache; runs without the GIL."""
    return cast(_Function, njit(cache=True, nogil=True)(function))


def inlined(function: _Function) -> _Function:
    """As `compiled`, put into its callers."""
    return cast(_Function, njit(cache=True, nogil=True, inline="always")(function))


@inlined
def _be16(buffer: Any, at: int) -> Any:
    return (np.int64(buffer[at]) << 8) | np.int64(buffer[at + 1])


@inlined
def _be32(buffer: Any, at: int) -> Any:
    return (_be16(buffer, at) << 16) | _be16(buffer, at + 2)


@inlined
def _be64(buffer: Any, at: int) -> Any:
    return (np.uint64(_be32(buffer, at)) << np.uint64(32)) | np.uint64(_be32(buffer, at + 4))


@inlined
def _by_version(buffer: Any, at: int, end: int) -> int:
    """The ether type an IP header's version nibble stands for; 0 for neither; -1 when nothing was captured."""
    if at >= end:
        return -1
    version = buffer[at] >> 4
    if version == 4:
        return _IPV4
    return _IPV6 if version == 6 else 0


@compiled
def _tags(buffer: Any, kind: int, at: int, end: int, p: Any) -> tuple[int, int]:
    """Walk VLAN tags (802.1Q, 802.1ad), MPLS labels, PPPoE and SNAP: (ether type or -1 when cut off, offset)."""
    found = 0
    for _ in range(_MAX_TAGS):
        if kind == 0x8100 or kind == 0x88A8 or kind == 0x9100:
            if at + 4 > end:
                return -1, at
            number = _be16(buffer, at) & 0x0FFF
            if found < 2:
                p[VLAN] |= np.uint64(number) << np.uint64(16 * found)
            found += 1
            kind = _be16(buffer, at + 2)
            at += 4
        elif kind == 0x8847 or kind == 0x8848:
            if at + 4 > end:
                return -1, at
            bottom = buffer[at + 2] & 1
            if p[LABEL] == 0:
                p[LABEL] = np.uint64((_be32(buffer, at) >> 12) | 0x100000)
            at += 4
            if bottom:
                return _by_version(buffer, at, end), at
        elif kind == 0x8864:
            if at + 8 > end:
                return -1, at
            inner = _be16(buffer, at + 6)
            at += 8
            kind = _IPV4 if inner == 0x0021 else _IPV6 if inner == 0x0057 else 0
        elif kind < 0x0600 and kind > 0:
            if at + 8 > end:
                return (0 if end - at >= 3 and buffer[at] != 0xAA else -1), at
            if buffer[at] != 0xAA or buffer[at + 1] != 0xAA or buffer[at + 2] != 3 or kind < 8:
                return 0, at
            kind = _be16(buffer, at + 6)
            at += 8
            if kind < 0x0600:
                return 0, at
        else:
            break
    return kind, at


@compiled
def _link(buffer: Any, at: int, end: int, linktype: int, p: Any) -> tuple[int, int]:
    """(ether type of the network header, its offset); type 0 not IP, -1 cut off, -2 unknown link type."""
    if linktype == 1:  # Ethernet
        if at + 14 > end:
            return -1, at
        return _tags(buffer, _be16(buffer, at + 12), at + 14, end, p)
    if linktype == 113:  # Linux cooked capture
        if at + 16 > end:
            return -1, at
        return _tags(buffer, _be16(buffer, at + 14), at + 16, end, p)
    if linktype == 276:  # Linux cooked capture v2
        if at + 20 > end:
            return -1, at
        return _tags(buffer, _be16(buffer, at), at + 20, end, p)
    if linktype == 12 or linktype == 14 or linktype == 101:  # raw IP
        return _by_version(buffer, at, end), at
    if linktype == 228:
        return _IPV4, at
    if linktype == 229:
        return _IPV6, at
    if linktype == 0 or linktype == 108:  # BSD loopback: an address family in some byte order, 2 is IPv4 everywhere
        if at + 4 > end:
            return -1, at
        family = _be32(buffer, at)
        if family > 0xFFFF:
            family = (family >> 24) | ((family >> 8) & 0xFF00)
        if family == 2:
            return _IPV4, at + 4
        return (_IPV6 if family == 10 or family == 24 or family == 28 or family == 30 else 0), at + 4
    return -2, at


@compiled
def _transport(buffer: Any, at: Any, end: Any, protocol: Any, p: Any) -> None:
    """Ports of TCP, UDP, DCCP, SCTP and UDP-Lite, TCP flags (9 bits, RFC 9293 and the former NS), ICMP type, code."""
    if protocol == 6 or protocol == 17 or protocol == 33 or protocol == 132 or protocol == 136:
        if at + 4 <= end:
            p[PORTS] = np.uint64(_be32(buffer, at))
            p[HAS_PORTS] = np.uint64(1)
        if protocol == 6 and at + 14 <= end:
            p[FLAGS] = np.uint64(_be16(buffer, at + 12) & 0x01FF)
            p[HAS_FLAGS] = np.uint64(1)
    elif (protocol == 1 or protocol == 58) and at + 2 <= end:
        p[ICMP] = np.uint64(0x10000 | _be16(buffer, at))


@compiled
def _ipv4(buffer: Any, at: Any, end: Any, original: Any, p: Any) -> int:
    if at + 20 > end:
        return TRUNCATED
    header = (np.int64(buffer[at]) & 15) * 4
    total = _be16(buffer, at + 2)
    if total == 0:  # segmentation offload: the length did not fit
        total = max(original, header)
    if buffer[at] >> 4 != 4 or header < 20 or total < header:
        return MALFORMED
    p[FAMILY] = np.uint64(4)
    p[S_LO] = np.uint64(_be32(buffer, at + 12))
    p[D_LO] = np.uint64(_be32(buffer, at + 16))
    p[BYTES] = np.uint64(total)
    protocol = np.int64(buffer[at + 9])
    p[PROTOCOL] = np.uint64(protocol)
    fragment = _be16(buffer, at + 6)
    if fragment & 0x3FFF:
        p[FRAGMENT] = np.uint64(LATER if fragment & 0x1FFF else FIRST)
        p[FRAGMENT_ID] = np.uint64(_be16(buffer, at + 4) | protocol << 32)
    if not fragment & 0x1FFF:
        _transport(buffer, at + header, min(end, at + total), protocol, p)
    return OK


@compiled
def _ipv6(buffer: Any, at: Any, end: Any, original: Any, p: Any) -> int:
    if at + 40 > end:
        return TRUNCATED
    if buffer[at] >> 4 != 6:
        return MALFORMED
    kind = np.int64(buffer[at + 6])
    total = _be16(buffer, at + 4) + 40
    if total == 40 and kind == 0:  # jumbogram (RFC 2675)
        total = max(original, 40)
    p[FAMILY] = np.uint64(6)
    p[S_HI], p[S_LO] = _be64(buffer, at + 8), _be64(buffer, at + 16)
    p[D_HI], p[D_LO] = _be64(buffer, at + 24), _be64(buffer, at + 32)
    p[BYTES] = np.uint64(total)
    end = min(end, at + total)
    at += 40
    for _ in range(_MAX_EXTENSIONS):
        if kind == 44:
            if at + 8 > end:
                break
            fragment = _be16(buffer, at + 2)
            if fragment & 0xFFF9:  # not an atomic fragment (RFC 6946)
                p[FRAGMENT] = np.uint64(LATER if fragment & 0xFFF8 else FIRST)
                p[FRAGMENT_ID] = np.uint64(_be32(buffer, at + 4))
            kind = np.int64(buffer[at])
            at += 8
            if fragment & 0xFFF8:
                break
        elif kind == 0 or kind == 43 or kind == 60 or kind == 135 or kind == 139 or kind == 140:
            if at + 8 > end:
                break
            kind, at = np.int64(buffer[at]), at + (np.int64(buffer[at + 1]) + 1) * 8
        else:
            break
    p[PROTOCOL] = np.uint64(kind)
    if p[FRAGMENT] != LATER and at <= end:
        _transport(buffer, at, end, kind, p)
    return OK


@compiled
def parse(buffer: Any, offset: Any, captured: Any, original: Any, linktype: Any, p: Any) -> int:
    """Fill the scratch array from one frame; OK, or why it is not an IP packet that can be counted."""
    p[:] = np.uint64(0)
    end = min(offset + captured, buffer.size)
    if offset < 0 or captured < 0:
        return MALFORMED
    kind, at = _link(buffer, offset, end, linktype, p)
    if kind == -2:
        return LINKTYPE
    if kind == -1:
        return TRUNCATED
    p[KIND], p[NETWORK] = np.uint64(kind), np.uint64(at)
    length = max(original, captured) - (at - offset)
    if kind == _IPV4:
        return _ipv4(buffer, at, end, length, p)
    if kind == _IPV6:
        return _ipv6(buffer, at, end, length, p)
    return NOT_IP
