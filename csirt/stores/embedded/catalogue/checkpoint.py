"""Moves what commits have written from the write-ahead log to the catalogue's file, beside them: no commit waits for
it, unless the log has grown far longer than it should."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw

OCTETS = 8 * 1024 * 1024  # of the log before it is worth the trouble
LONGEST = 64 * 1024 * 1024  # from here on the commit that made it so long does the work itself
TRIES, AGAIN = 20, 0.05  # and seconds between two


class Checkpointer:
    """One thread, begun when it is first needed; safe since SQLite 3.51.3 (decision 7). `writer`: whose commits it
    follows. What fails (a full disk) is tried again after the next commit: until then everything is in the log."""

    def __init__(self, path: Path, writer: apsw.Connection) -> None:
        self._path = path
        size = int(writer.pragma("page_size"))
        self._worth, self._longest = OCTETS // size, LONGEST // size
        self._wake, self._stop = threading.Event(), False
        self._thread: threading.Thread | None = None
        writer.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:
        if pages >= self._longest:
            _move(connection)
        elif pages >= self._worth:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
                self._thread.start()
            self._wake.set()
        return apsw.SQLITE_OK

    def _run(self) -> None:
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.pragma("synchronous", "full")
            while True:
                self._wake.wait()
                self._wake.clear()
                tries = 0
                # What somebody still reads stays in the log, and only a log that was moved whole is used again.
                while not self._stop and not _move(connection) and tries < TRIES:
                    self._wake.wait(AGAIN)
                    self._wake.clear()
                    tries += 1
                if self._stop:
                    return
        finally:
            connection.close()

    def close(self) -> None:
        """End the thread, before the last connection is closed; calling it again does nothing."""
        self._stop = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()


def _move(connection: apsw.Connection) -> bool:
    """Whether all of the log is in the file now."""
    try:
        pages, moved = _checkpoint(connection)
    except apsw.Error:
        return False
    return pages == moved


def _checkpoint(connection: apsw.Connection) -> tuple[int, int]:
    return connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
