"""The flow table against a plain-Python oracle, and against chunking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.decode.packets.decoder import PacketDecoder
from csirt.model.batch import Decoded
from tests.decode.packets import frames as f
from tests.decode.packets.oracle import Seen, meter

IDLE = 1000
START = 1_700_000_000_000_000
HOSTS4 = ["10.0.0.1", "10.0.0.2", "192.0.2.7"]
HOSTS6 = ["2001:db8::1", "2001:db8::2", "fe80::1"]


@st.composite
def conversations(draw: Any) -> list[tuple[Seen, bytes]]:
    """Packets between a few hosts and ports, so that flows meet, turn round, fall idle and go back in time."""
    made: list[tuple[Seen, bytes]] = []
    time = START
    for frame in range(draw(st.integers(1, 60))):
        time += draw(st.sampled_from([0, 1, 400, 999, 1000, 1001, 5000, -300]))
        six = draw(st.booleans())
        hosts = HOSTS6 if six else HOSTS4
        source, destination = draw(st.sampled_from(hosts)), draw(st.sampled_from(hosts))
        protocol = draw(st.sampled_from([6, 17, 47]))
        ports = (draw(st.sampled_from([0, 53, 80])), draw(st.sampled_from([0, 53, 80])))
        flags = draw(st.sampled_from([2, 16, 0x18, 0x101])) if protocol == 6 else 0
        payload = bytes(draw(st.integers(0, 9)))
        body = f.tcp(*ports, flags, payload) if protocol == 6 else f.udp(*ports, payload) if protocol == 17 else payload
        packet = (f.ipv6 if six else f.ipv4)(source, destination, protocol, body)
        vlan = draw(st.sampled_from([0, 7]))
        seen = Seen(
            time, source, destination, protocol, ports if protocol != 47 else None, len(packet), flags, vlan, frame
        )
        made.append((seen, f.ethernet(packet, tags=(vlan,) if vlan else ())))
    return made


def decoder() -> PacketDecoder:
    """A decoder with a short idle timeout."""
    return PacketDecoder("cap", idle_timeout_us=IDLE, dissect=[])


def raw(made: list[tuple[Seen, bytes]]) -> list[tuple[int, bytes, int, int]]:
    """The frames of a conversation."""
    return [(seen.time, data, len(data), f.ETHERNET) for seen, data in made]


def comparable(rows: list[dict[str, Any]], like: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the oracle's columns only."""
    return [{name: row[name] for name in like[0]} for row in rows]


@settings(max_examples=150, deadline=None)
@given(conversations(), st.sampled_from([None, 500, 2000]))
def test_equals_the_oracle(made: list[tuple[Seen, bytes]], after: int | None) -> None:
    """Every counter, time, flag, direction and end reason is what a plain-Python meter says, whatever the packets."""
    cut = None if after is None else max(seen.time for seen, _ in made) + after
    result = decoder().decode(f.chunk(f.packets(raw(made), cut=cut, padding=b"\xff\xff")))
    expected = meter([seen for seen, _ in made], idle=IDLE, cut=cut)
    assert comparable(f.rows(result), expected) == expected
    assert (result.entered, result.left, result.held, result.dropped) == (len(made), len(made), 0, {})


@settings(max_examples=80, deadline=None)
@given(conversations(), st.data())
def test_any_chunking_gives_the_same_flows(made: list[tuple[Seen, bytes]], data: Any) -> None:
    """Chunks of one period may be cut anywhere; only the last carries the cut; nothing is held after it."""
    cut = max(seen.time for seen, _ in made) + 1
    whole = decoder().decode(f.chunk(f.packets(raw(made), cut=cut)))
    borders = [*sorted(data.draw(st.sets(st.integers(1, max(len(made) - 1, 1)), max_size=5)) - {len(made)}), len(made)]
    pieces: list[Decoded] = []
    small, begin = decoder(), 0
    for border in borders:
        last = border == len(made)
        part = f.packets(raw(made)[begin:border], first=begin, cut=cut if last else None)
        pieces.append(small.decode(f.chunk(part, last=False)))
        begin = border
    assert f.rows(pieces) == f.rows(whole)
    assert pieces[-1].held == 0
    grown = 0
    for piece in pieces:
        assert piece.entered == piece.left + sum(piece.dropped.values()) + piece.held - grown
        grown = piece.held


def test_the_table_grows_beyond_its_first_size() -> None:
    """Twenty thousand flows at once, each with a packet each way, and a small output buffer: none is lost or merged."""
    made = []
    for turn in range(2):
        for index in range(20_000):
            ends = ("10.0.0.1", f"10.1.{index // 250}.{index % 250}")
            pair = ends if not turn else ends[::-1]
            ports = (40_000, 443) if not turn else (443, 40_000)
            made.append((START + len(made), f.ethernet(f.ipv4(*pair, 6, f.tcp(*ports))), 54, 1))
    flows = f.rows(PacketDecoder("c", idle_timeout_us=10**9, dissect=[]).decode(f.chunk(f.packets(made))))
    assert len(flows) == 20_000
    assert {(row["network.packets"], row["csirt.flow.reverse.packets"]) for row in flows} == {(1, 1)}
    assert [row["csirt.ordinal"] for row in flows] == [frame << 16 for frame in range(20_000)]


def test_many_idle_ends_overflow_the_output_buffer() -> None:
    """More flows end by their idle timeout in one chunk than the output buffer has rows: all come out."""
    data = f.ethernet(f.ipv4("10.0.0.1", "10.0.0.2", 17, f.udp(1, 2)))
    made = [(START + index * (IDLE + 1), data, len(data), 1) for index in range(40_000)]
    flows = f.rows(decoder().decode(f.chunk(f.packets(made))))
    assert len(flows) == 40_000
    assert {row["network.packets"] for row in flows} == {1}


@pytest.mark.parametrize("linktypes", [[1], [0, 1, 12, 101, 113, 228, 229, 276, 147]])
@settings(max_examples=120, deadline=None)
@given(noise=st.lists(st.binary(max_size=90), max_size=12), seed=st.integers(0, 2**32))
def test_random_bytes_never_crash_and_are_counted(linktypes: list[int], noise: list[bytes], seed: int) -> None:
    """Any bytes under any link type end in a flow or in one drop counter: in = out + dropped."""
    generator = np.random.default_rng(seed)
    good = f.ethernet(f.ipv6("2001:db8::1", "2001:db8::2", 0, bytes(40)), tags=(5, 6))
    made = []
    for index, data in enumerate(noise):
        mangled = bytearray(good)
        mangled[generator.integers(len(mangled))] = generator.integers(256)
        frame = data if index % 2 else bytes(mangled[: generator.integers(len(mangled) + 1)])
        made.append((START, frame, len(frame), linktypes[index % len(linktypes)]))
    if not made:
        return
    result = decoder().decode(f.chunk(f.packets(made)))
    assert result.entered == len(made) == result.left + sum(result.dropped.values())
    assert set(result.dropped) <= {"truncated", "not_ip", "malformed", "linktype"}


def test_lying_lengths_never_read_beyond_the_buffer() -> None:
    """Offsets and lengths that point outside the buffer are refused, not followed."""
    data = f.packets([(START, f.ethernet(f.ipv4("10.0.0.1", "10.0.0.2", 17, f.udp(1, 2))), 42, 1)] * 3)
    data.captured = np.array([42, 10**6, 42], np.int64)
    data.offset = np.array([0, 100, -5], np.int64)
    result = decoder().decode(f.chunk(data))
    assert result.left == 1
    assert sum(result.dropped.values()) == 2
