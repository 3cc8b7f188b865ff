"""The spool's housekeeping: raw bytes rest here only until they are committed and a short configured time has passed
(decision 15). Every deletion is returned, to be logged."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from csirt import config
from csirt.clock import iso
from csirt.collect import room
from csirt.model import spool as form

# Beyond this share of the limit committed segments are deleted before their time: rather lose `events show --raw` of
# what is analysed than a datagram that is not.
PRESSURE = 0.8


@dataclass(frozen=True, slots=True)
class Deletion:
    """A segment that was deleted. `source`: its folder. `reason`: `kept` (its time was over) or `limit` (the spool was
    nearly full)."""

    source: str
    name: str
    fingerprint: str
    size: int
    committed: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}/{self.name} ({self.size} bytes, committed {iso(self.committed)}, {self.reason})"


class Spool:
    """All sources' folders below one directory."""

    def __init__(self, spool: config.Spool, directory: Path) -> None:
        self._limit = config.size(spool.limit)
        self._directory = directory

    def size(self) -> int:
        """Bytes used."""
        return room.used(self._directory)

    def delete_committed(self, committed: Callable[[str, str], bool], now_us: int, keep_us: int) -> list[Deletion]:
        """Delete sealed segments whose whole content was committed `keep_us` ago or more, oldest first.

        `committed(source, fingerprint)` asks the store. When it was first seen to say yes is kept beside the segment,
        so that a restart does not start the time anew, and a receiver that must make room knows what costs nothing.
        The store is asked again before a deletion: it may be an older one that was restored. Segments that cannot be
        read are left alone. Cheap enough for every few seconds.
        """
        gone: list[Deletion] = []
        waiting: list[tuple[int, Path]] = []
        for path in self._segments():
            since = self._since(path, committed, now_us)
            if since is not None and now_us - since >= keep_us:
                gone += _delete_committed(path, committed, since, "kept")
            elif since is not None:
                waiting.append((since, path))
        used = self.size()
        for since, path in sorted(waiting):
            if used <= self._limit * PRESSURE:
                break
            for deletion in _delete_committed(path, committed, since, "limit"):
                used -= deletion.size
                gone.append(deletion)
        return gone

    def _since(self, path: Path, committed: Callable[[str, str], bool], now_us: int) -> int | None:
        """When a segment was first seen to be committed; marked now when it is seen for the first time."""
        marker = form.beside(path, form.COMMITTED)
        since = form.read_mark(marker)
        if since is not None and since <= now_us:
            return since
        fingerprint = _fingerprint(path)
        if fingerprint is None or not committed(form.source_of(path.parent.name), fingerprint):
            return None
        _mark(marker, now_us)
        return now_us

    def _segments(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        folders = sorted(entry for entry in self._directory.iterdir() if entry.is_dir() and not entry.is_symlink())
        return [path for folder in folders for path in room.sealed(folder)]


def _fingerprint(path: Path) -> str | None:
    try:
        return form.segment_uuid(form.read_head(path, form.PCAPNG_HEADER_SIZE))
    except OSError:
        return None


def _delete_committed(path: Path, committed: Callable[[str, str], bool], since: int, reason: str) -> list[Deletion]:
    """Delete one marked segment; of one that the store does not have (any more) only the mark goes."""
    fingerprint = _fingerprint(path)
    if fingerprint is None:
        return []
    if not committed(form.source_of(path.parent.name), fingerprint):
        form.beside(path, form.COMMITTED).unlink(missing_ok=True)
        return []
    return [_delete(path, fingerprint, since, reason)]


def _mark(marker: Path, now_us: int) -> None:
    """A full disk may refuse it: then the time starts at the next try."""
    try:
        handle = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        os.pwrite(handle, now_us.to_bytes(8, "little"), 0)
    except OSError:
        return
    finally:
        os.close(handle)


def _delete(path: Path, fingerprint: str, since: int, reason: str) -> Deletion:
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    path.unlink(missing_ok=True)
    form.beside(path, form.COMMITTED).unlink(missing_ok=True)
    return Deletion(path.parent.name, path.name, fingerprint, size, since, reason)
