"""Migrations: once, in order, whole; and no way back."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from csirt.clock import Frozen
from csirt.errors import Conflict
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from csirt.stores.embedded.catalogue import schema
from tests.stores import build

NEXT = (*schema.MIGRATIONS, ("a colour", "ALTER TABLE alerts ADD COLUMN colour TEXT; UPDATE alerts SET colour = 'red'"))


def test_a_newer_csirt_migrates_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store written before a migration has it after the next start, once, with its data; each step is recorded."""
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        store.commit(Commit(alerts=[build.alert("a")]))
    monkeypatch.setattr(schema, "MIGRATIONS", NEXT)
    monkeypatch.setattr(schema.migrate, "__defaults__", (NEXT,))
    monkeypatch.setattr(schema.check, "__defaults__", (NEXT,))
    for now in (2, 3):
        with open_embedded(tmp_path, clock=Frozen(now)) as store:
            rows = store.database.writer.execute("SELECT version, name, applied FROM migration").fetchall()
            assert rows == [
                *((number, name, 1) for number, (name, _) in enumerate(NEXT[:-1], 1)),
                (len(NEXT), "a colour", 2),
            ]
            assert store.database.writer.execute("SELECT colour FROM alerts").get == "red"
            assert store.count("alert") == 1


def test_an_older_csirt_refuses(tmp_path: Path) -> None:
    """A store of a newer schema is refused with both versions and the way out, and is not changed."""
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        store.database.writer.pragma("user_version", 7)
    before = (tmp_path / "catalogue.sqlite").read_bytes()
    for read_only in (False, True):
        with pytest.raises(Conflict, match=r"schema version 7.*newer csirt"):
            open_embedded(tmp_path, clock=Frozen(1), read_only=read_only)
    assert (tmp_path / "catalogue.sqlite").read_bytes() == before


def test_an_older_store_is_not_read_before_it_was_migrated(tmp_path: Path) -> None:
    """Reading alone migrates nothing: a store of an older schema is refused with what to do."""
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        store.database.writer.pragma("user_version", len(schema.MIGRATIONS) - 1)
    with pytest.raises(Conflict, match="older csirt"):
        open_embedded(tmp_path, clock=Frozen(1), read_only=True)


def test_a_step_that_fails_changes_nothing() -> None:
    """A migration is one transaction: after a failure in its middle the schema is the one before it."""
    connection = apsw.Connection(":memory:")
    schema.migrate(connection, 1)
    before = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    bad = (*schema.MIGRATIONS, ("half", "CREATE TABLE half (x); SELECT * FROM nothing_of_that_name"))
    for _ in range(2):
        with pytest.raises(apsw.SQLError):
            schema.migrate(connection, 2, bad)
        assert connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == before
        assert schema.version(connection) == len(schema.MIGRATIONS)
    assert schema.migrate(connection, 3, NEXT) == 1


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """A SQLite file of another program is not migrated."""
    other = apsw.Connection(str(tmp_path / "catalogue.sqlite"))
    other.execute("CREATE TABLE t (x); PRAGMA user_version = 1")
    other.close()
    with pytest.raises(Conflict, match="not a csirt catalogue"):
        open_embedded(tmp_path, clock=Frozen(1))
