"""Failures of the disk and of SQLite as the store's own errors: what can be retried, and what must stop the daemon."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from csirt.errors import CsirtError, Unreachable
from csirt.stores.errors import FatalStoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(Unreachable):
    """No space left: nothing of the commit was kept, the same commit may succeed when there is space."""

    code = "disk_full"


def full(what: str) -> str:
    """The sentence of a full disk."""
    return (
        f"the disk of the store is full while {what}; nothing of it was kept. Free space "
        "(`csirt store info`, `csirt store retention --dry-run`), then it goes on by itself"
    )


def translate(error: BaseException, what: str) -> CsirtError | None:
    """The error the store raises for a failure of the operating system or SQLite; None for any other exception."""
    if (isinstance(error, OSError) and error.errno in _FULL) or isinstance(error, apsw.FullError):
        return DiskFull(full(what))
    if isinstance(error, OSError) and error.errno in (errno.EIO, errno.EROFS, errno.ENXIO):
        return FatalStoreError(f"the disk of the store failed while {what} ({error.strerror}); check the disk, restart")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return FatalStoreError(
            f"the catalogue of the store is damaged ({error}, while {what}); keep the folder as it is and make a new "
            "one from a backup: `csirt store restore`"
        )
    if isinstance(error, apsw.IOError | apsw.ReadOnlyError):
        return FatalStoreError(f"the catalogue of the store failed while {what} ({error}); check the disk, restart")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return Unreachable(f"the catalogue of the store is locked by another program while {what}; try again")
    return None


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Raise failures of the disk as DiskFull or FatalStoreError."""
    try:
        yield
    except (OSError, apsw.Error) as error:
        known = translate(error, what)
        if known is None:
            raise
        raise known from error
