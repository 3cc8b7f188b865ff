"""Frames for tests: a minimal reader of capture files, builders of packets, and chunks of them."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.model.address import to_text
from csirt.model.batch import Decoded, address_parts
from csirt.model.chunk import Chunk, Packets

SEGMENT = "00112233445566aa"
ETHERNET = 1
DATA = Path(__file__).parents[3] / ".." / "shared" / "data" / "pcaps"


def read_capture(path: Path) -> list[tuple[int, bytes, int, int]]:
    """(time us, bytes, original length, link type) of every packet, by scapy's reader."""
    from scapy.utils import PcapNgReader, RawPcapNgReader, RawPcapReader

    assert PcapNgReader
    if path.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a":
        return [
            (((meta.tshigh << 32) | meta.tslow) * 1_000_000 // meta.tsresol, data, meta.wirelen, meta.linktype)
            for data, meta in RawPcapNgReader(str(path))
        ]
    reader = RawPcapReader(str(path))
    scale = 1000 if reader.nano else 1
    return [(meta.sec * 1_000_000 + meta.usec // scale, data, meta.wirelen, reader.linktype) for data, meta in reader]


def packets(
    frames: list[tuple[int, bytes, int, int]], *, first: int = 0, cut: int | None = None, padding: bytes = b""
) -> Packets:
    """A Packets chunk; `padding` stands between the frames in the buffer."""
    lengths = np.array([len(data) for _, data, _, _ in frames], np.int64)
    ends = np.cumsum(lengths + len(padding))
    return Packets(
        buffer=np.frombuffer(padding.join(data for _, data, _, _ in frames) + padding, np.uint8),
        offset=(ends - lengths - len(padding)).astype(np.int64),
        captured=lengths,
        original=np.array([size for _, _, size, _ in frames], np.int64),
        frame=np.arange(first, first + len(frames), dtype=np.int64),
        time=np.array([time for time, _, _, _ in frames], np.int64),
        linktype=np.array([kind for _, _, _, kind in frames], np.uint16),
        cut=cut,
    )


def chunk(data: Any, *, last: bool = True, segment: str = SEGMENT) -> Chunk:
    """One chunk of a capture file."""
    return Chunk("cap", "fingerprint", segment, 0, 1, data, end_of_input=last)


def ipv4(
    source: str, destination: str, protocol: int, payload: bytes, *, fragment: int = 0, number: int = 1, total: int = 0
) -> bytes:
    """An IPv4 packet (RFC 791); `fragment`: flags and offset as on the wire."""
    length = total or 20 + len(payload)
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, length, number, fragment, 64, protocol, 0,
        ipaddress.IPv4Address(source).packed, ipaddress.IPv4Address(destination).packed,
    )  # fmt: skip
    return header + payload


def ipv6(source: str, destination: str, kind: int, payload: bytes) -> bytes:
    """An IPv6 packet (RFC 8200); `kind`: the first next header."""
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    return struct.pack(">IHBB", 6 << 28, len(payload), kind, 64) + addresses + payload


def tcp(source: int, destination: int, flags: int = 0x18, payload: bytes = b"") -> bytes:
    """A TCP segment (RFC 9293)."""
    return struct.pack(">HHIIHHHH", source, destination, 1, 1, 0x5000 | flags, 1024, 0, 0) + payload


def udp(source: int, destination: int, payload: bytes = b"") -> bytes:
    """A UDP datagram (RFC 768)."""
    return struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload


def ethernet(packet: bytes, *, tags: tuple[int, ...] = (), kind: int | None = None) -> bytes:
    """An Ethernet frame with 802.1Q tags, outermost first."""
    ether = kind if kind is not None else 0x86DD if packet[0] >> 4 == 6 else 0x0800
    head = b"".join(struct.pack(">HH", 0x88A8 if len(tags) > 1 and not i else 0x8100, t) for i, t in enumerate(tags))
    return bytes(12) + head + struct.pack(">H", ether) + packet


def rows(decoded: Decoded | list[Decoded], dataset: str = "flow") -> list[dict[str, Any]]:
    """Rows of a dataset as dictionaries, addresses as text, absent columns null, in order of ordinal."""
    results = decoded if isinstance(decoded, list) else [decoded]
    made: list[dict[str, Any]] = []
    for result in results:
        for batch in result.batches:
            if batch.dataset == dataset:
                made += _rows(batch.table)
    return sorted(made, key=lambda row: row["csirt.ordinal"])


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    texts = {}
    for name in ("source.ip", "destination.ip"):
        parts = zip(*address_parts(table, name), strict=True)
        texts[name] = [to_text(int(f), int(hi), int(lo)) if f else None for f, hi, lo in parts]
    plain = table.select([name for name in table.column_names if ":" not in name]).to_pylist()
    missing = dict.fromkeys(("network.vlan.id", "icmp.type", "icmp.code"))
    plain = [{**missing, **row} for row in plain]
    for index, row in enumerate(plain):
        row.update({name: column[index] for name, column in texts.items()})
        for name in ("@timestamp", "event.start"):
            if name in row:
                row[name] = round(row[name].timestamp() * 1_000_000)
    return plain
