"""One owner per store folder: a lock file that the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from csirt.errors import Conflict, Unreachable


class OwnerLock:
    """Holds `owner.lock` until `release`. Readers of a store that nobody owns share it."""

    def __init__(self, directory: Path, *, shared: bool = False) -> None:
        """Raises Conflict with the owner's process id when another process owns the folder."""
        self._shared = shared
        path = directory / "owner.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            self._handle = os.open(path, flags, 0o600)
        except OSError as error:
            if not shared:
                raise Unreachable(f"{path}: cannot be opened: {error.strerror}") from error
            self._handle = self._open_read_only(path)
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if self._handle >= 0:
            try:
                fcntl.flock(self._handle, kind | fcntl.LOCK_NB)
            except BlockingIOError as error:
                pid = os.read(self._handle, 32).decode("ascii", "replace").strip()
                os.close(self._handle)
                self._handle = -1
                raise Conflict(
                    f"{directory}: the store is owned by process {pid or 'unknown'}; "
                    "leave out --store to speak to the daemon, or stop that process",
                    pid=int(pid) if pid.isdigit() else None,
                ) from error
        if not shared:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    @staticmethod
    def _open_read_only(path: Path) -> int:
        """A lock file on a read-only disk can still be shared; one that does not exist needs no lock there."""
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1

    def release(self) -> None:
        """Give the folder free. The file stays: removing it would let two owners hold different files."""
        if self._handle >= 0:
            if not self._shared:
                os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1
