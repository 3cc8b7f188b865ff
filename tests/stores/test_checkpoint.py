"""What commits wrote gets from the write-ahead log into the catalogue's file beside them."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from csirt.clock import SYSTEM, Frozen
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore
from csirt.stores.embedded.catalogue import checkpoint
from csirt.stores.embedded.catalogue.database import PAGE, Database
from csirt.stores.embedded.store import open_embedded
from tests.stores import build

BLOCK = 64 * 1024


def moved(store: EmbeddedStore) -> bool:
    """Whether all of the log is in the file within ten seconds."""
    end = SYSTEM.monotonic() + 10
    while SYSTEM.monotonic() < end:
        pages, done = store.database.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        if pages == done:
            return True
        SYSTEM.sleep(0.02)
    return False


def states(number: int) -> Commit:
    """A commit of 64 kB."""
    return Commit(states={f"state {number}": bytes(BLOCK)})


def test_what_is_committed_moves_beside_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the log is long enough its content is in the file soon, while the store goes on; the log is then used
    again and does not grow."""
    monkeypatch.setattr(checkpoint, "OCTETS", PAGE)
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        for number in range(40):
            store.commit(states(number))
            if number % 8 == 7:
                assert moved(store)
        assert (tmp_path / "catalogue.sqlite-wal").stat().st_size < 50 * BLOCK
        assert store.state("state 0") == bytes(BLOCK)


def test_a_log_that_is_far_too_long_is_moved_by_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the thread does not get on, commits do the work, so the log does not grow without end."""
    monkeypatch.setattr(checkpoint, "LONGEST", 4 * BLOCK)
    monkeypatch.setattr(checkpoint.Checkpointer, "_run", lambda self: None)
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        for number in range(40):
            store.commit(states(number))
        assert (tmp_path / "catalogue.sqlite-wal").stat().st_size < 20 * BLOCK


def test_a_catalogue_with_small_pages_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue that an older csirt made keeps its page size, and everything in it."""
    monkeypatch.setattr("csirt.stores.embedded.catalogue.database.PAGE", 4_096)
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        store.commit(Commit(alerts=[build.alert("a")]))
    monkeypatch.undo()
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        store.commit(Commit(alerts=[build.alert("b")]))
        assert store.database.writer.pragma("page_size") == 4_096
        assert store.count("alert") == 2


def test_closing_ends_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed store leaves no log and no thread behind."""
    monkeypatch.setattr(checkpoint, "OCTETS", PAGE)
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        store.commit(states(1))
        thread = thread_of(store)
    assert not thread.is_alive() and not (tmp_path / "catalogue.sqlite-wal").exists()


def thread_of(store: EmbeddedStore) -> threading.Thread:
    """That which moves the log."""
    database: Database = store.database
    assert database._checkpointer is not None and database._checkpointer._thread is not None
    return database._checkpointer._thread


def test_what_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that cannot take it now stops no commit; later everything is moved."""
    monkeypatch.setattr(checkpoint, "OCTETS", PAGE)
    asked: list[apsw.Connection] = []

    def fail(connection: apsw.Connection) -> tuple[int, int]:
        asked.append(connection)
        raise apsw.FullError("no room")

    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        monkeypatch.setattr(checkpoint, "_checkpoint", fail)
        store.commit(states(1))
        end = SYSTEM.monotonic() + 10
        while not asked and SYSTEM.monotonic() < end:
            SYSTEM.sleep(0.02)
        assert asked and store.state("state 1") == bytes(BLOCK)
        monkeypatch.undo()
        monkeypatch.setattr(checkpoint, "OCTETS", PAGE)
        store.commit(states(2))
        assert moved(store)
