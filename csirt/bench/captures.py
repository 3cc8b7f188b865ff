"""Captures as benchmarks use them: found in a folder, known by what is in them, cut, and as datagrams for peers."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csirt.errors import NotFound
from csirt.model.chunk import Chunk, Datagrams, Position
from csirt.sources.files import open_file

SUFFIXES = (".pcap", ".pcapng", ".cap")
CHUNK = 4_000
MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Capture:
    """A capture of exported datagrams. `version`: that of most of them. `name`: what results call it."""

    path: Path
    name: str
    version: int
    datagrams: int


def paths(given: Path) -> list[Path]:
    """The captures of a folder by name, or the one named. Raises NotFound when there are none."""
    found = [given] if given.is_file() else sorted(path for path in given.iterdir() if path.suffix in SUFFIXES)
    if not found:
        raise NotFound(f"{given}: no captures there; name a folder with {', '.join(SUFFIXES)} files")
    return found


def known(path: Path) -> Capture | None:
    """A capture of NetFlow v5, v9 or IPFIX datagrams; None for any other file."""
    versions: collections.Counter[int] = collections.Counter()
    source = open_file(path)
    if source.kind != "netflow":
        return None
    for _, data in chunks(path):
        long = data.length >= 2
        at = data.offset[long]
        number = data.buffer[at].astype(np.int64) << 8 | data.buffer[at + 1]
        versions.update(dict(zip(*(part.tolist() for part in np.unique(number, return_counts=True)), strict=True)))
    if not versions:
        return None
    name = path.stem.removeprefix("netflow-")
    return Capture(path, name, versions.most_common(1)[0][0], sum(versions.values()))


def chunks(path: Path, size: int = CHUNK) -> Iterator[tuple[Chunk, Datagrams]]:
    """The datagrams of a capture."""
    source = open_file(path)
    for item in source.inputs():
        position: Position | None = None
        while (chunk := item.read(position, size)) is not None:
            position = Position(source.id, item.fingerprint, chunk.end, chunk.end_of_input, dict(chunk.extra))
            if isinstance(chunk.data, Datagrams):
                yield chunk, chunk.data
            if chunk.end_of_input:
                break


def cut(capture: Capture, target: Path, datagrams: int) -> Capture:
    """A copy with about the first `datagrams` of a capture; a record or block is never cut."""
    end = taken = 0
    for chunk, data in chunks(capture.path, min(datagrams, CHUNK)):
        end, taken = chunk.end, taken + len(data.offset)
        if taken >= datagrams:
            break
    with capture.path.open("rb") as source, target.open("wb") as out:
        out.write(source.read(end))
    return Capture(target, capture.name, capture.version, taken)


def plain(capture: Capture, target: Path) -> Path:
    """The datagrams as peers' harnesses read them (csirt/bench/peers/goflow2/main.go says how)."""
    with target.open("wb") as out:
        for _, data in chunks(capture.path):
            raw = data.buffer.tobytes()
            for i in range(len(data.offset)):
                at, size, four = int(data.offset[i]), int(data.length[i]), data.family[i] == 4
                low, high = int(data.low[i]), int(data.high[i])
                address = MAPPED + low.to_bytes(4, "big") if four else high.to_bytes(8, "big") + low.to_bytes(8, "big")
                out.write(size.to_bytes(4, "little") + address + b"\0\0" + raw[at : at + size])
    return target


def payloads(capture: Capture) -> list[bytes]:
    """All datagrams of a capture."""
    found: list[bytes] = []
    for _, data in chunks(capture.path):
        raw = data.buffer.tobytes()
        spans = zip(data.offset.tolist(), data.length.tolist(), strict=True)
        found += [raw[at : at + size] for at, size in spans]
    return found
