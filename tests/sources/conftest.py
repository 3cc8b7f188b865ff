"""Small captures made by hand, and reading an input to its end as the pipeline does."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from csirt.model.chunk import Chunk, Datagrams, Dissection, Lines, Packets, Position
from csirt.sources.base import Input

DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclass
class Read:
    """Everything an input gave, in order."""

    chunks: list[Chunk] = field(default_factory=list)
    units: list[tuple[Any, ...]] = field(default_factory=list)
    text: bytes = b""
    cuts: list[int | None] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    position: Position | None = None

    @property
    def bodies(self) -> list[bytes]:
        """Payloads, packets or lines."""
        return [unit[0] for unit in self.units]


def read_all(item: Input, limit: int = 1000, position: Position | None = None) -> Read:
    """Read to the end; positions go through JSON as they do in the store."""
    result = Read(position=position)
    while result.position is None or not result.position.done:
        chunk = item.read(result.position, limit)
        if chunk is None:
            break
        assert chunk.start == (result.position.offset if result.position else 0) <= chunk.end
        assert chunk.units <= limit
        result.chunks.append(chunk)
        assert len(result.chunks) < 100_000, "no end"
        for reason, number in chunk.lost.items():
            result.lost[reason] = result.lost.get(reason, 0) + number
        _take(result, chunk)
        extra = json.loads(json.dumps(chunk.extra))
        result.position = Position(item.source, chunk.fingerprint, chunk.end, chunk.end_of_input, extra)
    return result


def _take(result: Read, chunk: Chunk) -> None:
    data = chunk.data
    if isinstance(data, Dissection):
        result.text += data.text
    elif isinstance(data, Datagrams):
        raw = data.buffer.tobytes()
        columns = (data.frame, data.time, data.family, data.high, data.low, data.port)
        for index, (start, length) in enumerate(zip(data.offset.tolist(), data.length.tolist(), strict=True)):
            result.units.append((raw[start : start + length], *(int(column[index]) for column in columns)))
    elif isinstance(data, Packets):
        raw = data.buffer.tobytes()
        columns = (data.frame, data.time, data.original, data.linktype)
        for index, (start, length) in enumerate(zip(data.offset.tolist(), data.captured.tolist(), strict=True)):
            result.units.append((raw[start : start + length], *(int(column[index]) for column in columns)))
        result.cuts.append(data.cut)
    elif isinstance(data, Lines):
        raw = data.buffer.tobytes()
        for index, (start, length) in enumerate(zip(data.offset.tolist(), data.length.tolist(), strict=True)):
            host = data.hosts[int(data.origin[index])] if data.origin is not None else data.host
            result.units.append((raw[start : start + length], int(data.position[index]), int(data.time[index]), host))


@pytest.fixture
def drain() -> Callable[..., Read]:
    """`read_all`."""
    return read_all


def udp4(payload: bytes, *, port: int = 2055, source: str = "10.0.0.1") -> bytes:
    """An IPv4 packet with a UDP datagram; checksums are not looked at."""
    packed = bytes(int(part) for part in source.split("."))
    udp = struct.pack(">HHHH", 4000, port, len(payload) + 8, 0) + payload
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + packed + bytes([10, 0, 0, 2]) + udp


def pcap(packets: list[tuple[int, bytes]], *, order: str = "<", nano: bool = False, link: int = 101) -> bytes:
    """A pcap file of (microseconds, frame)."""
    raw = struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, 262144, link)
    for time, frame in packets:
        fraction = time % 1_000_000 * (1000 if nano else 1)
        raw += struct.pack(order + "IIII", time // 1_000_000, fraction, len(frame), len(frame)) + frame
    return raw


def block(order: str, kind: int, body: bytes) -> bytes:
    """One pcapng block."""
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order: str = "<") -> bytes:
    """A section header."""
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order: str = "<", link: int = 101, options: bytes = b"", snap: int = 0) -> bytes:
    """An interface description."""
    return block(order, 1, struct.pack(order + "HHI", link, 0, snap) + options)


def option(order: str, code: int, value: bytes) -> bytes:
    """One option."""
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(ticks: int, frame: bytes, order: str = "<", number: int = 0) -> bytes:
    """An enhanced packet block."""
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(order, 6, head + frame)


class Make:
    """The builders above, as one fixture."""

    udp4 = staticmethod(udp4)
    pcap = staticmethod(pcap)
    block = staticmethod(block)
    section = staticmethod(section)
    interface = staticmethod(interface)
    option = staticmethod(option)
    enhanced = staticmethod(enhanced)


@pytest.fixture
def make() -> type[Make]:
    """Builders of captures."""
    return Make


@pytest.fixture
def data() -> Path:
    """The shared fixtures."""
    if not DATA.is_dir():
        pytest.skip("../shared/data is absent")
    return DATA
