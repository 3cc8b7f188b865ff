"""Raw bytes leave the spool in time, and never before they are committed."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from csirt import config
from csirt.collect.spool import Spool
from csirt.model import spool as form

HOUR = 3_600_000_000
NOW = 1_795_000_000_000_000


def _segment(spool: Path, source: str, number: int, *, open_: bool = False, size: int = 1000) -> str:
    identity = uuid.UUID(int=number + 1)
    folder = spool / source
    folder.mkdir(parents=True, exist_ok=True)
    name = f"20261123T0000{number:02d}Z-{number:08d}-{identity.hex[:8]}{form.PCAPNG}{form.OPEN if open_ else ''}"
    (folder / name).write_bytes(form.pcapng_header(identity.bytes).ljust(size, b"\0"))
    return identity.hex


def _names(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.rglob("*") if path.is_file())


def test_only_committed_sealed_segments_go_after_their_time(tmp_path: Path) -> None:
    """A segment goes when it is sealed, committed, and its time since the commit is over; each deletion is told."""
    done = _segment(tmp_path, "edge", 1)
    _segment(tmp_path, "edge", 2)  # not committed
    still_open = _segment(tmp_path, "edge", 3, open_=True)
    spool = Spool(config.Spool(), tmp_path)

    def committed(source: str, fingerprint: str) -> bool:
        assert source == "edge"
        return fingerprint in (done, still_open)

    assert spool.delete_committed(committed, NOW, 24 * HOUR) == []
    assert spool.delete_committed(committed, NOW + 23 * HOUR, 24 * HOUR) == []
    (gone,) = Spool(config.Spool(), tmp_path).delete_committed(committed, NOW + 24 * HOUR, 24 * HOUR)
    assert (gone.source, gone.fingerprint, gone.size, gone.committed, gone.reason) == ("edge", done, 1000, NOW, "kept")
    assert str(gone).startswith(f"edge/{gone.name} (1000 bytes, committed 2026-")
    assert len(_names(tmp_path)) == 2 and not list(tmp_path.rglob("*.committed"))


def test_every_lane_of_a_source_is_tidied(tmp_path: Path) -> None:
    """The folders of a source's lanes are asked about under the source's own name; the deletion names the folder."""
    names = ["edge", "edge@1", "edge@tls"]
    done = {_segment(tmp_path, name, number) for number, name in enumerate(names)}
    spool = Spool(config.Spool(), tmp_path)
    gone = spool.delete_committed(lambda source, identity: source == "edge" and identity in done, NOW, 0)
    assert [item.source for item in gone] == names and _names(tmp_path) == []


def test_a_clock_that_was_ahead_does_not_keep_segments_for_ever(tmp_path: Path) -> None:
    """A commit time in the future is taken for now."""
    _segment(tmp_path, "edge", 1)
    spool = Spool(config.Spool(), tmp_path)
    assert not spool.delete_committed(lambda *_: True, NOW + 1000 * HOUR, HOUR)
    assert not spool.delete_committed(lambda *_: True, NOW, HOUR)
    assert len(spool.delete_committed(lambda *_: True, NOW + HOUR, HOUR)) == 1


def test_a_restored_store_still_gets_what_it_lacks(tmp_path: Path) -> None:
    """A segment marked as committed stays, and loses its mark, when the store, restored from an older backup, does not
    have it."""
    _segment(tmp_path, "edge", 1)
    spool = Spool(config.Spool(limit=1000), tmp_path)
    assert spool.delete_committed(lambda *_: False, NOW, HOUR) == []
    form.beside(next((tmp_path / "edge").iterdir()), form.COMMITTED).write_bytes(NOW.to_bytes(8, "little"))
    assert spool.delete_committed(lambda *_: False, NOW + 2 * HOUR, HOUR) == []
    assert len(_names(tmp_path)) == 1
    assert len(spool.delete_committed(lambda *_: True, NOW + 2 * HOUR, 0)) == 1


def test_near_the_limit_committed_segments_go_early(tmp_path: Path) -> None:
    """Before new data is refused, what is committed gives way, oldest commit first, and no more than needed."""
    prints = [_segment(tmp_path, "edge", number) for number in range(5)]
    spool = Spool(config.Spool(limit=5000), tmp_path)
    gone = spool.delete_committed(lambda _, fingerprint: fingerprint != prints[0], NOW, 24 * HOUR)
    assert {item.reason for item in gone} == {"limit"}
    assert spool.size() <= 4000 and prints[0] not in {item.fingerprint for item in gone}
    assert len(gone) < 4


def test_foreign_and_damaged_files_are_left_alone(tmp_path: Path) -> None:
    """What is not a segment of ours is never deleted, and nothing is raised."""
    _segment(tmp_path, "edge", 1)
    (tmp_path / "edge" / "20261123T000009Z-00000009-00000000.pcapng").write_bytes(b"not ours")
    (tmp_path / "edge" / "notes.pcapng").write_bytes(b"\n\r\r\n")
    os.symlink(tmp_path / "edge", tmp_path / "link")
    gone = Spool(config.Spool(), tmp_path).delete_committed(lambda *_: True, NOW, 0)
    assert len(gone) == 1 and len(_names(tmp_path / "edge")) == 2


def test_a_spool_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """Before the first collector has run there is nothing to delete."""
    assert Spool(config.Spool(), tmp_path / "none").delete_committed(lambda *_: True, NOW, 0) == []
    assert Spool(config.Spool(), tmp_path / "none").size() == 0
