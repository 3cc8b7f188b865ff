"""Segments in the order received, open ones up to what is synced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csirt.model import spool as form
from csirt.model.chunk import Position
from csirt.sources.spool import SpoolSource

T = 1_700_000_000_000_000


def _segment(folder: Path, number: int, make: Any, count: int = 5, *, open_: bool = False, synced: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    uuid = bytes([number]) * 16
    name = f"20261123T0000{number:02d}Z-{number:08d}-{uuid.hex()[:8]}.pcapng"
    raw = form.pcapng_header(uuid)
    for index in range(count):
        raw += make.enhanced(T + index, make.udp4(b"%d.%d" % (number, index)))
    path = folder / (name + (form.OPEN if open_ else ""))
    path.write_bytes(raw)
    if open_:
        (folder / (name + form.SYNCED)).write_bytes(synced.to_bytes(8, "little"))
    return path


def _all(source: SpoolSource, drain: Callable[..., Any], limit: int = 1000) -> list[bytes]:
    return [body for item in source.inputs() for body in drain(item, limit).bodies]


def test_order_and_identity(tmp_path: Path, make: Any, drain: Callable[..., Any]) -> None:
    """Segments come by name; each is known by the UUID in its header, wherever the folder lies."""
    for number in (3, 1, 2):
        _segment(tmp_path / "s", number, make)
    (tmp_path / "s/stats.json").write_text("{}")
    items = SpoolSource("s", "netflow", str(tmp_path / "s")).inputs()
    assert [item.fingerprint for item in items] == ["01" * 16, "02" * 16, "03" * 16]
    assert [drain(item).bodies[0] for item in items] == [b"1.0", b"2.0", b"3.0"]
    (tmp_path / "s").rename(tmp_path / "elsewhere")
    moved = SpoolSource("s", "netflow", str(tmp_path / "elsewhere")).inputs()
    assert [item.segment for item in moved] == [item.segment for item in items]


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_any_limit_gives_the_same(tmp_path: Path, make: Any, drain: Callable[..., Any], limit: int) -> None:
    """Frame numbers, times, addresses and payloads do not depend on how many are asked for at once."""
    _segment(tmp_path, 1, make, 7)
    (item,) = SpoolSource("s", "netflow", str(tmp_path)).inputs()
    read = drain(item, limit)
    assert read.units == [(b"1.%d" % n, n, T + n, 4, 0, 0x0A000001, 2055) for n in range(7)]
    assert read.position.done and read.position.offset == item.path.stat().st_size
    assert item.finished(read.position) and not item.finished(None)


def test_an_open_segment_is_read_up_to_the_synced_length(tmp_path: Path, make: Any, drain: Callable[..., Any]) -> None:
    """Never beyond it; when the segment is sealed under its other name the rest follows, and then its end."""
    path = _segment(tmp_path, 1, make, 4, open_=True)
    whole = path.stat().st_size
    mark = form.beside(path, form.SYNCED)
    source = SpoolSource("s", "netflow", str(tmp_path))
    (item,) = source.inputs()
    assert item.growing and item.read(None, 10) is None
    block = (whole - form.PCAPNG_HEADER_SIZE) // 4
    mark.write_bytes((whole - block).to_bytes(8, "little"))
    read = drain(item)
    assert read.bodies == [b"1.0", b"1.1", b"1.2"] and not read.position.done
    path.rename(path.with_name(form.sealed_name(path.name)))
    mark.unlink()
    rest = drain(item, 1000, read.position)
    assert rest.bodies == [b"1.3"] and rest.position.done and not item.growing
    assert [again is item for again in source.inputs()] == [True]


def test_a_segment_sealed_after_all_was_read_still_ends(tmp_path: Path, make: Any, drain: Callable[..., Any]) -> None:
    """The last chunk may be empty: it only says that nothing more will come."""
    path = _segment(tmp_path, 1, make, 2, open_=True, synced=10**6)
    (item,) = SpoolSource("s", "netflow", str(tmp_path)).inputs()
    read = drain(item)
    assert len(read.units) == 2 and not read.position.done
    path.rename(path.with_name(form.sealed_name(path.name)))
    (last,) = drain(item, 10, read.position).chunks
    assert last.end_of_input and last.data is None and last.start == last.end


def test_a_torn_tail_is_counted_once(tmp_path: Path, make: Any, drain: Callable[..., Any]) -> None:
    """What is whole before it is read, the segment ends, and the next one is not touched by it."""
    path = _segment(tmp_path, 1, make, 3)
    os.truncate(path, path.stat().st_size - 7)
    _segment(tmp_path, 2, make, 1)
    first, second = SpoolSource("s", "netflow", str(tmp_path)).inputs()
    read = drain(first, 1)
    assert (read.bodies, read.lost, read.position.done) == ([b"1.0", b"1.1"], {"torn": 1}, True)
    assert drain(second).bodies == [b"2.0"]


def test_a_segment_deleted_by_the_collector_is_no_error(tmp_path: Path, make: Any) -> None:
    """At the spool's limit a segment may vanish between two looks."""
    path = _segment(tmp_path, 1, make)
    source = SpoolSource("s", "netflow", str(tmp_path))
    (item,) = source.inputs()
    path.unlink()
    assert item.read(None, 10) is None and source.inputs() == []


def test_read_and_committed_segments_are_not_listed_again(tmp_path: Path, make: Any, drain: Callable[..., Any]) -> None:
    """A segment leaves the list only when this process read it to its end and the store has it."""
    path = _segment(tmp_path, 1, make)
    source = SpoolSource("s", "netflow", str(tmp_path))
    drain(source.inputs()[0])
    assert len(source.inputs()) == 1
    form.beside(path, form.COMMITTED).write_bytes(bytes(8))
    assert source.inputs() == []
    fresh = SpoolSource("s", "netflow", str(tmp_path))
    (item,) = fresh.inputs()
    assert not item.finished(None) and len(fresh.inputs()) == 1, "another store may not have it"
    assert item.finished(Position("s", item.fingerprint, 1, True)) and fresh.inputs() == []


def test_captures_of_datagrams_in_the_folder(tmp_path: Path, make: Any, drain: Callable[..., Any]) -> None:
    """pcap files and raw datagrams beside the segments are known by their content; copies are read once; frames
    without a datagram are counted."""
    raw = make.pcap([(T, make.udp4(b"in a file")), (T, b"\x45" + bytes(30))])
    for name in ("b.pcap", "copy.pcap"):
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "one.dat").write_bytes(b"\x00\x09" + bytes(30))
    _segment(tmp_path, 1, make, 1)
    source = SpoolSource("s", "netflow", str(tmp_path))
    items = source.inputs()
    assert [item.path.name for item in items[1:]] == ["b.pcap", "one.dat"] and source.exhausted()
    first, second, third = (drain(item) for item in items)
    assert (first.bodies, second.bodies, third.bodies) == ([b"1.0"], [b"in a file"], [b"\x00\x09" + bytes(30)])
    assert second.lost == {"not_udp": 1} and third.units[0][1:] == (0, 0, 0, 0, 0, 0)


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """Before the first collector has run a source is empty, not broken."""
    source = SpoolSource("s", "netflow", str(tmp_path / "none"))
    assert source.inputs() == [] and source.exhausted()
