"""What a file is, is seen by its content."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csirt.config import Config
from csirt.errors import NotFound, Usage
from csirt.model import spool as form
from csirt.sources.files import open_file, plausible

T = 1_700_000_000_000_000
V9 = bytes.fromhex("0009000100000000000000000000000000000000") + bytes.fromhex("0000000c0100000100080004")
CONFIG = Config.parse({"decode": {"dissect": []}})


def test_every_fixture_of_netflow_is_netflow(data: Path, drain: Callable[..., Any]) -> None:
    """Raw datagrams and captures of every vendor are recognised, on whatever port, damaged ones too."""
    files = [*sorted((data / "netflow/vendors").glob("*.dat")), *sorted((data / "netflow/vendors/pcap").iterdir())]
    files += [
        *sorted((data / "netflow/akvorado/netflow").iterdir()),
        *sorted((data / "netflow/akvorado/sflow").iterdir()),
    ]
    assert len(files) > 100
    for path in files:
        source = open_file(path)
        assert source.kind == "netflow" and source.id == "netflow", path.name
        (item,) = source.inputs()
        read = drain(item)
        assert read.units and read.position.done and not read.lost, path.name
        if path.suffix == ".dat":
            assert read.bodies == [path.read_bytes()] and read.units[0][1:] == (0, 0, 0, 0, 0, 0)


def test_ordinary_captures_are_packets(data: Path) -> None:
    """Traffic without NetFlow and sFlow is packets."""
    for path in sorted((data / "pcaps/zeek").iterdir()):
        assert open_file(path, config=CONFIG).kind == "capture", path.name


def test_a_segment_keeps_its_identity_as_a_file(tmp_path: Path, make: Any, drain: Callable[..., Any]) -> None:
    """A spool segment given as a file is the segment, open or sealed, under any path; a rewritten one is not."""
    uuid = bytes(range(16))
    raw = form.pcapng_header(uuid) + make.enhanced(T, make.udp4(V9))
    for name in ("a.pcapng", "other-name.pcapng.open"):
        (tmp_path / name).write_bytes(raw)
        (item,) = open_file(tmp_path / name, source_id="edge").inputs()
        assert item.fingerprint == uuid.hex() and drain(item).bodies == [V9]
    (tmp_path / "c.pcapng").write_bytes(raw.replace(b"csirt collect", b"Editcap 4.0.1"))
    assert open_file(tmp_path / "c.pcapng").inputs()[0].fingerprint != uuid.hex()


def test_syslog_segments_and_logs(tmp_path: Path, drain: Callable[..., Any]) -> None:
    """Frames segments are syslog; text is a log, read to its end with or without a line end there."""
    (tmp_path / "a.frames").write_bytes(form.FRAMES_HEADER.pack(form.FRAMES_MAGIC, bytes(16)))
    assert open_file(tmp_path / "a.frames").kind == "syslog"
    (tmp_path / "b.log").write_bytes(b"one\r\ntwo\nthree")
    source = open_file(tmp_path / "b.log", parser="postfix")
    (item,) = source.inputs()
    read = drain(item)
    assert source.kind == "log" and source.parser == "postfix"  # type: ignore[attr-defined]
    assert read.bodies == [b"one", b"two", b"three"] and read.position.done
    assert source.inputs()[0] is item and item.finished(read.position)
    (tmp_path / "b.log").write_bytes(b"one\r\ntwo\nthree\nfour\n")
    (grown,) = open_file(tmp_path / "b.log").inputs()
    assert grown.fingerprint == item.fingerprint and not grown.finished(read.position)


@pytest.mark.parametrize(
    ("name", "raw", "options", "message"),
    [
        ("a.pcap.gz", gzip.compress(b"x", mtime=0), {}, "is compressed .gzip.; unpack it first: gunzip -k"),
        ("empty", b"", {}, "is empty"),
        ("binary", b"\x00\x01\x02\x03" * 9, {}, "no capture, no flow datagram and no text"),
        ("text", b"hello\n", {"kind": "packets"}, "is no pcap or pcapng file"),
        ("text", b"hello\n", {"kind": "syslog"}, "is no syslog segment"),
        ("text", b"x" * 70_000, {"kind": "netflow"}, "too large for one datagram"),
        ("text", b"hello\n", {"kind": "sflow"}, "unknown kind"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(
    tmp_path: Path, name: str, raw: bytes, options: dict[str, str], message: str
) -> None:
    """Every refusal names the file and the next step."""
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(Usage, match=message):
        open_file(tmp_path / name, **options)  # type: ignore[arg-type]


def test_missing_files_and_folders(tmp_path: Path) -> None:
    """A missing file is not found; a folder is told to be one."""
    with pytest.raises(NotFound, match="check the path"):
        open_file(tmp_path / "none")
    with pytest.raises(Usage, match="is a folder"):
        open_file(tmp_path)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x00\x09" + bytes(40), b"\x00\x05" + bytes(21), b"\x00\x0a\x00\x02" + bytes(30), b"GET / HTTP/1.1\r\n\r\n"],
)
def test_what_only_looks_like_netflow(raw: bytes) -> None:
    """A version alone is not enough."""
    assert not plausible(raw)


def test_a_broken_datagram_is_for_the_decoder_to_judge(tmp_path: Path) -> None:
    """A raw datagram that was cut short, or has nonsense behind its version, is NetFlow all the same: its decoder
    counts what is wrong."""
    for number, head in enumerate((b"\0\5\0\x02", b"\0\x09\xff\xff", b"\0\x0a\0\x01")):
        path = tmp_path / f"{number}.dat"
        path.write_bytes(head + b"\xfe\0\1" * 30)
        assert open_file(path).kind == "netflow"


def test_lines_are_a_source_named_for_their_parser(tmp_path: Path) -> None:
    """`decode` and `replay` open a log under the same id, so that its events have the same ids; a parser that is not
    named is seen by the first byte."""
    (tmp_path / "a").write_text("Jan  1 00:00:00 mx postfix/smtpd[1]: connect from x[192.0.2.1]\n")
    (tmp_path / "b").write_text('{"event": "x"}\n')
    assert [open_file(tmp_path / name).id for name in "ab"] == ["log-postfix", "log-msh"]
    assert open_file(tmp_path / "b", parser="postfix").id == "log-postfix"
    assert open_file(tmp_path / "a", source_id="relay").id == "relay"
