"""Room kept aside on the store's disk: when it is full of events, cases and the audit can still be written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from csirt.stores.embedded.faults import DiskFull

T = TypeVar("T")
SIZE = 8 * 1024 * 1024
_AMPLE = 8  # the reserve is made again when this many times its size is free


class Reserve:
    """A file of allocated blocks in the store's folder, given up when a small write finds no room."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "reserve"

    def make(self) -> None:
        """Allocate it where there is ample room; a disk that cannot allocate has none."""
        if self._path.exists() or shutil.disk_usage(self._path.parent).free < SIZE * _AMPLE:
            return
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, SIZE)
        except OSError:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def drop(self) -> None:
        """Give the room back: a store that is not open needs none aside."""
        self._path.unlink(missing_ok=True)

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
