"""What bulk data leaves free on a disk, so that cases, approvals and the audit can still be written when it is full."""

from __future__ import annotations

import os
from pathlib import Path

SPARE = 16 * 1024 * 1024


def free(folder: Path) -> tuple[int, int]:
    """(bytes free for us, bytes in all) of the file system a folder is on. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def scarce(folder: Path) -> bool:
    """Whether so little is free that received bytes and events stop, while people can go on: less than 16 MiB, or an
    eighth of a small disk. Raises OSError."""
    left, size = free(folder)
    return left < min(SPARE, size // 8)
