"""Frames segments to lines."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csirt.model import spool as form
from csirt.sources.spool import SpoolSource
from csirt.sources.syslog import FramesInput

UUID = bytes(range(16))
HEADER = form.FRAMES_HEADER.pack(form.FRAMES_MAGIC, UUID)


def _record(data: bytes, time: int, host: bytes = bytes([192, 0, 2, 1]) + bytes(12), family: int = 4) -> bytes:
    head = form.RECORD_HEAD.pack(form.RECORD_MAGIC, len(data), time, host, family, 17, 0)
    return head + zlib.crc32(data, zlib.crc32(head)).to_bytes(4, "little") + data


def _file(tmp_path: Path, raw: bytes, name: str = "a.frames") -> FramesInput:
    path = tmp_path / name
    path.write_bytes(raw)
    return FramesInput("s", UUID.hex(), path)


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_lines_with_sender_time_and_place(tmp_path: Path, drain: Callable[..., Any], limit: int) -> None:
    """Each message has its sender's address, its receive time, and its record's offset as identity."""
    six = bytes.fromhex("20010db8000000000000000000000001")
    records = [_record(b"<13>one", 11), _record(b"<13>two\nlines", 12, six, 6), _record(b"<13>three", 13)]
    read = drain(_file(tmp_path, HEADER + b"".join(records)), limit)
    starts = [len(HEADER + b"".join(records[:number])) for number in range(3)]
    expected = [(b"<13>one", 11, "192.0.2.1"), (b"<13>two\nlines", 12, "2001:db8::1"), (b"<13>three", 13, "192.0.2.1")]
    assert read.units == [(body, at, time, host) for (body, time, host), at in zip(expected, starts, strict=True)]
    assert read.position.done and not read.lost


def test_every_truncation(tmp_path: Path, drain: Callable[..., Any]) -> None:
    """Cut anywhere: the whole records before the cut, and one `torn` unless the cut lies between two."""
    records = [_record(b"a" * 9, 1), _record(b"b", 2)]
    whole = HEADER + b"".join(records)
    ends = [len(HEADER), len(HEADER) + len(records[0]), len(whole)]
    for size in range(1, len(whole) + 1):
        read = drain(_file(tmp_path, whole[:size]))
        assert len(read.units) == max(sum(end <= size for end in ends) - 1, 0)
        assert read.lost == ({} if size in ends else {"torn": 1}) and read.position.done


def test_behind_damage_reading_goes_on(tmp_path: Path, drain: Callable[..., Any]) -> None:
    """A flipped byte costs its record, counted, and no other, wherever in the record it is."""
    records = [_record(b"<13>%d" % number, number) for number in range(4)]
    for at in range(len(records[1])):
        broken = bytearray(records[1])
        broken[at] ^= 0x55
        read = drain(_file(tmp_path, HEADER + records[0] + bytes(broken) + records[2] + records[3]), 1)
        assert read.bodies == [b"<13>0", b"<13>2", b"<13>3"] and read.lost == {"damaged": 1}, at


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), limits=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_hostile_bytes(tmp_path: Path, drain: Callable[..., Any], seed: int, limits: list[int]) -> None:
    """Whatever is overwritten, reading ends, and gives the same with every limit."""
    rng = random.Random(seed)
    raw = bytearray(HEADER + b"".join(_record(rng.randbytes(rng.randrange(60)), n) for n in range(20)))
    for _ in range(rng.randrange(12)):
        at = rng.randrange(len(HEADER), len(raw))
        raw[at : at + 4] = rng.choice([rng.randbytes(4), b"SFRM", b"\xff\xff\xff\xff", bytes(4)])
    results = [drain(_file(tmp_path, bytes(raw)), limit) for limit in (1000, *limits)]
    assert all((result.units, result.lost) == (results[0].units, results[0].lost) for result in results)
    assert all(result.position.done for result in results)


def test_a_syslog_spool(tmp_path: Path, drain: Callable[..., Any]) -> None:
    """The source reads frames segments, an open one up to its synced length, and nothing else."""
    name = "20261123T000000Z-00000001-00010203.frames"
    raw = HEADER + _record(b"<13>one", 1)
    (tmp_path / (name + form.OPEN)).write_bytes(raw + _record(b"<13>two", 2))
    (tmp_path / (name + form.SYNCED)).write_bytes(len(raw).to_bytes(8, "little"))
    (tmp_path / "stray.pcap").write_bytes(b"\xd4\xc3\xb2\xa1")
    source = SpoolSource("s", "syslog", str(tmp_path))
    (item,) = source.inputs()
    read = drain(item)
    assert read.bodies == [b"<13>one"] and not read.position.done
    os.rename(tmp_path / (name + form.OPEN), tmp_path / name)
    assert drain(item, 10, read.position).bodies == [b"<13>two"]


def test_messages_of_full_length(tmp_path: Path, drain: Callable[..., Any]) -> None:
    """Messages of 64 KiB are read whole across windows."""
    raw = HEADER + b"".join(_record(bytes([65 + n]) * form.MAX_MESSAGE, n) for n in range(9))
    read = drain(_file(tmp_path, raw), 1)
    assert read.bodies == [bytes([65 + n]) * form.MAX_MESSAGE for n in range(9)]
