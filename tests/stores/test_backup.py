"""Backups are consistent while the store works, complete without it, and damage in them is found before it is used."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from csirt.clock import HOUR, SYSTEM, Frozen
from csirt.config import Stores
from csirt.errors import Conflict, CsirtError, NotFound, Usage
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from csirt.stores.embedded.backup import backup, restore
from csirt.stores.embedded.fsck import fsck
from tests.stores import build


def make(folder: Path) -> bytes:
    """A store with events in files and in the catalogue, documents and audit; returns its dump."""
    clock = Frozen(build.START)
    with open_embedded(folder, clock=clock) as store:
        for n in range(3):
            store.commit(Commit(batches=[build.flows(2_100, first=n * 2_100), build.mails(5, first=5 * n)]))
        clock.time += 2 * HOUR
        store.maintain()
        case, events = build.opened("a")
        store.commit(
            Commit(
                batches=[build.mails(4, name="later")],
                alerts=[build.alert("a")],
                incidents=[build.incident("a")],
                cases=[case],
                case_events=events,
                audit=[build.entry()],
            )
        )
        return b"".join(store.dump())


@pytest.mark.parametrize("copy", [False, True])
def test_what_is_restored_is_what_was_backed_up(tmp_path: Path, copy: bool) -> None:
    """By hard links or copies: the restored store is whole, has the same dump, and says that it was restored."""
    before = make(tmp_path / "store")
    with open_embedded(tmp_path / "store", clock=SYSTEM) as store:
        report = backup(store, tmp_path / "backup", copy=copy)
    assert (report["linked"] > 0) is not copy
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    outcome = restore(tmp_path / "backup", tmp_path / "again", SYSTEM, actor="kari")
    assert outcome["findings"] == []
    with open_embedded(tmp_path / "again", clock=SYSTEM) as store:
        assert b"".join(store.dump()) == before
        assert fsck(store) == []
        last = list(store.audit())[-1]
        assert (last.action, last.actor) == ("store.restore", "kari")


def test_a_backup_while_the_store_works_is_one_commit(tmp_path: Path) -> None:
    """Backups made while another thread commits and maintains hold a whole number of commits, and every file."""
    config = Stores(gather="0s", compact_after="0s")
    with open_embedded(tmp_path / "store", clock=SYSTEM, config=config) as store:
        stop = threading.Event()

        def work() -> None:
            done = 0
            while not stop.is_set():
                batches = [build.flows(2_100, first=done * 2_100), build.mails(3, first=done * 3)]
                store.commit(Commit(batches=batches, position=Position("s", "f", done + 1), previous=done))
                done += 1
                if done % 4 == 0:
                    store.maintain()

        thread = threading.Thread(target=work)
        thread.start()
        for n in range(3):
            backup(store, tmp_path / f"backup-{n}")
        stop.set()
        thread.join()
    for n in range(3):
        restore(tmp_path / f"backup-{n}", tmp_path / f"again-{n}", SYSTEM, actor="kari")
        with open_embedded(tmp_path / f"again-{n}", clock=SYSTEM) as store:
            position = store.position("s", "f")
            assert sum(batch.rows for batch in store.events()) == (position.offset if position else 0) * 2_103
            assert fsck(store) == []


def test_damage_is_found_before_anything_is_restored(tmp_path: Path) -> None:
    """A flipped bit, a missing file, a path that leads out: named, and the target stays empty."""
    make(tmp_path / "store")
    with open_embedded(tmp_path / "store", clock=SYSTEM) as store:
        for name in ("flip", "lose", "out"):
            backup(store, tmp_path / name, copy=True)
    victim = next((tmp_path / "flip").rglob("*.parquet"))
    data = bytearray(victim.read_bytes())
    data[100] ^= 1
    victim.write_bytes(data)
    next((tmp_path / "lose").rglob("*.parquet")).unlink()
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    manifest["files"][1]["path"] = "../outside"
    (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
    for name, word in (("flip", "not what the manifest says"), ("lose", "missing"), ("out", "leads out")):
        with pytest.raises(CsirtError, match=word):
            restore(tmp_path / name, tmp_path / "target", SYSTEM, actor="kari")
        assert not (tmp_path / "target").exists()
    assert not (tmp_path / "outside").exists()


def test_targets_that_hold_something_are_refused(tmp_path: Path) -> None:
    """Nothing is ever written over; a folder that is no backup is said to be none."""
    make(tmp_path / "store")
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("x")
    with open_embedded(tmp_path / "store", clock=SYSTEM) as store:
        with pytest.raises(Conflict):
            backup(store, full)
        with pytest.raises(Usage):
            backup(store, tmp_path / "store" / "backup")
        backup(store, tmp_path / "good")
    with pytest.raises(Conflict):
        restore(tmp_path / "good", full, SYSTEM, actor="kari")
    with pytest.raises(NotFound):
        restore(full, tmp_path / "new", SYSTEM, actor="kari")
    assert [path.name for path in full.iterdir()] == ["x"]
