"""On a full disk people can still work: the reserve is for cases and the audit, not for events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from csirt.clock import Frozen
from csirt.model import disk
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded
from csirt.stores.embedded.faults import DiskFull
from csirt.stores.embedded.reserve import SIZE
from tests.stores import build


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStore]:
    """A store whose disk is full for as long as the reserve takes its room."""
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        real = store.database.transaction

        @contextmanager
        def transaction(what: str) -> Iterator[Any]:
            if (tmp_path / "reserve").exists():
                raise DiskFull("full")
            with real(what) as connection:
                yield connection

        monkeypatch.setattr(store.database, "transaction", transaction)
        yield store


def test_the_reserve_takes_real_room(tmp_path: Path) -> None:
    """Blocks are allocated, not only a size; it is made once, and is no event file."""
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        found = (tmp_path / "reserve").stat()
        assert (found.st_size, found.st_blocks * 512 >= SIZE) == (SIZE, True)
        store.maintain()
        assert (tmp_path / "reserve").stat().st_ino == found.st_ino


def test_cases_and_audit_are_written_on_a_full_disk(full: EmbeddedStore) -> None:
    """A person's change and an access entry find room; the reserve is made again when there is room."""
    full.append_audit([build.entry()])
    case, events = build.opened("a")
    full.commit(Commit(cases=[case], case_events=events))
    assert (full.count("case"), len(list(full.audit()))) == (1, 1)
    full.reserve.make()
    assert (full.directory / "reserve").exists()


def test_events_never_take_the_reserve(full: EmbeddedStore) -> None:
    """A batch on a full disk is refused, and the room for people stays."""
    for change in (Commit(batches=[build.mails(3)]), Commit(hits=build.hits([1]))):
        with pytest.raises(DiskFull):
            full.commit(change)
    assert (full.directory / "reserve").exists()


def test_events_leave_what_the_reserve_gave_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where little is free events are refused before anything is written, and people's changes go on: the room of a
    reserve that was given up is not taken by events."""
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        monkeypatch.setattr(disk, "scarce", lambda _: True)
        for change in (Commit(batches=[build.mails(3)]), Commit(hits=build.hits([1]))):
            with pytest.raises(DiskFull, match="Free space"):
                store.commit(change)
        case, events = build.opened("a")
        store.commit(Commit(cases=[case], case_events=events))
        assert store.count("case") == 1 and not list((tmp_path / "lake").rglob("*.*"))


def test_a_small_disk_has_a_small_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sixteenth of it, and none where it would take most of what is left."""
    monkeypatch.setattr(disk, "free", lambda _: (30 << 20, 64 << 20))
    with open_embedded(tmp_path / "small", clock=Frozen(1)):
        assert (tmp_path / "small" / "reserve").stat().st_size == 4 << 20
    monkeypatch.setattr(disk, "free", lambda _: (10 << 20, 64 << 20))
    with open_embedded(tmp_path / "none", clock=Frozen(1)):
        assert not (tmp_path / "none" / "reserve").exists()
