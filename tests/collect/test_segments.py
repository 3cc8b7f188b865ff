"""The spool's writer: what is sealed is whole, what is dropped is counted."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt import config
from csirt.clock import SYSTEM, Frozen
from csirt.collect import segments
from csirt.collect.segments import Limits, SegmentWriter, SpoolFailed
from csirt.collect.stats import Stats
from csirt.model import spool as form

RECORD = form.RECORD_HEAD.pack(form.RECORD_MAGIC, 100, 0, bytes(16), 4, 17, 0) + bytes(4) + bytes(100)


def _header(uuid: bytes) -> bytes:
    return form.FRAMES_HEADER.pack(form.FRAMES_MAGIC, uuid)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[..., SegmentWriter]]:
    """A started writer of frames segments in `tmp_path/spool/s`; closed at the end."""
    made: list[SegmentWriter] = []

    def make(clock: Any = SYSTEM, **spool: Any) -> SegmentWriter:
        limits = Limits.of(config.Spool(**{"sync": "10ms", **spool}))
        result = SegmentWriter(tmp_path / "spool/s", form.FRAMES, _header, limits, Stats("s", "syslog"), clock)
        result.start()
        made.append(result)
        return result

    yield make
    for item in made:
        if item._keeper.is_alive():
            item.close()


def _sealed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(form.FRAMES))


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited 5 s in vain"
        time.sleep(0.005)


def test_synced_length_is_published_and_a_close_seals(writer: Callable[..., SegmentWriter]) -> None:
    """While open, `.synced` follows what was written; after the close the segment is whole and nothing lies beside."""
    item = writer()
    item.append([RECORD, RECORD], 2 * len(RECORD), 2)
    (path,) = item.folder.glob("*.open")
    expected = form.FRAMES_HEADER.size + 2 * len(RECORD)
    _until(lambda: form.read_mark(form.beside(path, form.SYNCED)) == expected)
    item.close()
    (sealed,) = list(item.folder.iterdir())
    assert sealed.name == form.sealed_name(path.name) and sealed.stat().st_size == expected
    assert sealed.read_bytes()[24 + 8 :] == RECORD * 2


def test_modes(writer: Callable[..., SegmentWriter]) -> None:
    """Folders are 0700 and files 0600 whatever the umask: raw bytes of patients' traffic rest here."""
    before = os.umask(0)
    try:
        item = writer()
        item.append([RECORD], len(RECORD), 1)
    finally:
        os.umask(before)
    assert item.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in item.folder.iterdir()} == {0o600}


def test_rotation_by_size(writer: Callable[..., SegmentWriter]) -> None:
    """A segment that has reached its size is sealed and the next begun; records never straddle; order is name order."""
    item = writer(segment_size=4096)
    for number in range(100):
        data = RECORD[:-4] + number.to_bytes(4, "big")
        assert item.append([data], len(data), 1)
    item.close()
    sealed = _sealed(item.folder)
    assert len(sealed) == item.stats.segments > 2
    numbers = []
    for path in sealed:
        body = path.read_bytes()[form.FRAMES_HEADER.size :]
        assert len(body) % len(RECORD) == 0
        numbers += [body[at + len(RECORD) - 1] for at in range(0, len(body), len(RECORD))]
    assert numbers == list(range(100))


def test_rotation_by_age(writer: Callable[..., SegmentWriter]) -> None:
    """A segment is sealed when it is old enough; an empty one never comes to be."""
    clock = Frozen(1_000_000_000)
    item = writer(clock, segment_age="60s")
    item.tick()
    assert not list(item.folder.glob("*.frames*"))
    item.append([RECORD], len(RECORD), 1)
    clock.time += 59_000_000
    item.tick()
    assert item._current is not None
    clock.time += 2_000_000
    item.tick()
    _until(lambda: len(_sealed(item.folder)) == 1)


def test_drop_newest_at_the_limit(writer: Callable[..., SegmentWriter]) -> None:
    """At the limit what comes new is dropped and counted; what is there stays."""
    item = writer(limit=20_000, segment_size=4096)
    kept = [item.append([RECORD], len(RECORD), 1) for _ in range(300)]
    item.close()
    assert 0 < sum(kept) < 300
    assert item.stats.spooled == sum(kept) and item.stats.spool_dropped == {"spool_full": 300 - sum(kept)}
    total = sum(path.stat().st_size for path in item.folder.iterdir())
    assert total <= 20_000
    assert not any(kept[kept.index(False) :])


def test_drop_oldest_at_the_limit(writer: Callable[..., SegmentWriter]) -> None:
    """With drop_oldest the oldest segments go, counted by record; what is newest is there; nothing is unaccounted."""
    item = writer(limit=20_000, segment_size=4096, at_limit="drop_oldest")
    for number in range(300):
        data = RECORD[:-4] + number.to_bytes(4, "big")
        item.append([data], len(data), 1)
        time.sleep(0.0005)
    item.close()
    there = sum((path.stat().st_size - form.FRAMES_HEADER.size) // len(RECORD) for path in _sealed(item.folder))
    assert item.stats.spool_dropped.get("oldest", 0) > 0
    assert there == item.stats.spooled == 300 - sum(item.stats.spool_dropped.values())
    assert _sealed(item.folder)[-1].read_bytes()[-1] == 299 & 0xFF


def test_a_committed_segment_makes_room_without_loss(writer: Callable[..., SegmentWriter]) -> None:
    """Deleting a segment whose content is committed is no loss and is not counted as one."""
    item = writer(limit=12_000, segment_size=4096, at_limit="drop_oldest")
    for _ in range(30):
        item.append([RECORD], len(RECORD), 1)
    _until(lambda: len(_sealed(item.folder)) == 1)
    form.beside(_sealed(item.folder)[0], form.COMMITTED).write_bytes((5).to_bytes(8, "little"))
    for _ in range(60):
        item.append([RECORD], len(RECORD), 1)
    assert not item.stats.spool_dropped and item.stats.spooled == 90
    assert sum(path.stat().st_size for path in item.folder.iterdir()) <= 12_000


def test_a_full_disk_drops_counts_and_recovers(
    writer: Callable[..., SegmentWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC in the middle of a write leaves whole records only, is counted, and ends when there is space again."""
    item = writer()
    real = os.pwritev

    def half(handle: int, buffers: Any, offset: int) -> int:
        real(handle, [b"".join(buffers)[:50]], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    item.append([RECORD], len(RECORD), 1)
    monkeypatch.setattr(segments.os, "pwritev", half)
    assert not item.append([RECORD], len(RECORD), 1)
    monkeypatch.setattr(segments.os, "pwritev", lambda handle, buffers, offset: 10)  # a short write, again and again
    assert not item.append([RECORD] * 2, 2 * len(RECORD), 2)
    monkeypatch.setattr(segments.os, "pwritev", real)
    assert item.append([RECORD], len(RECORD), 1)
    item.close()
    assert item.stats.spool_dropped == {"disk_full": 3} and item.stats.spooled == 2
    assert _sealed(item.folder)[0].read_bytes()[form.FRAMES_HEADER.size :] == RECORD * 2


def test_a_large_write_that_fails_leaves_no_place_taken(
    writer: Callable[..., SegmentWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large writes ask for their place first; one that then fails leaves the segment as it was, its blocks too."""
    item = writer()
    many = [RECORD * 1000] * 2
    size = sum(map(len, many))
    assert size >= segments.LARGE and item.append(many, size, 2000)
    assert item._current is not None
    before = os.fstat(item._current.handle)
    monkeypatch.setattr(segments.gathered, "write", lambda handle, buffers, offset: 10)
    assert not item.append(many, size, 2000)
    after = os.fstat(item._current.handle)
    assert (after.st_size, after.st_blocks) == (before.st_size, before.st_blocks)
    monkeypatch.undo()
    assert item.append(many, size, 2000)
    item.close()
    assert item.stats.spool_dropped == {"disk_full": 2000} and item.stats.spooled == 4000
    assert _sealed(item.folder)[0].read_bytes()[form.FRAMES_HEADER.size :] == RECORD * 4000


def test_a_disk_that_is_nearly_full_is_left_to_others(
    writer: Callable[..., SegmentWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk has no room to spare what comes is dropped and counted so that cases and the audit can be written;
    reception goes on when there is room."""
    item = writer()
    monkeypatch.setattr(segments.disk, "scarce", lambda _: True)
    item._measure()
    assert not item.append([RECORD], len(RECORD), 1)
    monkeypatch.setattr(segments.disk, "scarce", lambda _: False)
    item._measure()
    assert item.append([RECORD], len(RECORD), 1)
    assert item.stats.spool_dropped == {"disk_full": 1} and item.stats.spooled == 1


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_refused_sync_stops_the_writer(
    writer: Callable[..., SegmentWriter], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """EIO on a sync stops the collector with its own error; no byte after it is claimed to be safe."""
    item = writer()

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(segments.os, call, refuse)
    item.append([RECORD], len(RECORD), 1)
    if call == "fsync":
        item._rotate()
    _until(lambda: item.failed)
    with pytest.raises(SpoolFailed, match=r"Input/output error.*check the disk"):
        item.append([RECORD], len(RECORD), 1)
    assert not any(form.read_mark(path) for path in item.folder.glob("*.synced"))


def test_a_spool_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    """A file in the way of the folder is named, with what to do."""
    (tmp_path / "spool").write_text("in the way")
    limits = Limits.of(config.Spool())
    item = SegmentWriter(tmp_path / "spool/s", form.FRAMES, _header, limits, Stats("s", "syslog"), SYSTEM)
    with pytest.raises(SpoolFailed, match="check that the collector's user owns it"):
        item.start()
