"""Datagrams for the tests of this room: a tiny pcap reader, chunk makers, message builders. No product code."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from csirt.model.chunk import Chunk, Datagrams

SEGMENT = "00112233445566aa"


def chunk(
    payloads: list[bytes],
    *,
    exporters: list[str] | None = None,
    times: list[int] | None = None,
    first: int = 0,
    segment: str = SEGMENT,
) -> Chunk:
    """A chunk of datagrams, frames counted from `first`."""
    count = len(payloads)
    lengths = np.array([len(item) for item in payloads], np.int64)
    addresses = [ipaddress.ip_address(item) for item in exporters or ["192.0.2.1"] * count]
    data = Datagrams(
        buffer=np.frombuffer(b"".join(payloads), np.uint8),
        offset=np.cumsum(lengths) - lengths,
        length=lengths,
        frame=np.arange(first, first + count, dtype=np.int64),
        time=np.array(times if times is not None else [1_700_000_000_000_000] * count, np.int64),
        family=np.array([item.version for item in addresses], np.uint8),
        high=np.array([int(item) >> 64 for item in addresses], np.uint64),
        low=np.array([int(item) & (2**64 - 1) for item in addresses], np.uint64),
        port=np.full(count, 2055, np.uint16),
    )
    return Chunk("test", "finger", segment, first, first + count, data)


def pcap(path: Path) -> tuple[list[bytes], list[str], list[int]]:
    """UDP payloads, senders and times of a little-endian microsecond pcap of Ethernet and IPv4/IPv6."""
    raw = path.read_bytes()
    nano = raw[:4] == b"\x4d\x3c\xb2\xa1"
    payloads: list[bytes] = []
    exporters: list[str] = []
    times: list[int] = []
    at = 24
    while at + 16 <= len(raw):
        seconds, fraction, captured, _ = struct.unpack_from("<IIII", raw, at)
        frame = raw[at + 16 : at + 16 + captured]
        at += 16 + captured
        kind, ip = struct.unpack_from(">H", frame, 12)[0], 14
        while kind in (0x8100, 0x88A8):
            kind, ip = struct.unpack_from(">H", frame, ip + 2)[0], ip + 4
        if kind == 0x0800:
            udp, sender = ip + 4 * (frame[ip] & 15), str(ipaddress.IPv4Address(frame[ip + 12 : ip + 16]))
        else:
            udp, sender = ip + 40, str(ipaddress.IPv6Address(frame[ip + 8 : ip + 24]))
        payloads.append(frame[udp + 8 : udp + struct.unpack_from(">H", frame, udp + 4)[0]])
        exporters.append(sender)
        times.append(seconds * 1_000_000 + (fraction // 1000 if nano else fraction))
    return payloads, exporters, times


def v5(
    records: Iterable[bytes],
    *,
    uptime: int = 10_000,
    seconds: int = 1_700_000_000,
    sequence: int = 0,
    sampling: int = 0,
    nanoseconds: int = 0,
    engine: int = 0,
    count: int | None = None,
) -> bytes:
    """A v5 datagram."""
    body = list(records)
    head = struct.pack(
        ">HHIIIIHH", 5, len(body) if count is None else count, uptime, seconds, nanoseconds, sequence, engine, sampling
    )
    return head + b"".join(body)


def v5_record(
    source: str = "10.0.0.1",
    destination: str = "10.0.0.2",
    *,
    packets: int = 3,
    octets: int = 300,
    first: int = 8_000,
    last: int = 9_000,
    sport: int = 1024,
    dport: int = 443,
    flags: int = 27,
    protocol: int = 6,
) -> bytes:
    """One v5 record."""
    a, b = int(ipaddress.IPv4Address(source)), int(ipaddress.IPv4Address(destination))
    return struct.pack(
        ">IIIHHIIIIHHBBBBHHBBH",
        a,
        b,
        0x0A000001,
        1,
        2,
        packets,
        octets,
        first,
        last,
        sport,
        dport,
        0,
        flags,
        protocol,
        0,
        64512,
        64513,
        24,
        16,
        0,
    )


def v9(*sets: bytes, uptime: int = 10_000, seconds: int = 1_700_000_000, sequence: int = 0, domain: int = 7) -> bytes:
    """A v9 datagram."""
    return struct.pack(">HHIIII", 9, len(sets), uptime, seconds, sequence, domain) + b"".join(sets)


def ipfix(*sets: bytes, seconds: int = 1_700_000_000, sequence: int = 0, domain: int = 7) -> bytes:
    """An IPFIX message."""
    body = b"".join(sets)
    return struct.pack(">HHIII", 10, 16 + len(body), seconds, sequence, domain) + body


def block(number: int, body: bytes, pad: bool = True) -> bytes:
    """A set."""
    body += b"\0" * (-len(body) % 4 if pad else 0)
    return struct.pack(">HH", number, 4 + len(body)) + body


def template(ident: int, *fields: tuple[int, ...]) -> bytes:
    """A template record; a field is (id, length) or (id, length, enterprise)."""
    out = struct.pack(">HH", ident, len(fields))
    for item in fields:
        out += struct.pack(">HH", item[0] | (0x8000 if len(item) > 2 else 0), item[1])
        out += struct.pack(">I", item[2]) if len(item) > 2 else b""
    return out


def ipfix_options(ident: int, scopes: int, *fields: tuple[int, int]) -> bytes:
    """An IPFIX options template record."""
    return struct.pack(">HHH", ident, len(fields), scopes) + b"".join(struct.pack(">HH", *item) for item in fields)


def v9_options(ident: int, scopes: list[tuple[int, int]], fields: list[tuple[int, int]]) -> bytes:
    """A v9 options template record."""
    head = struct.pack(">HHH", ident, 4 * len(scopes), 4 * len(fields))
    return head + b"".join(struct.pack(">HH", *item) for item in [*scopes, *fields])


def word(*values: int) -> bytes:
    """32-bit numbers."""
    return struct.pack(f">{len(values)}I", *values)
