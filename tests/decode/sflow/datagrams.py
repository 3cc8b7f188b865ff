"""sFlow datagrams for the tests of this room: builders, one per structure of the specification. No product code."""

from __future__ import annotations

import ipaddress
import struct


def word(*values: int) -> bytes:
    """32-bit numbers."""
    return struct.pack(f">{len(values)}I", *values)


def block(kind: int, body: bytes) -> bytes:
    """A sample or a record: format, length, and the body padded to four octets."""
    return word(kind, len(body)) + body + bytes(-len(body) % 4)


def address(text: str = "") -> bytes:
    """An address with its type; none for an empty text."""
    if not text:
        return word(0)
    item = ipaddress.ip_address(text)
    return word(1 if item.version == 4 else 2) + item.packed


def sflow(*samples: bytes, agent: str = "192.0.2.9", domain: int = 3, sequence: int = 1, count: int = -1) -> bytes:
    """A datagram."""
    head = word(5) + address(agent) + word(domain, sequence, 123_000, len(samples) if count < 0 else count)
    return head + b"".join(samples)


def flow(
    *records: bytes, sequence: int = 7, rate: int = 100, drops: int = 2, source: int = 5, in_: int = 11, out: int = 12,
    expanded: bool = False, count: int = -1,
) -> bytes:  # fmt: skip
    """A flow sample; `in_` and `out` are (format << 30 | value), or of an expanded one (format << 32 | value)."""
    count = len(records) if count < 0 else count
    if expanded:
        ends = word(in_ >> 32, in_ & 0xFFFFFFFF, out >> 32, out & 0xFFFFFFFF)
        return block(3, word(sequence, source >> 24, source & 0xFFFFFF, rate, 9_000, drops) + ends + word(count)
                     + b"".join(records))  # fmt: skip
    return block(1, word(sequence, source, rate, 9_000, drops, in_, out, count) + b"".join(records))


def counters(*records: bytes, sequence: int = 8, source: int = 5, expanded: bool = False) -> bytes:
    """A counter sample."""
    if expanded:
        return block(4, word(sequence, source >> 24, source & 0xFFFFFF, len(records)) + b"".join(records))
    return block(2, word(sequence, source, len(records)) + b"".join(records))


def header(packet: bytes, *, frame: int = 1_000, protocol: int = 1, length: int = -1) -> bytes:
    """A raw packet header record."""
    return block(1, word(protocol, frame, 4, len(packet) if length < 0 else length) + packet)


def sampled_ip(
    source: str, destination: str, *, length: int = 300, protocol: int = 6, ports: tuple[int, int] = (1024, 443),
    flags: int = 2, tos: int = 8,
) -> bytes:  # fmt: skip
    """A sampled IPv4 or IPv6 record."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return block(3 if len(ends) == 8 else 4, word(length, protocol) + ends + word(*ports, flags, tos))


def sampled_ethernet(length: int, source: str, destination: str, kind: int = 0x0800) -> bytes:
    """An Ethernet frame data record."""
    macs = [bytes.fromhex(item) + b"\0\0" for item in (source, destination)]
    return block(2, word(length) + b"".join(macs) + word(kind))


def gateway(next_hop: str, *ases: int, path: tuple[tuple[int, tuple[int, ...]], ...] = ()) -> bytes:
    """An extended gateway record: router's, source's and source peer's AS, then segments of the path."""
    segments = b"".join(word(kind, len(items), *items) for kind, items in path)
    return block(1003, address(next_hop) + word(*ases, len(path)) + segments + word(0, 100))


def generic(*values: int) -> bytes:
    """A generic interface counter record from its 19 numbers."""
    return block(1, struct.pack(">IIQIIQIIIIIIQIIIIII", *values))


def ethernet(*, tags: tuple[int, ...] = (), kind: int = 0x0800, labels: tuple[int, ...] = ()) -> bytes:
    """An Ethernet header with VLAN tags and MPLS labels."""
    out = bytes.fromhex("02000000000a") + bytes.fromhex("02000000000b")
    for tag in tags:
        out += struct.pack(">HH", 0x8100, tag)
    out += struct.pack(">H", 0x8847 if labels else kind)
    for place, label in enumerate(labels):
        out += word(label << 12 | (place == len(labels) - 1) << 8 | 64)
    return out


def ip4(source: str = "10.0.0.1", destination: str = "10.0.0.2", *, protocol: int = 6, body: bytes = b"",
        fragment: int = 0, tos: int = 0) -> bytes:  # fmt: skip
    """An IPv4 packet."""
    ends = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(destination).packed
    return struct.pack(">BBHHHBBH", 0x45, tos, 20 + len(body), 1, fragment, 63, protocol, 0) + ends + body


def ip6(source: str = "fd00::1", destination: str = "fd00::2", *, protocol: int = 17, body: bytes = b"") -> bytes:
    """An IPv6 packet with traffic class 8 and flow label 0x12345."""
    ends = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    return struct.pack(">IHBB", 0x60812345, len(body), protocol, 62) + ends + body


def tcp(source: int = 1024, destination: int = 443, flags: int = 0x12) -> bytes:
    """A TCP header."""
    return struct.pack(">HHIIBBHHH", source, destination, 1, 2, 0x50 | flags >> 8, flags & 0xFF, 100, 0, 0)


def udp(source: int = 5353, destination: int = 53) -> bytes:
    """A UDP header."""
    return struct.pack(">HHHH", source, destination, 8, 0)
