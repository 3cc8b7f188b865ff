"""Flow records to columns: the sampled header, what the device made of it, and where it sent it.

The header is read in place up to its transport header; no octet of it is kept (decision 15). Its outermost addresses
are the flow's: what a tunnel carries is not read. What the header says goes before what the device says of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.decode.netflow.scan import be16, be32
from csirt.decode.packets import headers as h
from csirt.decode.sflow.layout import (
    BGP_FAMILY,
    D_AS,
    D_HI,
    D_LO,
    D_MAC,
    D_MASK,
    D_PEER_AS,
    D_PORT,
    ETHERTYPE,
    FAMILY,
    FLOW_LABEL,
    HAS,
    HEADER_PROTOCOL,
    ICMP_CODE,
    ICMP_TYPE,
    INNER_VLAN,
    IP_LENGTH,
    MAC_LENGTH,
    MPLS_LABEL,
    NAT_D_FAMILY,
    NAT_D_PORT,
    NAT_S_FAMILY,
    NAT_S_PORT,
    NEXT_FAMILY,
    OCTETS,
    PRIORITY_IN,
    PRIORITY_OUT,
    PROTOCOL,
    S_AS,
    S_HI,
    S_LO,
    S_MAC,
    S_MASK,
    S_PEER_AS,
    S_PORT,
    TCP_FLAGS,
    TOS,
    TTL,
    VLAN,
    VLAN_IN,
    VLAN_OUT,
    VNI_IN,
    VNI_OUT,
)
from csirt.model.batch import Array
from csirt.model.jit import kernel

Number = Any  # inside compiled code: whatever width numba infers

READ, SHORT, UNREAD = 0, 1, 2  # what became of a record; UNREAD: of no format that is read, or the second of its kind


@kernel
def be64(b: Array, i: Number) -> Number:
    """Eight octets at `i`, big-endian."""
    return (np.uint64(be32(b, i)) << np.uint64(32)) | np.uint64(be32(b, i + 4))


@kernel
def put(t: Array, r: Number, column: Number, value: Number) -> None:
    """State a value."""
    t[column, r] = np.uint64(value)
    t[HAS, r] |= np.uint64(1) << np.uint64(column)


@kernel
def _has(t: Array, r: Number, column: Number) -> bool:
    there: bool = (t[HAS, r] >> np.uint64(column)) & np.uint64(1) != 0
    return there


@kernel
def _offer(t: Array, r: Number, column: Number, value: Number) -> None:
    """State a value where none is stated yet."""
    if not _has(t, r, column):
        put(t, r, column, value)


@kernel
def _mac(b: Array, at: Number) -> Number:
    return (np.uint64(be16(b, at)) << np.uint64(32)) | np.uint64(be32(b, at + 2))


@kernel
def _has_ports(protocol: Number) -> bool:
    return protocol in (6, 17, 33, 132, 136)


@kernel
def _address(b: Array, at: Number, stop: Number, t: Array, r: Number, column: Number) -> Number:
    """Read an address (type and octets) into three columns unless one is there; where it ends, or -1 without one."""
    if at + 4 > stop:
        return np.int64(-1)
    kind = be32(b, at)
    if kind == 0:  # the agent does not know it
        return np.int64(at + 4)
    if (kind != 1 and kind != 2) or at + (8 if kind == 1 else 20) > stop:
        return np.int64(-1)
    if t[column, r] == 0:
        if kind == 1:
            t[column, r] = np.uint64(4)
            t[column + 2, r] = np.uint64(be32(b, at + 4))
        else:
            t[column, r] = np.uint64(6)
            t[column + 1, r] = be64(b, at + 4)
            t[column + 2, r] = be64(b, at + 12)
    return np.int64(at + (8 if kind == 1 else 20))


@kernel
def flow_record(
    b: Array, kind: Number, at: Number, stop: Number, t: Array, r: Number, p: Array, seen: Number
) -> tuple[Number, Number]:
    """(READ, SHORT or UNREAD, formats seen in this sample); only the first record of a format counts."""
    place = -1
    if 1 <= kind <= 4:
        place = kind
    elif kind == 1001 or kind == 1002 or kind == 1003 or kind == 1006 or kind == 1007:
        place = kind - 990
    elif kind == 1020 or kind == 1029 or kind == 1030:
        place = kind - 1000
    if place < 0:
        return UNREAD, seen
    bit = np.uint64(1) << np.uint64(place)
    if seen & bit:
        return UNREAD, seen
    seen |= bit
    n = stop - at
    good = True
    if kind == 1:
        good = _header(b, at, stop, t, r, p)
    elif kind == 2:
        good = n >= 24
        if good:
            put(t, r, MAC_LENGTH, be32(b, at))
            _offer(t, r, S_MAC, _mac(b, at + 4))
            _offer(t, r, D_MAC, _mac(b, at + 12))
            _offer(t, r, ETHERTYPE, be32(b, at + 20) & 0xFFFF)
    elif kind == 3:
        good = n >= 32
        if good:
            _sampled_ip(b, at, 4, t, r)
    elif kind == 4:
        good = n >= 56
        if good:
            _sampled_ip(b, at, 16, t, r)
    elif kind == 1001:
        good = n >= 16
        if good:
            for k, column in enumerate((VLAN_IN, PRIORITY_IN, VLAN_OUT, PRIORITY_OUT)):
                value = be32(b, at + 4 * k)
                if value < (4096 if k % 2 == 0 else 8):  # all ones: not known
                    put(t, r, column, value)
    elif kind == 1002:
        at = _address(b, at, stop, t, r, NEXT_FAMILY)
        good = at >= 0 and at + 8 <= stop
        if good:
            put(t, r, S_MASK, min(be32(b, at), 255))
            put(t, r, D_MASK, min(be32(b, at + 4), 255))
    elif kind == 1003:
        good = _gateway(b, at, stop, t, r)
    elif kind == 1006:
        good = _mpls(b, at, stop, t, r)
    elif kind == 1007:
        at = _address(b, at, stop, t, r, NAT_S_FAMILY)
        good = at >= 0 and _address(b, at, stop, t, r, NAT_D_FAMILY) >= 0
    elif kind == 1020:
        good = n >= 8
        if good:
            put(t, r, NAT_S_PORT, be32(b, at) & 0xFFFF)
            put(t, r, NAT_D_PORT, be32(b, at + 4) & 0xFFFF)
    else:
        good = n >= 4
        if good:
            put(t, r, VNI_OUT if kind == 1029 else VNI_IN, be32(b, at))
    return (READ if good else SHORT), seen


@kernel
def _sampled_ip(b: Array, at: Number, width: Number, t: Array, r: Number) -> None:
    """The device's own reading of an IPv4 (`width` 4) or IPv6 (16) packet, where the header did not say it."""
    family = np.uint64(4 if width == 4 else 6)
    put(t, r, IP_LENGTH, be32(b, at))
    protocol = be32(b, at + 4) & 0xFF
    if t[FAMILY, r] == 0:
        t[FAMILY, r] = family
        if width == 4:
            t[S_LO, r] = np.uint64(be32(b, at + 8))
            t[D_LO, r] = np.uint64(be32(b, at + 12))
        else:
            t[S_HI, r], t[S_LO, r] = be64(b, at + 8), be64(b, at + 16)
            t[D_HI, r], t[D_LO, r] = be64(b, at + 24), be64(b, at + 32)
    elif t[FAMILY, r] != family:
        return
    _offer(t, r, PROTOCOL, protocol)
    at += 8 + 2 * width
    if t[PROTOCOL, r] == np.uint64(protocol):
        if _has_ports(protocol):
            _offer(t, r, S_PORT, be32(b, at) & 0xFFFF)
            _offer(t, r, D_PORT, be32(b, at + 4) & 0xFFFF)
        if protocol == 6:
            _offer(t, r, TCP_FLAGS, be32(b, at + 8) & 0x1FF)
    _offer(t, r, TOS, be32(b, at + 12) & 0xFF)


@kernel
def _gateway(b: Array, at: Number, stop: Number, t: Array, r: Number) -> bool:
    """BGP: next hop, the source's AS and neighbour, and of the path to the destination its first and last AS."""
    at = _address(b, at, stop, t, r, BGP_FAMILY)
    if at < 0 or at + 16 > stop:
        return False
    put(t, r, S_AS, be32(b, at + 4))
    put(t, r, S_PEER_AS, be32(b, at + 8))
    segments = be32(b, at + 12)
    at += 16
    last = -1
    for _ in range(segments):
        if at + 8 > stop:
            return False
        ordered = be32(b, at) == 2  # in a set nobody is first or last
        n = be32(b, at + 4)
        if at + 8 + 4 * n > stop:
            return False
        if n > 0:
            if (ordered or n == 1) and last == -1:
                put(t, r, D_PEER_AS, be32(b, at + 8))
            last = be32(b, at + 4 + 4 * n) if ordered or n == 1 else -2
        at += 8 + 4 * n
    if last >= 0:
        put(t, r, D_AS, last)
    return True


@kernel
def _mpls(b: Array, at: Number, stop: Number, t: Array, r: Number) -> bool:
    """The next hop and the top label of the stack the packet came with."""
    at = _address(b, at, stop, t, r, NEXT_FAMILY)
    if at < 0 or at + 4 > stop:
        return False
    n = be32(b, at)
    if at + 4 + 4 * n + 4 > stop:
        return False
    if n > 0:
        _offer(t, r, MPLS_LABEL, be32(b, at + 4) >> 12)
    return True


@kernel
def _header(b: Array, at: Number, stop: Number, t: Array, r: Number, p: Array) -> bool:
    """The first octets of the sampled packet."""
    if stop - at < 16:
        return False
    protocol = be32(b, at)
    frame = be32(b, at + 4)
    size = be32(b, at + 12)
    put(t, r, HEADER_PROTOCOL, min(protocol, 255))
    put(t, r, OCTETS, frame)
    at += 16
    whole: bool = at + size <= stop
    end = min(at + size, stop)
    n = end - at
    link = -1
    if protocol == 1:
        link = 1
        if n >= 14:
            put(t, r, D_MAC, _mac(b, at))
            put(t, r, S_MAC, _mac(b, at + 6))
    elif protocol == 11:
        link = 228
    elif protocol == 12:
        link = 229
    elif (protocol == 7 or protocol == 14) and n >= 4:  # PPP, with or without its address and control octets
        skip = 2 if b[at] == 0xFF and b[at + 1] == 3 else 0
        inner = be16(b, at + skip)
        link = 228 if inner == 0x0021 else 229 if inner == 0x0057 else -1
        at += skip + 2
    elif protocol == 13:
        label = -1
        while at + 4 <= end:
            entry = be32(b, at)
            at += 4
            if label < 0:
                label = entry >> 12
                put(t, r, MPLS_LABEL, label)
            if entry & 0x100:
                link = 101
                break
    if link >= 0:
        h.parse(b, at, end - at, frame, link, p)
        _taken(b, link, t, r, p)
    return whole


@kernel
def _taken(b: Array, link: Number, t: Array, r: Number, p: Array) -> None:
    """Take over what `headers.parse` found."""
    if p[h.VLAN] & np.uint64(0xFFFF):
        put(t, r, VLAN, p[h.VLAN] & np.uint64(0xFFFF))
    if p[h.VLAN] >> np.uint64(16):
        put(t, r, INNER_VLAN, p[h.VLAN] >> np.uint64(16))
    if p[h.LABEL]:
        put(t, r, MPLS_LABEL, p[h.LABEL] & np.uint64(0xFFFFF))
    if link == 1 and p[h.KIND]:
        put(t, r, ETHERTYPE, p[h.KIND])
    if not p[h.FAMILY]:
        return
    t[FAMILY, r] = p[h.FAMILY]
    t[S_HI, r], t[S_LO, r] = p[h.S_HI], p[h.S_LO]
    t[D_HI, r], t[D_LO, r] = p[h.D_HI], p[h.D_LO]
    protocol = np.int64(p[h.PROTOCOL])
    put(t, r, PROTOCOL, protocol)
    if p[h.HAS_PORTS]:
        put(t, r, S_PORT, p[h.PORTS] >> np.uint64(16))
        put(t, r, D_PORT, p[h.PORTS] & np.uint64(0xFFFF))
    if p[h.HAS_FLAGS]:  # of TCP none set is a statement, too
        put(t, r, TCP_FLAGS, p[h.FLAGS])
    if p[h.ICMP]:
        put(t, r, ICMP_TYPE, (p[h.ICMP] >> np.uint64(8)) & np.uint64(0xFF))
        put(t, r, ICMP_CODE, p[h.ICMP] & np.uint64(0xFF))
    at = np.int64(p[h.NETWORK])
    if p[h.FAMILY] == np.uint64(4):
        put(t, r, TOS, np.int64(b[at + 1]))
        put(t, r, TTL, np.int64(b[at + 8]))
    else:
        put(t, r, TOS, (be16(b, at) >> 4) & 0xFF)
        put(t, r, TTL, np.int64(b[at + 7]))
        put(t, r, FLOW_LABEL, be32(b, at) & 0xFFFFF)


@kernel
def settle(t: Array, r: Number) -> None:
    """After the last record: the length of the packet where no header said it."""
    if not _has(t, r, OCTETS):
        if _has(t, r, MAC_LENGTH):
            put(t, r, OCTETS, t[MAC_LENGTH, r])
        elif _has(t, r, IP_LENGTH):
            put(t, r, OCTETS, t[IP_LENGTH, r])
