"""A spool segment with a fixed identity, block by block as the collector writes it."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path

from csirt.model import spool as form


def write_segment(path: Path, exporter: str, datagrams: list[tuple[int, bytes]], *, uuid: bytes) -> None:
    """Datagrams of (receive time in microseconds, payload) from one exporter to port 2055."""
    source = ipaddress.IPv4Address(exporter).packed
    with path.open("wb") as handle:
        handle.write(form.pcapng_header(uuid))
        for moment, payload in datagrams:
            handle.write(block(moment, source, payload))


def block(moment: int, source: bytes, payload: bytes) -> bytes:
    """An enhanced packet block with raw IPv4 and UDP (draft-ietf-opsawg-pcapng, 4.3)."""
    udp = struct.pack(">HHHH", 30_000, 2055, 8 + len(payload), 0) + payload
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, source, bytes([127, 0, 0, 1]))
    words = sum(struct.unpack(">10H", header))
    words = (words & 0xFFFF) + (words >> 16)
    checksum = 0xFFFF - ((words & 0xFFFF) + (words >> 16))
    packet = header[:10] + struct.pack(">H", checksum) + header[12:] + udp
    padded = packet + bytes(-len(packet) % 4)
    total = 32 + len(padded)
    fields = (6, total, 0, moment >> 32, moment & 0xFFFFFFFF, len(packet), len(packet))
    return struct.pack("<IIIIIII", *fields) + padded + struct.pack("<I", total)
