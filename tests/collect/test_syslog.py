"""Syslog over UDP and TCP into frames segments."""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from csirt.collect import streams
from csirt.collect.receiver import Receiver
from csirt.model import spool as form


def _records(folder: Path) -> list[tuple[bytes, str, int, int]]:
    """(message, sender, transport, flags) of every record, read the slow way, checksums verified."""
    found = []
    for path in sorted(folder.glob("*" + form.FRAMES)):
        raw = path.read_bytes()
        assert form.segment_uuid(raw) is not None
        at = form.FRAMES_HEADER.size
        while at < len(raw):
            magic, length, _, address, family, transport, flags, crc = form.RECORD.unpack_from(raw, at)
            data = raw[at + form.RECORD.size : at + form.RECORD.size + length]
            assert magic == form.RECORD_MAGIC
            assert zlib.crc32(data, zlib.crc32(raw[at : at + form.RECORD_HEAD.size])) == crc
            kind = socket.AF_INET if family == 4 else socket.AF_INET6
            found.append((data, socket.inet_ntop(kind, address[:4] if family == 4 else address), transport, flags))
            at += form.RECORD.size + length
    return found


def _wait(item: Receiver, name: str, value: int) -> None:
    deadline = time.monotonic() + 5
    while item.stats()[name] < value:
        assert time.monotonic() < deadline, item.stats()
        time.sleep(0.01)


def test_datagrams(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """One datagram is one message, its sender kept, a line end removed, an empty one not kept."""
    item = receiver("syslog", "[::]:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four, socket.socket(socket.AF_INET6, 2) as six:
        four.sendto(b"<13>one\n", ("127.0.0.1", item.address[1]))
        four.sendto(b"\n", ("127.0.0.1", item.address[1]))
        six.sendto(b"<13>two\r\n\0", ("::1", item.address[1]))
        _wait(item, "received", 2)
    item.stop()
    assert sorted(_records(tmp_path / "spool/s")) == [(b"<13>one", "127.0.0.1", 17, 0), (b"<13>two", "::1", 17, 0)]


def test_streams(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """Both framings of RFC 6587 over one connection each; what was begun when the connection ends is kept, marked."""
    item = receiver("syslog", transport="tcp")
    with socket.create_connection(item.address) as counted, socket.create_connection(item.address) as lines:
        for part in (b"7 <1", b"3>one7 <13", b">two"):
            counted.sendall(part)
            time.sleep(0.02)
        lines.sendall(b"<13>three\n<13>fo")
        lines.sendall(b"ur\n<13>half")
    _wait(item, "received", 5)
    item.stop()
    found = sorted((data, transport, flags) for data, _, transport, flags in _records(tmp_path / "spool/s"))
    expected = [(b"<13>four", 6, 0), (b"<13>half", 6, form.FLAG_PARTIAL), (b"<13>one", 6, 0)]
    assert found == [*expected, (b"<13>three", 6, 0), (b"<13>two", 6, 0)]
    assert item.stats()["partial"] == 1 and item.stats()["connections"] == 0


def test_a_long_line_is_cut_and_counted(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """Of a 10 MB line 64 KiB are kept and marked; the next line is whole."""
    item = receiver("syslog", transport="tcp")
    with socket.create_connection(item.address) as stream:
        stream.sendall(b"<13>" + b"x" * 10_000_000 + b"\n<13>next\n")
        _wait(item, "received", 2)
    item.stop()
    first, second = _records(tmp_path / "spool/s")
    assert (len(first[0]), first[3], second[0]) == (form.MAX_MESSAGE, form.FLAG_CUT, b"<13>next")
    assert item.stats()["cut"] == 1


def test_connections_are_limited(receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that opens too many connections is refused the rest, counted; the others go on."""
    monkeypatch.setattr(streams, "MAX_PER_ADDRESS", 3)
    item = receiver("syslog", transport="tcp")
    opened = [socket.create_connection(item.address) for _ in range(5)]
    try:
        _wait(item, "refused", 2)
        assert item.stats()["connections"] == 3
        opened[0].sendall(b"<13>still here\n")
        _wait(item, "received", 1)
    finally:
        for stream in opened:
            stream.close()


def test_idle_connections_are_closed(receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that says nothing for the idle time is closed by us."""
    monkeypatch.setattr(streams, "IDLE", 0.2)
    item = receiver("syslog", transport="tcp")
    with socket.create_connection(item.address) as stream:
        stream.settimeout(5)
        assert stream.recv(1) == b""
    assert item.stats()["refused"] == 0


def test_a_stop_takes_what_has_arrived(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """Nothing that was sent before the stop is left in a socket."""
    item = receiver("syslog", transport="tcp")
    with socket.create_connection(item.address) as stream:
        _wait(item, "connections", 1)
        stream.sendall(b"".join(b"<13>%d\n" % number for number in range(2000)))
        item.stop()
    assert [data for data, *_ in _records(tmp_path / "spool/s")] == [b"<13>%d" % number for number in range(2000)]
