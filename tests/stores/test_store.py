"""The embedded store passes the contract, and keeps its own promises: one owner, migrations, versions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from csirt.clock import MINUTE, Frozen
from csirt.errors import Conflict, CsirtError, NotAllowed, NotFound
from csirt.stores.base import Commit, Store
from csirt.stores.embedded import EmbeddedStore, open_embedded
from tests.stores import build
from tests.stores.contract import Contract
from tests.stores.contract.reading import Reopen, rows_of


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Reopen]:
    """Opens the embedded store of a folder, again and again."""
    clock = Frozen(build.START)
    opened: list[EmbeddedStore] = []

    def again() -> Store:
        if opened:
            opened.pop().close()
        opened.append(open_embedded(tmp_path / "store", clock=clock))
        return opened[0]

    yield again
    for store in opened:
        store.close()


class TestEmbedded(Contract):
    """The contract, on the embedded store."""

    def pass_time(self, store: Store) -> None:
        store.clock.time += 61 * MINUTE  # type: ignore[attr-defined]


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    """Another process that wants to own the folder gets exit code 5 and the owner's process id."""
    code = (
        "import sys; from pathlib import Path; from csirt.clock import SYSTEM; from csirt.errors import CsirtError\n"
        "from csirt.stores.embedded import open_embedded\n"
        "try: open_embedded(Path(sys.argv[1]), clock=SYSTEM)\n"
        "except CsirtError as error: print(error.message); sys.exit(error.exit_code)"
    )
    with open_embedded(tmp_path, clock=Frozen(1)):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        assert done.returncode == 5, done.stderr
        assert str(os.getpid()) in done.stdout
        with pytest.raises(Conflict):
            open_embedded(tmp_path, clock=Frozen(1))
        with pytest.raises(Conflict):
            open_embedded(tmp_path, clock=Frozen(1), read_only=True)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_readers_share_a_store_nobody_owns(tmp_path: Path) -> None:
    """Read-only openers share the folder, write nothing, and keep an owner out."""
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        store.commit(Commit(batches=[build.flows(3_000)], alerts=[build.alert("a")]))
    before = sorted((p, p.stat().st_size) for p in tmp_path.rglob("*.parquet"))
    first = open_embedded(tmp_path, clock=Frozen(1), read_only=True)
    second = open_embedded(tmp_path, clock=Frozen(1), read_only=True)
    assert rows_of(first) == rows_of(second) == 3_000
    with pytest.raises(NotAllowed):
        first.append_audit([build.entry()])
    with pytest.raises(Conflict):
        open_embedded(tmp_path, clock=Frozen(1))
    first.close()
    second.close()
    assert sorted((p, p.stat().st_size) for p in tmp_path.rglob("*.parquet")) == before
    with pytest.raises(NotFound):
        open_embedded(tmp_path / "none", clock=Frozen(1), read_only=True)
    with pytest.raises(NotFound):
        open_embedded(tmp_path / "none", clock=Frozen(1), create=False)


def test_the_store_is_private(tmp_path: Path) -> None:
    """Nobody but the owner can read or write any file of the store, whatever the umask and the folder's own mode."""
    folder = tmp_path / "given"
    folder.mkdir(mode=0o777)
    old = os.umask(0)
    try:
        for place in (folder, tmp_path / "made"):
            with open_embedded(place, clock=Frozen(1)) as store:
                store.commit(Commit(batches=[build.flows(3_000)], alerts=[build.alert("a")]))
                found = sorted(place.rglob("*"))
                assert {"catalogue.sqlite", "catalogue.sqlite-wal", "owner.lock"} <= {path.name for path in found}
                assert [path for path in found if path.stat().st_mode & 0o077] == []
    finally:
        os.umask(old)
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """Writing after close is an error with a sentence; closing twice is fine."""
    store = open_embedded(tmp_path, clock=Frozen(1))
    store.close()
    store.close()
    with pytest.raises(CsirtError, match="closed"):
        store.append_audit([build.entry()])
