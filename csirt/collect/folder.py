"""A source's folder of segments: made, named in order, and what a dead writer left in it sealed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from csirt.clock import iso
from csirt.model import spool as form
from csirt.model.disk import sync_folder


def make_folder(folder: Path) -> None:
    """The folder with mode 0700, its parents with the default's; existing ones are left as they are."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        sync_folder(folder.parent)


def next_name(folder: Path, now: int, identity: str, kind: str) -> str:
    """A name that sorts after every segment of the folder, even when the clock was set back."""
    stamp, sequence = iso(now - now % 1_000_000).replace("-", "").replace(":", ""), 0
    for entry in os.scandir(folder):
        match = form.NAME.fullmatch(entry.name)
        if match:
            stamp = max(stamp, match["time"])
            sequence = max(sequence, int(match["sequence"]))
    return f"{stamp}-{sequence + 1:08d}-{identity[:8]}{kind}"


def seal_leftovers(folder: Path) -> list[Path]:
    """Seal the open segments whose writer is dead (nobody holds their lock); a torn tail stays as it is.

    What they are called now, oldest first. Raises OSError.
    """
    sealed: list[Path] = []
    for path in sorted(folder.glob(f"*{form.OPEN}")):
        if form.is_segment(path.name) and _of_the_dead(path, _seal_leftover):
            sealed.append(path.with_name(form.sealed_name(path.name)))
    for path in folder.glob(".*.new"):
        _of_the_dead(path, lambda path, _: path.unlink(missing_ok=True))
    if sealed:
        sync_folder(folder)
    return sealed


def _seal_leftover(path: Path, handle: int) -> None:
    os.fsync(handle)
    target = path.with_name(form.sealed_name(path.name))
    path.rename(target)
    form.beside(target, form.SYNCED).unlink(missing_ok=True)


def _of_the_dead(path: Path, work: Callable[[Path, int], None]) -> bool:
    """Do `work` with a file no living process has locked; whether it was done."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        work(path, handle)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
