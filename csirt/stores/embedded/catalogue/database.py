"""The catalogue's connections: one writer under a lock, readers that never hold it up."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import apsw

from csirt.errors import CsirtError, NotAllowed
from csirt.stores.embedded.catalogue.checkpoint import Checkpointer
from csirt.stores.embedded.faults import guarded, translate
from csirt.stores.errors import FatalStoreError

MINIMUM = (3, 51, 3)
PAGE = 16_384  # octets, of a new file: a commit of many documents costs half of what it does with pages of 4,096
SHRINK = 40 * 1024 * 1024  # octets given back to the disk at a time
_READERS_KEPT = 8


def check_version(found: str | None = None) -> str:
    """SQLite's version. Raises CsirtError below 3.51.3: 3.7.0 to 3.51.2 can lose commits when one connection writes
    while another checkpoints in WAL mode (decision 7)."""
    text = found or apsw.sqlite_lib_version()
    if tuple(int(part) for part in text.split(".")[:3]) < MINIMUM:
        raise CsirtError(
            f"SQLite {text} can lose commits in WAL mode; csirt needs 3.51.3 or newer: install apsw >= 3.51.3"
        )
    return text


class Database:
    """`catalogue.sqlite`. Thread-safe. `read_only`: no writer, nothing is created."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        check_version()
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        self._readers: queue.LifoQueue[apsw.Connection] = queue.LifoQueue()
        self._failed: FatalStoreError | None = None
        self._closed = False
        # A read-only disk has no room for the shared memory of WAL; nobody writes there, so the file is immutable.
        wal = path.with_name(path.name + "-wal")
        self._uri = read_only and not _writable(path.parent) and not (wal.exists() and wal.stat().st_size)
        with guarded("opening the catalogue"):
            if not read_only:
                _make_private(path)
            self._writer = self._open(write=not read_only)
            self._checkpointer = None if read_only else Checkpointer(path, self._writer)

    def _open(self, *, write: bool) -> apsw.Connection:
        if self._uri:
            name = f"file:{quote(str(self.path))}?immutable=1"
            connection = apsw.Connection(name, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        else:
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE if write else apsw.SQLITE_OPEN_READONLY
            connection = apsw.Connection(str(self.path), flags=flags)
        connection.set_busy_timeout(10_000)
        if write:
            if not connection.pragma("page_count"):  # an existing file is not touched before its schema is known
                connection.pragma("page_size", PAGE)
                connection.pragma("auto_vacuum", "incremental")
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "full")
            connection.pragma("secure_delete", "fast")
            connection.pragma("journal_size_limit", 64 * 1024 * 1024)
        else:
            connection.pragma("query_only", True)
        connection.pragma("temp_store", "memory")
        connection.pragma("cache_size", -16_384)
        return connection

    @property
    def writer(self) -> apsw.Connection:
        """The writing connection, for opening and closing; elsewhere use `transaction`."""
        return self._writer

    @contextmanager
    def transaction(self, what: str) -> Iterator[apsw.Connection]:
        """One write transaction. Raises DiskFull or FatalStoreError; after the latter every write is refused."""
        if self.read_only:
            raise NotAllowed(f"the store is opened read-only: no {what}")
        with self._lock:
            if self._failed is not None:
                raise self._failed
            if self._closed:
                raise CsirtError("the store is closed")
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                self._roll_back()
                known = translate(error, what)
                if isinstance(known, FatalStoreError):
                    self._failed = known
                if known is not None:
                    raise known from error
                raise

    def _roll_back(self) -> None:
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._writer.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)  # whatever was interrupted
        except apsw.Error as error:
            self._failed = FatalStoreError(f"a rollback failed ({error}); restart, then `csirt store fsck`")

    def fail(self, error: FatalStoreError) -> None:
        """Refuse every further write: what is on the disk is no longer known."""
        self._failed = error

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A connection with one snapshot, from the last commit."""
        with guarded("reading the catalogue"):
            try:
                connection = self._readers.get_nowait()
            except queue.Empty:
                connection = self._open(write=False)
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if self._closed or self._readers.qsize() >= _READERS_KEPT:
                    connection.close()
                else:
                    self._readers.put(connection)

    def shrink(self) -> None:
        """Give pages that deletions left free back to the disk, a bounded number at a time."""
        with self._lock:
            if self._failed is None and not self._closed:
                with guarded("shrinking the catalogue"):
                    pages = SHRINK // int(self._writer.pragma("page_size"))
                    self._writer.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()

    def close(self) -> None:
        """Checkpoint and close every connection that is not in use."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._checkpointer is not None:
                self._checkpointer.close()
            while True:
                try:
                    self._readers.get_nowait().close()
                except queue.Empty:
                    break
            self._writer.close()


def _make_private(path: Path) -> None:
    """Create the file, or close it, for its owner alone; SQLite gives its other files the same mode."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK)
