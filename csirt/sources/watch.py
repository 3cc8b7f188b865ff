"""Which files are there, and which of them are complete."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path

from blake3 import blake3

from csirt.clock import Clock

# Names under which programs write what they rename when it is whole.
UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp", ".new", "~")
PIECE = 1 << 20  # octets read at a time
Key = tuple[int, int, int, int]  # device, inode, size, mtime in ns


def is_unfinished(name: str) -> bool:
    """Whether a name says that its file is still being written."""
    return name.startswith(".") or name.endswith(UNFINISHED)


def find(path: str, suffixes: tuple[str, ...] = ()) -> list[Path]:
    """The regular files a path means, by name: a file, a folder's entries, or a glob's matches. Unreadable: none."""
    where = Path(path)
    try:
        if where.is_dir():
            found = [Path(entry.path) for entry in os.scandir(where) if entry.is_file()]
        elif where.is_file():
            return [where]
        else:
            found = [Path(name) for name in glob.glob(path) if os.path.isfile(name)]  # noqa: PTH207 PTH113 absolute globs
    except OSError:
        return []
    return sorted(item for item in found if not suffixes or item.name.endswith(suffixes))


class Watch:
    """Complete files: unchanged for `settle` microseconds, or renamed from an unfinished name."""

    def __init__(self, settle: int, clock: Clock) -> None:
        self._settle = settle
        self._clock = clock
        self._seen: dict[Path, tuple[Key, float]] = {}
        self._unfinished: set[tuple[int, int]] = set()
        self.waiting = False

    def complete(self, paths: list[Path]) -> list[tuple[Path, Key]]:
        """Those that are complete now, in the order given. `waiting` tells whether any is not."""
        now, wall = self._clock.monotonic(), self._clock.now()
        ready: list[tuple[Path, Key]] = []
        seen: dict[Path, tuple[Key, float]] = {}
        self.waiting = False
        for path in paths:
            try:
                found = path.stat()
            except OSError:
                continue
            if not stat.S_ISREG(found.st_mode):
                continue
            if is_unfinished(path.name):
                self._unfinished.add((found.st_dev, found.st_ino))
                self.waiting = True
                continue
            key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            before, since = self._seen.get(path, (None, now))
            since = since if before == key else now
            seen[path] = key, since
            old = found.st_mtime_ns // 1000 <= wall - self._settle
            if old or (now - since) * 1e6 >= self._settle or key[:2] in self._unfinished:
                ready.append((path, key))
            else:
                self.waiting = True
        self._seen = seen
        return ready


class Contents:
    """Hashes of whole files, remembered while size and time stay the same."""

    def __init__(self) -> None:
        self._known: dict[Key, str] = {}

    def fingerprint(self, path: Path, key: Key) -> str:
        """The digest of the content, 32 hex digits. Raises OSError."""
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = content(path)
        return known


def content(path: Path) -> str:
    """What names a file's content: the first 128 bits of its BLAKE3 in hex, which takes a third of SHA-256's time. Read
    once while the file stays as it is. Raises OSError."""
    return _content(path, *_state(path))


def sha256(path: Path) -> str:
    """SHA-256 of a file's content in hex, read in pieces, and once while the file stays as it is. Raises OSError."""
    return _sha256(path, *_state(path))


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=256)
def _content(path: Path, *_state: int) -> str:
    digest, piece = blake3(), memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as handle:
        while size := handle.readinto(piece):
            digest.update(piece[:size])
    return digest.hexdigest(16)


@lru_cache(maxsize=256)
def _sha256(path: Path, *_state: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
