"""What bulk data leaves free on a disk, so that cases, approvals and the audit can still be written when it is full;
how it takes its place, and how names are made durable."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

SPARE = 16 * 1024 * 1024
KEEP_SIZE = 1  # fallocate(2): the file stays as long as it is


def free(folder: Path) -> tuple[int, int]:
    """(bytes free for us, bytes in all) of the file system a folder is on. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def scarce(folder: Path) -> bool:
    """Whether so little is free that received bytes and events stop, while people can go on: less than 16 MiB, or an
    eighth of a small disk. Raises OSError."""
    left, size = free(folder)
    return left < min(SPARE, size // 8)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reserve(handle: int, begin: int, size: int) -> None:
    """Ask for the place of what will be written next to a file, all of it at once: to find it page by page as it comes
    costs the kernel a fifth or more. Where the file system cannot, or has no room, nothing changes, and the write says
    so."""
    call = _fallocate()
    if call is not None:
        call(handle, KEEP_SIZE, begin, size)


@cache
def _fallocate() -> Any:
    """That of the C library, not Python's, which writes zeros where the file system cannot; None elsewhere."""
    call = getattr(ctypes.CDLL(None), "fallocate64", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call
