"""Frames to UDP payloads, against tshark and by hand."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.sources.pcap import Found, Walker
from csirt.sources.udp import datagrams

IP6 = struct.pack(">IHBB", 0x60000000, 0, 0, 64)


def _found(frames: list[tuple[int, bytes]]) -> Found:
    raw = b"".join(frame for _, frame in frames)
    sizes = np.array([len(frame) for _, frame in frames], np.int64)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)
    count = np.arange(len(frames), dtype=np.int64)
    links = np.array([link for link, _ in frames], np.int64)
    return Found(np.frombuffer(bytearray(raw), np.uint8), starts, sizes, sizes, count, links, count, len(raw))


def _one(link: int, frame: bytes) -> tuple[list[tuple[bytes, int, int, int, int]], dict[str, int]]:
    result, lost = datagrams(_found([(link, frame)]))
    raw = result.buffer.tobytes()
    rows = [
        (raw[int(o) : int(o + n)], int(f), int(h), int(low), int(p))
        for o, n, f, h, low, p in zip(
            result.offset, result.length, result.family, result.high, result.low, result.port, strict=True
        )
    ]
    return rows, lost


def _ip6(payload: bytes, extensions: list[tuple[int, bytes]]) -> bytes:
    udp = struct.pack(">HHHH", 1, 2055, len(payload) + 8, 0) + payload
    kinds = [kind for kind, _ in extensions] + [17]
    rest = b"".join(bytes([following]) + body for (_, body), following in zip(extensions, kinds[1:], strict=True)) + udp
    source = bytes.fromhex("20010db8000000000000000000000001")
    return struct.pack(">IHBB", 0x60000000, len(rest), kinds[0], 64) + source + bytes(16) + rest


ETHER = bytes(12)


@pytest.mark.parametrize(
    ("link", "before"),
    [
        (1, ETHER + b"\x08\x00"),
        (1, ETHER + b"\x81\x00\x00\x05\x08\x00"),
        (1, ETHER + b"\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00"),
        (101, b""),
        (228, b""),
        (12, b""),
        (113, bytes(14) + b"\x08\x00"),
        (113, bytes(14) + b"\x81\x00\x00\x05\x08\x00"),
        (276, b"\x08\x00" + bytes(18)),
        (0, b"\x02\x00\x00\x00"),
        (108, b"\x00\x00\x00\x02"),
    ],
)
def test_link_types(make: Any, link: int, before: bytes) -> None:
    """Behind every known link header, tagged or not, the same datagram is found; padding is no payload."""
    rows, lost = _one(link, before + make.udp4(b"payload", port=9995, source="192.0.2.7") + bytes(11))
    assert rows == [(b"payload", 4, 0, 0xC0000207, 9995)] and not lost


def test_ipv6_extension_headers() -> None:
    """Hop-by-hop, routing, destination options, an authentication header and an atomic fragment are passed."""
    chain = [
        (0, b"\0" + bytes(6)),
        (43, b"\x01" + bytes(14)),
        (60, b"\0" + bytes(6)),
        (51, b"\x01" + bytes(10)),
        (44, bytes(7)),
    ]
    rows, lost = _one(101, _ip6(b"six", chain))
    assert rows == [(b"six", 6, 0x20010DB800000000, 1, 2055)] and not lost


@pytest.mark.parametrize(
    ("reason", "link", "change"),
    [
        ("fragment", 101, lambda ip: ip[:6] + b"\x20\x00" + ip[8:]),
        ("fragment", 101, lambda ip: ip[:6] + b"\x00\x01" + ip[8:]),
        ("not_udp", 101, lambda ip: ip[:9] + b"\x06" + ip[10:]),
        ("malformed", 101, lambda ip: b"\x41" + ip[1:]),
        ("malformed", 101, lambda ip: ip[:24] + b"\x00\x07" + ip[26:]),
        ("malformed", 101, lambda ip: ip[:2] + b"\x00\x18" + ip[4:]),
        ("truncated", 101, lambda ip: ip[:15]),
        ("truncated", 101, lambda ip: ip[:25]),
        ("truncated", 101, lambda ip: b""),
        ("not_ip", 101, lambda ip: b"\x50" + ip[1:]),
        ("not_ip", 1, lambda ip: ETHER + b"\x08\x06" + ip),
        ("truncated", 1, lambda ip: ETHER),
        ("linktype", 105, lambda ip: ip),
    ],
)
def test_what_is_no_datagram_is_counted_by_reason(make: Any, reason: str, link: int, change: Any) -> None:
    """Every frame without a UDP payload has one reason."""
    assert _one(link, change(make.udp4(b"payload"))) == ([], {reason: 1})


def test_an_ipv6_fragment_is_counted() -> None:
    """A real IPv6 fragment is no datagram."""
    assert _one(101, _ip6(b"six", [(44, b"\0\x00\x01" + bytes(4))])) == ([], {"fragment": 1})


def test_options_and_cut_captures(make: Any) -> None:
    """IPv4 options are passed; of a datagram that was not captured whole what is there is given."""
    plain = make.udp4(b"payload")
    rows, _ = _one(101, b"\x46" + plain[1:2] + struct.pack(">H", len(plain) + 4) + plain[4:20] + bytes(4) + plain[20:])
    assert rows[0][0] == b"payload"
    assert _one(101, plain[:-3])[0][0][0] == b"payl"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 12, 101, 108, 113, 228, 229, 276, 7]), st.binary(max_size=90)), max_size=8
    )
)
def test_hostile_frames(frames: list[tuple[int, bytes]]) -> None:
    """Any bytes: each frame is one datagram inside itself or one counted loss."""
    found = _found(frames)
    if not frames:
        return
    result, lost = datagrams(found)
    assert len(result.offset) + sum(lost.values()) == len(frames)
    for index, frame in enumerate(result.frame.tolist()):
        start = int(found.offset[frame])
        assert start <= int(result.offset[index])
        assert int(result.offset[index] + result.length[index]) <= start + int(found.captured[frame])


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("folder", ["pcaps/zeek", "netflow/vendors/pcap"])
def test_counts_agree_with_tshark(data: Path, folder: str) -> None:
    """Packets and UDP payload lengths of every capture (VLAN, QinQ, IPv6, ICMP errors) are tshark's."""
    files = sorted(path for path in (data / folder).iterdir() if "pcap" in path.suffix)
    assert len(files) > 15
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        end, at, walker, count, lengths = os.fstat(handle).st_size, 0, Walker(), 0, []
        while at < end:
            found = walker.read(handle, at, end, 100, final=True)
            at, count = found.end, count + len(found.offset)
            lengths += datagrams(found)[0].length.tolist()
        os.close(handle)
        command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-e", "frame.number"]
        command += ["-e", "udp.length", "-e", "icmp.type", "-e", "icmpv6.type"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        rows = [line.split("\t") for line in lines]
        expected = [int(row[1]) - 8 for row in rows if row[1] and not row[2] and not row[3]]
        assert (count, lengths) == (len(rows), expected), path.name
