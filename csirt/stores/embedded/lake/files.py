"""Event files that are either wholly on the disk or not there."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt.clock import iso
from csirt.model.disk import sync_folder
from csirt.stores.embedded.faults import guarded

if TYPE_CHECKING:
    from csirt.stores.embedded.catalogue.database import Database


def checksum(data: Any) -> str:
    """SHA-256 in hex of bytes or an Arrow buffer."""
    return hashlib.sha256(data).hexdigest()


def checksum_of(path: Path) -> str:
    """SHA-256 in hex of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


FRESH = ".arrow"  # of rows that are written again soon


def new_name(dataset: str, received: int, suffix: str = ".parquet") -> str:
    """A new path of a file inside the lake: `<dataset>/<hour of receipt>/<random>.parquet`."""
    return f"{dataset}/{iso(received)[:13]}/{secrets.token_hex(8)}{suffix}"


def place(root: Path, name: str, data: Any) -> None:
    """Write a file so that after return it survives a power cut, and before return it has no name of its own."""
    path = root / name
    temporary = path.with_suffix(".tmp")
    with guarded("writing an event file"):
        handle = _create(root, temporary)
        try:
            try:
                view = memoryview(data)
                while view.nbytes:
                    view = view[os.write(handle, view) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _create(root: Path, path: Path) -> int:
    """A new file; its folder may just have been removed because it was empty."""
    while True:
        make_folder(root, path.parent)
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue


def settle(path: Path, final: Path) -> None:
    """Sync a written file, give it its name, sync its folder."""
    with guarded("writing an event file"):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        path.rename(final)
        sync_folder(final.parent)


def make_folder(root: Path, folder: Path) -> None:
    """Create a folder below `root` and sync the parents it was created in."""
    if folder.is_dir():
        return
    if folder != root:
        make_folder(root, folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def drop_unnamed(root: Path, database: Database, names: list[str]) -> None:
    """Unlink files that no catalogue row names: after a refused commit, never after one whose outcome is unknown."""
    with database.reading() as connection:
        for name in names:
            if not connection.execute("SELECT 1 FROM part WHERE path = ?", (name,)).fetchone():
                (root / name).unlink(missing_ok=True)


def remove_empty(root: Path, folder: Path) -> None:
    """Remove a folder and its parents inside `root` when nothing is left in them."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
