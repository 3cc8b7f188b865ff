"""A disk that is full or fails: nothing half done, nothing reported that is not so, and a sentence that helps."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from csirt.clock import Frozen
from csirt.errors import CsirtError, Unreachable
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded
from csirt.stores.embedded.catalogue.database import check_version
from csirt.stores.embedded.faults import DiskFull, translate
from csirt.stores.embedded.fsck import fsck
from csirt.stores.errors import FatalStoreError
from tests.stores import build


def change(n: int) -> Commit:
    return Commit(
        batches=[build.flows(2_100, first=n * 2_100), build.mails(3, first=n * 3)],
        position=Position("s", "f", n + 1),
        previous=n,
        audit=[build.entry(f"chunk-{n}")],
    )


def holds(store: EmbeddedStore, commits: int) -> None:
    position = store.position("s", "f")
    assert (position.offset if position else 0) == commits
    assert sum(batch.rows for batch in store.events()) == commits * 2_103
    assert len(list(store.audit())) == commits
    assert fsck(store) == []


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
def test_a_full_disk_keeps_nothing_of_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """ENOSPC at any step of an event file: exit code 6, nothing kept, and the same commit works when there is room."""
    with open_embedded(tmp_path / "store", clock=Frozen(build.START)) as store:
        if call != "mkdir":
            store.commit(change(0))
        done = 0 if call == "mkdir" else 1

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(*((Path, call) if call in ("rename", "mkdir") else (os, call)), full)
            with pytest.raises(DiskFull, match="disk of the store is full") as refused:
                store.commit(change(done))
            assert refused.value.exit_code == Unreachable.exit_code
        holds(store, done)
        store.commit(change(done))
        holds(store, done + 1)


def test_a_full_catalogue_keeps_nothing_of_a_commit(tmp_path: Path) -> None:
    """No room for the catalogue itself: rolled back, and the event files of the commit are gone."""
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        store.commit(change(0))
        writer = store.database.writer
        writer.pragma("max_page_count", writer.pragma("page_count"))
        with pytest.raises(DiskFull):
            store.commit(Commit(batches=change(1).batches, alerts=[build.alert(f"{n}") for n in range(2_000)]))
        assert store.count("alert") == 0
        holds(store, 1)
        writer.pragma("max_page_count", 1 << 30)
        store.commit(change(1))
        holds(store, 2)


def test_a_failed_sync_stops_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After EIO on fsync every write is refused until a restart, which finds the last good commit."""
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        store.commit(change(0))

        def broken(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", broken)
            with pytest.raises(FatalStoreError):
                store.commit(change(1))
        with pytest.raises(FatalStoreError):
            store.commit(change(1))
        with pytest.raises(FatalStoreError):
            store.append_audit([build.entry()])
        assert sum(batch.rows for batch in store.events()) == 2_103
    with open_embedded(tmp_path, clock=Frozen(build.START)) as store:
        holds(store, 1)
        store.commit(change(1))
        holds(store, 2)


CHILD = """
import sys
from pathlib import Path
from csirt.clock import Clock
from csirt.stores.embedded import open_embedded
from csirt.stores.errors import FatalStoreError
from tests.stores.test_faults import change

store = open_embedded(Path(sys.argv[1]), clock=Clock())
position = store.position("s", "f")
for n in range(position.offset if position else 0, 8):
    try:
        store.commit(change(n))
    except FatalStoreError:
        print("stopped", flush=True)
        sys.exit(3)
    print("committed", n + 1, flush=True)
"""


@pytest.mark.parametrize("k", [5, 6, 8])
def test_failing_catalogue_syncs_lose_nothing_reported(tmp_path: Path, k: int) -> None:
    """EIO on the k-th fdatasync, which is the catalogue's: what was reported as committed is there after a restart."""
    import shutil

    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian package strace)")
    root = Path(__file__).resolve().parents[2]
    inject = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:error=EIO:when={k}"]
    with open_embedded(tmp_path / "store", clock=Frozen(build.START)):
        pass
    first = subprocess.run(
        [*inject, sys.executable, "-c", CHILD, str(tmp_path / "store")], capture_output=True, text=True, cwd=root
    )
    assert "stopped" in first.stdout, first.stdout + first.stderr
    said = sum(line.startswith("committed") for line in first.stdout.split("\n"))
    with open_embedded(tmp_path / "store", clock=Frozen(build.START)) as store:
        position = store.position("s", "f")
        done = position.offset if position else 0
        assert said <= done <= said + 1
        holds(store, done)


def test_what_is_fatal_and_what_is_not() -> None:
    """Full: retry. Broken disk or catalogue: stop. Locked: retry. Anything else stays what it is."""
    assert isinstance(translate(OSError(errno.EDQUOT, "x"), "testing"), DiskFull)
    assert isinstance(translate(apsw.FullError(), "testing"), DiskFull)
    for error in (OSError(errno.EIO, "x"), OSError(errno.EROFS, "x"), apsw.IOError(), apsw.CorruptError()):
        assert isinstance(translate(error, "testing"), FatalStoreError)
    assert isinstance(translate(apsw.BusyError(), "testing"), Unreachable)
    assert translate(OSError(errno.ENOENT, "x"), "testing") is None
    assert translate(apsw.ConstraintError(), "testing") is None


def test_a_sqlite_that_loses_commits_is_refused() -> None:
    """Versions 3.7.0 to 3.51.2 are refused with the reason and what to install."""
    for version in ("3.40.1", "3.51.2"):
        with pytest.raises(CsirtError, match=r"apsw >= 3\.51\.3"):
            check_version(version)
    assert check_version("3.51.3") == "3.51.3"
    check_version()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """The state folder belongs to somebody else, or a file is in the way: no traceback, and what to look at."""
    (tmp_path / "file").touch()
    with pytest.raises(CsirtError, match="must belong to the user"):
        open_embedded(tmp_path / "file" / "store", clock=Frozen(1))
