"""Capture files and watched folders: cuts at boundaries of packet time, then tshark's lines."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csirt.clock import SYSTEM, Clock
from csirt.model import tshark
from csirt.model.chunk import Position
from csirt.sources import dissect as dissect_module
from csirt.sources.capture import CaptureSource
from csirt.sources.dissect import Dissector

MINUTE = 60_000_000
START = 1_700_000_040_000_000  # a whole minute
needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def _source(
    path: Path, *, dissect: tuple[str, ...] = (), binary: str = "tshark", clock: Clock = SYSTEM, **options: Any
) -> CaptureSource:
    dissector = Dissector(list(dissect), binary, clock)
    return CaptureSource("cap", str(path), period=MINUTE, dissector=dissector, clock=clock, **options)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 1000])
def test_chunks_end_where_a_period_of_packet_time_ends(
    tmp_path: Path, make: Any, drain: Callable[..., Any], limit: int
) -> None:
    """The packet that first reaches a later period begins a new chunk, whatever the limit; packets out of order stay
    in the period they came in; the last chunk is cut too."""
    times = [0, 10, 59_999_999, 60_000_000, 61_000_000, 59_000_000, 61_000_001, 300_000_000, 300_000_001]
    (tmp_path / "a.pcap").write_bytes(make.pcap([(START + t, b"%d" % t) for t in times]))
    (item,) = _source(tmp_path / "a.pcap").inputs()
    read = drain(item, limit)
    assert [unit[:3] for unit in read.units] == [(b"%d" % t, n, START + t) for n, t in enumerate(times)]
    periods: list[list[int]] = [[]]
    cuts = []
    for chunk in read.chunks:
        periods[-1] += chunk.data.time.tolist()
        if chunk.data.cut is not None:
            cuts.append(chunk.data.cut - START)
            periods.append([])
    assert [len(period) for period in periods] == [3, 4, 2, 0]
    assert cuts == [MINUTE, 2 * MINUTE, 6 * MINUTE]
    assert read.position.done and read.chunks[-1].data.cut is not None


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.integers(-90, 200), max_size=25),
    limits=st.tuples(st.integers(1, 6), st.integers(1, 60)),
    ng=st.booleans(),
)
def test_any_limit_gives_the_same(
    tmp_path: Path, make: Any, drain: Callable[..., Any], steps: list[int], limits: tuple[int, int], ng: bool
) -> None:
    """Packets, frame numbers and where the cuts fall among them do not depend on the limit."""
    at, packets = START, []
    for step in steps:
        at += step * 1_000_000
        packets.append((at, b"p%d" % len(packets)))
    path = tmp_path / "any"
    raw = make.pcap(packets)
    if ng:
        raw = make.section() + make.interface()
        raw += b"".join(make.enhanced(t, body) + make.block("<", 5, bytes(8)) for t, body in packets)
    path.write_bytes(raw)
    results = []
    for limit in limits:
        (item,) = _source(path).inputs()
        read, marks, count = drain(item, limit), [], 0
        for chunk in read.chunks:
            count += chunk.units
            if chunk.data is not None and chunk.data.cut is not None:
                marks.append((count, chunk.data.cut))
        results.append((read.units, marks, read.lost, read.position.offset))
        assert read.position.done
    assert results[0] == results[1]
    assert [unit[0] for unit in results[0][0]] == [body for _, body in packets]
    assert not packets or results[0][1][-1][0] == len(packets)


@needs_tshark
@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_dissection_follows_the_packets(data: Path, drain: Callable[..., Any], limit: int) -> None:
    """After the packets come tshark's own lines, whole, in order, offsets going on past the file's size; a restart in
    the middle goes on where it was."""
    path = data / "pcaps/zeek/dns_long-connection.pcap"
    (item,) = _source(path, dissect=("dns", "tls")).inputs()
    read = drain(item, limit)
    assert len(read.units) == 22 and read.position.offset == path.stat().st_size + len(read.text)
    lines = read.text.decode().splitlines()
    columns = len(tshark.load().columns(["dns", "tls"]))
    assert lines and all(line.count("\t") == columns - 1 for line in lines)
    numbers = [int(line.split("\t")[0]) for line in lines]
    assert numbers == sorted(numbers) and numbers[-1] <= 22
    assert read.position.done and not read.lost
    middle = next(index for index, chunk in enumerate(read.chunks) if chunk.start >= path.stat().st_size)
    chunk = read.chunks[middle]
    (again,) = _source(path, dissect=("dns", "tls")).inputs()
    rest = drain(again, limit, Position("cap", item.fingerprint, chunk.start, False, read.chunks[middle - 1].extra))
    assert rest.text == read.text[chunk.start - path.stat().st_size :]


@needs_tshark
def test_a_path_as_the_user_typed_it_is_dissected(
    data: Path, drain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path names the same file for tshark, wherever that works: the same lines, nothing lost."""
    path = data / "pcaps/zeek/dns_long-connection.pcap"
    monkeypatch.chdir(path.parent)
    texts = [drain(_source(name, dissect=("dns",)).inputs()[0]) for name in (path, Path(path.name))]
    assert texts[1].text == texts[0].text != b"" and not texts[1].lost


@needs_tshark
def test_a_damaged_capture_is_dissected_up_to_the_damage(data: Path, tmp_path: Path, drain: Callable[..., Any]) -> None:
    """The torn tail is counted once; packets and lines before it are there."""
    raw = (data / "pcaps/zeek/dns_long-connection.pcap").read_bytes()
    (tmp_path / "cut.pcap").write_bytes(raw[:-5])
    (item,) = _source(tmp_path / "cut.pcap", dissect=("dns",)).inputs()
    read = drain(item)
    assert len(read.units) == 21 and read.text.count(b"\n") > 5 and read.lost == {"torn": 1}


@needs_tshark
def test_a_read_need_not_wait_for_tshark(data: Path, drain: Callable[..., Any]) -> None:
    """Without patience a read gives None while tshark works, `exhausted` says so, and then the lines come."""
    source = _source(data / "pcaps/zeek/dns_long-connection.pcap", dissect=("dns",), patience=0.0)
    (item,) = source.inputs()
    read, deadline = drain(item), time.monotonic() + 20
    assert len(read.units) == 22
    while not read.position.done:
        assert not source.exhausted() and time.monotonic() < deadline
        time.sleep(0.02)
        more = drain(item, 1000, read.position)
        more.text = read.text + more.text
        read = more
    assert read.text and source.exhausted()


def _script(tmp_path: Path, body: str) -> str:
    path = tmp_path / "fake-tshark"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "lost"),
    [
        ("echo 1; kill -9 $$", {"tshark_failed": 1}),
        ("echo 1; exit 1", {"tshark_failed": 1}),
        ("echo 'tshark: The file \"a.pcap\" does not exist.' >&2; exit 2", {"tshark_failed": 1}),
        ("echo 1; exec sleep 30", {"tshark_timeout": 1}),
    ],
)
def test_a_dissection_that_fails_is_counted_and_not_used(
    tmp_path: Path,
    make: Any,
    drain: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    lost: dict[str, int],
) -> None:
    """Killed, failed or past its time: no line of it is used, the packets are there, the file ends."""
    monkeypatch.setattr(dissect_module, "TIMEOUT", 0.5)
    (tmp_path / "a.pcap").write_bytes(make.pcap([(START, b"x")]))
    (item,) = _source(tmp_path / "a.pcap", dissect=("dns",), binary=_script(tmp_path, body)).inputs()
    read = drain(item)
    assert (len(read.units), read.text, read.lost, read.position.done) == (1, b"", lost, True)


def test_tshark_runs_within_limits(tmp_path: Path, make: Any, drain: Callable[..., Any]) -> None:
    """Its memory, time and output are limited, and it is nice."""
    body = "sleep 0.2; ulimit -v; ulimit -t; ulimit -f; nice"
    (tmp_path / "a.pcap").write_bytes(make.pcap([(START, b"x")]))
    (item,) = _source(tmp_path / "a.pcap", dissect=("dns",), binary=_script(tmp_path, body)).inputs()
    memory, seconds, blocks, nice = drain(item).text.split()
    assert (int(memory), int(seconds)) == (4 << 20, 61) and blocks.isdigit() and int(nice) >= 10


def test_without_tshark(tmp_path: Path, make: Any, drain: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """Flows still come; each file counts `tshark_missing`; one warning says what to install."""
    for name in ("a.pcap", "b.pcap"):
        (tmp_path / name).write_bytes(make.pcap([(START, name.encode())]))
    for item in _source(tmp_path, dissect=("dns",), binary="no-such-tshark").inputs():
        read = drain(item)
        assert len(read.units) == 1 and read.lost == {"tshark_missing": 1} and read.position.done
    assert sum("install tshark" in record.message for record in caplog.records) == 1


class _Wall(Clock):
    """Time that only moves when told; files written now seem new."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.start = time.time()

    def now(self) -> int:
        return int((self.start + self.offset) * 1e6)

    def monotonic(self) -> float:
        return self.offset


def test_a_watched_folder_waits_until_a_file_is_complete(tmp_path: Path, make: Any) -> None:
    """A file is read when its size has stood still for `settle`, or at once when it was renamed from a temporary name;
    names of unfinished files are not looked at."""
    clock, raw = _Wall(), make.pcap([(START, b"x")])
    source = _source(tmp_path, clock=clock, settle=2_000_000)
    (tmp_path / "a.pcap").write_bytes(raw[:30])
    assert source.inputs() == [] and not source.exhausted()
    clock.offset = 1.5
    (tmp_path / "a.pcap").write_bytes(raw)
    os.utime(tmp_path / "a.pcap", (clock.start + 1.5, clock.start + 1.5))
    (tmp_path / "b.pcap.part").write_bytes(make.pcap([(START, b"b")]))
    clock.offset = 3.0
    assert source.inputs() == []
    (tmp_path / "b.pcap.part").rename(tmp_path / "b.pcap")
    assert [item.path.name for item in source.inputs()] == ["b.pcap"]
    clock.offset = 3.6
    assert [item.path.name for item in source.inputs()] == ["a.pcap", "b.pcap"] and source.exhausted()


def test_files_are_known_by_content(tmp_path: Path, make: Any) -> None:
    """The same bytes under another name or in another folder are the same input; two copies are listed once."""
    raw = make.pcap([(START, b"x")])
    for name in ("one/a.pcap", "one/copy.pcap", "two/other.pcap"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    (first,) = _source(tmp_path / "one").inputs()
    (second,) = _source(tmp_path / "two" / "*.pcap").inputs()
    assert first.segment == second.segment and len(first.fingerprint) == 32
    source = _source(tmp_path / "one")
    assert source.inputs()[0] is source.inputs()[0]


@pytest.mark.parametrize(
    ("raw", "lost"), [(b"\x1f\x8b\x08 packed", "compressed"), (b"just text\n", "not_a_capture"), (b"", "not_a_capture")]
)
def test_what_is_no_capture_is_counted_once(tmp_path: Path, drain: Callable[..., Any], raw: bytes, lost: str) -> None:
    """Another kind of file in the folder ends with its reason, and holds nothing up."""
    (tmp_path / "x").write_bytes(raw)
    (item,) = _source(tmp_path).inputs()
    read = drain(item)
    assert (read.units, read.lost, read.position.done) == ([], {lost: 1}, True)


def test_an_empty_capture(tmp_path: Path, make: Any, drain: Callable[..., Any]) -> None:
    """A file with a header and no packets ends without a loss."""
    (tmp_path / "a.pcap").write_bytes(make.pcap([]))
    (item,) = _source(tmp_path).inputs()
    read = drain(item)
    assert (read.units, read.lost, read.position.done) == ([], {}, True)
