"""Room kept aside on the store's disk: when it is full of events, cases and the audit can still be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from csirt.model import disk
from csirt.stores.embedded.faults import DiskFull, full

T = TypeVar("T")
SIZE = 8 * 1024 * 1024  # at most; a sixteenth of a small disk
_AMPLE = 5  # the reserve is made again when this many times its size is free


class Reserve:
    """A file of allocated blocks in the store's folder, given up when a small write finds no room."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "reserve"

    def make(self) -> None:
        """Allocate it where there is ample room; a disk that cannot allocate has none."""
        left, total = disk.free(self._path.parent)
        size = min(SIZE, total // 16)
        if self._path.exists() or left < size * _AMPLE:
            return
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def drop(self) -> None:
        """Give the room back: a store that is not open needs none aside."""
        self._path.unlink(missing_ok=True)

    def refuse_bulk(self) -> None:
        """Raise DiskFull when so little is free that events would take what people need, the reserve's room once it was
        given up included."""
        if disk.scarce(self._path.parent):
            raise DiskFull(full("committing events"))

    def help(self, work: Callable[[], T]) -> T:
        """Do a small write; when the disk is full give the reserve up and do it again. Raises DiskFull when even that
        is not enough."""
        try:
            return work()
        except DiskFull:
            if not self._path.exists():
                raise
            self._path.unlink(missing_ok=True)
            return work()
