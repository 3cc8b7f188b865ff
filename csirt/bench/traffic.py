"""Columns of generated flows, and the pcap file that holds their datagrams."""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType

import numpy as np

from csirt.model.batch import Array

Columns = dict[str, Array]
APPLICATIONS = ("https", "dns", "dicom", "hl7-mllp", "smb", "ldap", "ntp", "unknown")
_PORTS = np.array(
    [443, 53, 80, 445, 104, 11112, 2575, 8080, 3389, 22, 25, 587, 389, 636, 123, 161, 514, 5060, 1433, 6661], np.uint16
)
_SHARES = np.array([30, 22, 6, 9, 4, 4, 6, 3, 2, 1, 1, 1, 2, 1, 3, 1, 1, 1, 1, 1], float)
_UDP = (53, 123, 161, 514, 5060)
COLLECTOR = 10 << 24 | 255 << 16 | 250


def address(exporter: int) -> int:
    """An exporter's IPv4 address."""
    return 10 << 24 | 255 << 16 | (exporter + 1)


def columns(rng: np.random.Generator, count: int, *, six: bool = False) -> Columns:
    """`count` flows between sites and a few servers, in both directions, with heavy-tailed sizes."""
    port = rng.choice(_PORTS, count, p=_SHARES / _SHARES.sum())
    icmp, back = rng.random(count) < 0.01, rng.random(count) < 0.45
    client = rng.integers(1024, 65535, count, dtype=np.uint16)
    inside = (
        10 << 24 | (rng.zipf(1.3, count) % 240) << 16 | rng.integers(0, 16, count) << 8 | rng.integers(1, 250, count)
    )
    server = 10 << 24 | 250 << 16 | (rng.zipf(1.5, count) % 64) << 8 | (1 + rng.zipf(1.4, count) % 200)
    source, destination = np.where(back, server, inside), np.where(back, inside, server)
    protocol = np.where(icmp, 58 if six else 1, np.where(np.isin(port, _UDP), 17, 6)).astype(np.uint8)
    packets = np.minimum(1 + rng.pareto(1.1, count) * 3, 4e6).astype(np.uint64)
    octets = np.minimum((packets * rng.integers(44, 1400, count)).astype(np.uint64), np.uint64(4_000_000_000))
    flags = rng.choice(np.array([0x1B, 0x1B, 0x1F, 0x02, 0x12, 0x14], np.uint8), count)
    mask = np.full(count, 64 if six else 24, np.uint8)
    return {
        "src": _six(source) if six else source.astype(np.uint32),
        "dst": _six(destination) if six else destination.astype(np.uint32),
        "sport": np.where(icmp, 0, np.where(back, port, client)).astype(np.uint16),
        "dport": np.where(icmp, 2048, np.where(back, client, port)).astype(np.uint16),
        "proto": protocol,
        "packets": packets,
        "octets": octets,
        "tos": rng.choice(np.array([0, 0, 0, 0, 46 << 2, 10 << 2], np.uint8), count),
        "flags": np.where(protocol == 6, flags, 0).astype(np.uint8),
        "inif": rng.integers(1, 48, count).astype(np.uint32),
        "outif": rng.integers(1, 48, count).astype(np.uint32),
        "hop": np.full(count, 10 << 24 | 254 << 16 | 1, np.uint32),
        "sas": np.where(back, 64512, 64513).astype(np.uint32),
        "das": np.where(back, 64513, 64512).astype(np.uint32),
        "smask": mask,
        "dmask": mask,
        "direction": rng.integers(0, 2, count).astype(np.uint8),
        "sampler": np.ones(count, np.uint8),
        "icmp": np.where(icmp, 2048, 0).astype(np.uint16),
        "reason": rng.choice(np.array([1, 2, 3], np.uint8), count),
        "vlan": rng.integers(1, 400, count).astype(np.uint16),
        "nbar": rng.integers(1, 900, count).astype(np.uint16),
        "duration": np.minimum(rng.exponential(4000, count), 59_000).astype(np.int64),
    }


def _six(values: Array) -> Array:
    """IPv6 addresses of one site's prefix with the IPv4 address at their end."""
    rows = np.zeros((len(values), 16), np.uint8)
    rows[:, :6] = np.frombuffer(bytes.fromhex("fd42cafe0001"), np.uint8)
    rows[:, 12:] = values.astype(">u4").view(np.uint8).reshape(-1, 4)
    return rows.view("V16").ravel()


class Pcap:
    """A pcap file of Ethernet, IPv4 and UDP; `count` datagrams so far."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=1 << 20)
        self._file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        self.count = 0

    def __enter__(self) -> Pcap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, time: float, exporter: int, payload: bytes) -> None:
        """One datagram of an exporter."""
        size = 28 + len(payload)
        ip = struct.pack(">BBHHHBBHII", 0x45, 0, size, self.count & 0xFFFF, 0, 62, 17, 0, address(exporter), COLLECTOR)
        ip = ip[:10] + struct.pack(">H", _checksum(ip)) + ip[12:]
        head = struct.pack("<IIII", int(time), int(time % 1 * 1e6), 14 + size, 14 + size)
        link = b"\x02\0\0\0\0\xfa\x02\0\0\0\0" + bytes([exporter + 1]) + b"\x08\0"
        udp = struct.pack(">HHHH", 50_000 + exporter, 2055, size - 20, 0)
        self._file.write(head + link + ip + udp + payload)
        self.count += 1


def _checksum(head: bytes) -> int:
    total: int = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
