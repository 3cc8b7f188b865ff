"""A folder of things that can be made again, kept by a key: nothing in it is believed that somebody else could have
written, and nothing that is wrong in it is an error."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOG = logging.getLogger("csirt.cache")
MAGIC = b"csirt cache 1\n"
SUFFIX = ".cache"
MAX_ENTRY = 32 * 1024 * 1024
MAX_BYTES = 128 * 1024 * 1024
MAX_ENTRIES = 32


def below(name: str) -> CacheFolder:
    """The folder of that name in the unit's cache folder, or in the user's."""
    unit = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    base = Path(unit) if unit else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "csirt"
    return CacheFolder(base / name)


class CacheFolder:
    """Entries by key (letters and digits). The folder must be this user's alone (mode 0700), else it is not used.
    What was used longest ago goes first when there is too much."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> None:
        self.path = path
        self._max_bytes, self._max_entries = max_bytes, max_entries

    def get(self, key: str) -> bytes | None:
        """What was put under the key, whole; None when there is nothing, or nothing to believe."""
        with self._folder() as folder:
            if folder is None:
                return None
            try:
                raw = _read(folder, key + SUFFIX)
            except OSError:
                return None
            seal = _seal(key, raw[len(MAGIC) + 64 :])
            if not raw.startswith(MAGIC) or raw[len(MAGIC) : len(MAGIC) + 64] != seal:
                return None
            os.utime(key + SUFFIX, dir_fd=folder)
            return raw[len(MAGIC) + 64 :]

    def put(self, key: str, value: bytes) -> None:
        """Keep the value, if it can be kept: a full disk or a folder of somebody else's costs time only."""
        if len(value) > MAX_ENTRY:
            return
        with self._folder(make=True) as folder:
            if folder is None:
                return
            fresh = f"{secrets.token_hex(8)}.new"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with os.fdopen(os.open(fresh, flags, 0o600, dir_fd=folder), "wb") as handle:
                    handle.write(MAGIC + _seal(key, value) + value)
                os.replace(fresh, key + SUFFIX, src_dir_fd=folder, dst_dir_fd=folder)
                self._prune(folder)
            except OSError as error:
                LOG.info("%s: nothing kept: %s", self.path, error.strerror)

    @contextmanager
    def _folder(self, make: bool = False) -> Iterator[int | None]:
        """The folder, open; None when it is not there or not ours alone."""
        try:
            if make:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.mkdir(mode=0o700, exist_ok=True)
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            yield None
            return
        try:
            found = os.fstat(folder)
            private = found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
            if not private:
                LOG.warning("%s is not used: it must be this user's own, with mode 0700", self.path)
            yield folder if private else None
        finally:
            os.close(folder)

    def _prune(self, folder: int) -> None:
        """Let go what was used longest ago, and what a killed process left, beyond the bounds."""
        with os.scandir(folder) as entries:
            known = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        files = sorted((item for item in known if stat.S_ISREG(item[1].st_mode)), key=lambda item: -item[1].st_mtime_ns)
        size = 0
        for place, (name, about) in enumerate(files):
            size += about.st_size
            if place and (place >= self._max_entries or size > self._max_bytes):
                os.unlink(name, dir_fd=folder)


def _read(folder: int, name: str) -> bytes:
    """A regular file of ours, bounded. Raises OSError."""
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb") as handle:
        found = os.fstat(handle.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise OSError("not a file of ours")
        return handle.read(MAX_ENTRY + len(MAGIC) + 64)


def _seal(key: str, value: bytes) -> bytes:
    """What shows that an entry is whole and of this key."""
    return hashlib.sha256(key.encode() + b"\n" + value).hexdigest().encode()
