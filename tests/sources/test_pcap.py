"""Walking pcap and pcapng: every form, any window, any damage."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csirt.sources import pcap as module
from csirt.sources.pcap import Walker

T = 1_700_000_000_123_456


def _walk(
    path: Path, limit: int = 1000, *, final: bool = True, resume: bool = True
) -> tuple[list[tuple[Any, ...]], int]:
    """(packets as (frame number, time, link type, bytes), torn) with a new walker for every window."""
    handle = os.open(path, os.O_RDONLY)
    try:
        end, at, rows, torn = os.fstat(handle).st_size, 0, [], 0
        walker = Walker()
        while at < end:
            found = walker.read(handle, at, end, limit, final=final)
            raw = found.buffer.tobytes()
            spans = zip(found.offset.tolist(), found.captured.tolist(), strict=True)
            bodies = [raw[start : start + size] for start, size in spans]
            rows += list(zip(found.frame.tolist(), found.time.tolist(), found.linktype.tolist(), bodies, strict=True))
            torn += found.torn
            if found.end == at and not len(bodies):
                break
            at = found.end
            walker = Walker.resume(walker.extra()) if resume else walker
        return rows, torn
    finally:
        os.close(handle)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_forms(tmp_path: Path, make: Any, order: str, nano: bool) -> None:
    """Both byte orders, microseconds and nanoseconds give the same packets."""
    packets = [(T + number, bytes([number]) * (number + 1)) for number in range(50)]
    path = tmp_path / "a.pcap"
    path.write_bytes(make.pcap(packets, order=order, nano=nano, link=1))
    rows, torn = _walk(path, 7)
    assert not torn
    assert rows == [(number, time, 1, body) for number, (time, body) in enumerate(packets)]


def _mixed(make: Any) -> bytes:
    """Three sections: little endian with two interfaces, big endian in nanoseconds, binary fractions with an offset;
    packet blocks of all three kinds, blocks of no interest between them."""
    raw = make.section("<") + make.interface("<", 101) + make.interface("<", 1, make.option("<", 9, b"\x03"))
    raw += make.enhanced(T, b"first") + make.block("<", 5, bytes(40)) + make.enhanced(T // 1000, b"second", "<", 1)
    raw += make.block("<", 3, struct.pack("<I", 6) + b"simple")
    raw += make.block("<", 2, struct.pack("<HHIIII", 0, 0, T >> 32, T & 0xFFFFFFFF, 3, 3) + b"old")
    raw += make.section(">") + make.interface(">", 101, make.option(">", 9, b"\x09"))
    raw += make.enhanced(T * 1000 + 7, b"third", ">")
    options = make.option("<", 9, b"\xa0") + make.option("<", 14, struct.pack("<q", 1_700_000_000)) + bytes(4)
    raw += make.section("<") + make.interface("<", 101, options)
    return bytes(raw + make.enhanced(5 << 32 | 1 << 31, b"fourth"))


MIXED = [
    (0, T, 101, b"first"),
    (1, T // 1000 * 1000, 1, b"second"),
    (2, T // 1000 * 1000, 101, b"simple"),  # a simple packet has no time: the last one's
    (3, T, 101, b"old"),
    (4, T, 101, b"third"),
    (5, 1_700_000_005_500_000, 101, b"fourth"),
]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pcapng_sections_interfaces_and_times(tmp_path: Path, make: Any, limit: int) -> None:
    """Byte order, link type and resolution follow section and interface, also when resumed after every packet."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(_mixed(make))
    assert _walk(path, limit) == (MIXED, 0)


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_every_truncation(tmp_path: Path, make: Any, kind: str) -> None:
    """Cut anywhere, a capture gives exactly the packets that are whole before the cut, and one `torn` if the cut is
    not between two of them; never an error."""
    if kind == "pcap":
        whole = make.pcap([(T, b"a" * 20), (T + 1, b"b" * 3), (T + 2, b"")])
        ends = [24, 24 + 36, 24 + 36 + 19, 24 + 36 + 19 + 16]
    else:
        parts = [make.section() + make.interface(), make.enhanced(T, b"a" * 20), make.enhanced(T, b"bb")]
        whole, ends = b"".join(parts), [len(b"".join(parts[: n + 1])) for n in range(3)]
    boundaries = {*ends, 28} if kind == "pcapng" else set(ends)
    path = tmp_path / "cut"
    for size in range(1, len(whole) + 1):
        path.write_bytes(whole[:size])
        rows, torn = _walk(path)
        assert len(rows) == max(sum(end <= size for end in ends) - 1, 0), size
        assert torn == (size not in boundaries), size


def test_a_growing_file_waits_for_the_rest(tmp_path: Path, make: Any) -> None:
    """Not final: an incomplete record is no damage; it is read when it is there."""
    whole = make.section() + make.interface() + make.enhanced(T, b"x" * 40) + make.enhanced(T + 1, b"y" * 40)
    path = tmp_path / "growing"
    walker, at, found = Walker(), 0, []
    for size in range(0, len(whole) + 1, 3):
        path.write_bytes(whole[:size])
        handle = os.open(path, os.O_RDONLY)
        step = walker.read(handle, at, size, 10, final=False)
        os.close(handle)
        assert not step.torn
        at = step.end
        found += step.time.tolist()
        walker = Walker.resume(walker.extra()) if walker.started else Walker()
    assert found == [T, T + 1]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 40), kind=st.sampled_from([0, 1]))
def test_hostile_bytes_never_crash(make: Any, seed: int, changes: int, kind: int) -> None:
    """Whatever is written over a capture, walking ends, stays inside the window, and gives sane numbers."""
    rng = random.Random(seed)
    raw = bytearray(_mixed(make) if kind else make.pcap([(T + n, bytes(n)) for n in range(30)]))
    for _ in range(changes):
        at = rng.randrange(len(raw))
        value = rng.choice(
            [rng.randbytes(1), b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", rng.randbytes(4)]
        )
        raw[at : at + len(value)] = value
    handle = os.memfd_create("capture")
    try:
        os.write(handle, raw)
        walker, at, end, steps = Walker(), 0, len(raw), 0
        while at < end:
            found = walker.read(handle, at, end, 5, final=True)
            assert at < found.end <= end
            assert (found.captured >= 0).all() and (found.offset + found.captured <= len(found.buffer)).all()
            assert (abs(found.time) < 2**62).all()
            at, steps = found.end, steps + 1
            walker = Walker.resume(walker.extra())
            assert steps < 1000
    finally:
        os.close(handle)


def test_a_file_is_never_held_whole(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are bounded, and blocks that cross their ends, or are larger than one, are read all the same."""
    monkeypatch.setattr(module, "SMALLEST", 4096)
    monkeypatch.setattr(module, "WINDOW", 4096)
    monkeypatch.setattr(module, "LARGEST_BLOCK", 64 * 1024)
    sizes: list[int] = []
    real = module.read_window
    monkeypatch.setattr(module, "read_window", lambda h, o, s: sizes.append(s) or real(h, o, s))
    raw = make.section() + make.interface()
    for number in range(30):
        raw += make.enhanced(T + number, bytes([number]) * (number * 997 % 6000))
        raw += make.block("<", 0x0BAD, bytes(number * 1009 % 20_000))
    path = tmp_path / "a.pcapng"
    path.write_bytes(raw)
    rows, torn = _walk(path, 1)
    assert [row[1] for row in rows] == [T + number for number in range(30)] and not torn
    assert max(sizes) <= 64 * 1024 < len(raw)


def test_a_packet_of_an_unknown_interface_is_counted(tmp_path: Path, make: Any) -> None:
    """It is left out, counted, and the packets after it are read."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(make.section() + make.interface() + make.enhanced(T, b"x", "<", 9) + make.enhanced(T, b"y"))
    handle = os.open(path, os.O_RDONLY)
    found = Walker().read(handle, 0, path.stat().st_size, 10, final=True)
    os.close(handle)
    assert found.bad_interface == 1 and len(found.offset) == 1
