"""How much of the spool is used, and by what."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from csirt.model import spool as form


def used(spool: Path) -> int:
    """Bytes in all source folders of a spool; files that vanish meanwhile count as gone."""
    total = 0
    for folder in _entries(spool):
        if not folder.is_dir(follow_symlinks=False):
            continue
        for entry in _entries(Path(folder.path)):
            try:
                total += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
    return total


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def sealed(folder: Path) -> list[Path]:
    """The sealed segments of a source's folder, oldest first."""
    names = [entry.name for entry in _entries(folder) if form.is_segment(entry.name)]
    return [folder / name for name in sorted(names) if not name.endswith(form.OPEN)]


def count_records(path: Path, transports: frozenset[int] = frozenset((6, 17))) -> int:
    """Datagrams or messages in a segment, up to any damage; 0 when it cannot be read. Of messages, those that came by
    one of the `transports` (IP protocol numbers)."""
    try:
        with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:8] == form.FRAMES_MAGIC:
                return _count(data, form.FRAMES_HEADER.size, form.RECORD_MAGIC, form.RECORD.size, transports)
            return _count(data, form.PCAPNG_HEADER_SIZE, 6, 0, None)
    except (OSError, ValueError):
        return 0


def _count(data: mmap.mmap, at: int, kind: int, overhead: int, transports: frozenset[int] | None) -> int:
    size, number = len(data), 0
    header = struct.Struct("<II")
    while at + 8 <= size:
        found, length = header.unpack_from(data, at)
        begin, at = at, at + length + overhead
        if found != kind or length + overhead < 8 or at > size:
            break
        number += transports is None or data[begin + form.RECORD_TRANSPORT] in transports
    return number
