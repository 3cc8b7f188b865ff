"""Datagrams become pcapng blocks with headers any reader accepts."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.collect.framing import Slots
from csirt.collect.gathered import Vectors
from csirt.collect.mmsg import NAME


def _sum(data: bytes) -> int:
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _name(address: str, port: int, family: int) -> bytes:
    raw = struct.pack("=H", family) + struct.pack(">H", port)
    packed = ipaddress.ip_address(address).packed
    if family == socket.AF_INET6:
        packed = packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed
        return (raw + bytes(4) + packed).ljust(NAME, b"\0")
    return (raw + packed).ljust(NAME, b"\0")


def _joined(vectors: Vectors) -> bytes:
    return b"".join(ctypes.string_at(address, length) for address, length in vectors.rows.tolist())


def _frame(senders: list[tuple[str, int, bytes]], family: int, own: bytes) -> bytes:
    slots = Slots(len(senders))
    slots.memory[:] = 0xEE  # what an earlier datagram left behind
    for row, (_, _, payload) in enumerate(senders):
        slots.payload(row)[: len(payload)] = payload
    names = np.frombuffer(b"".join(_name(a, p, family) for a, p, _ in senders), np.uint8).reshape(-1, NAME)
    lengths = np.array([len(payload) for _, _, payload in senders], np.int64)
    vectors, size = slots.vectors(lengths, names, 1_700_000_000_123_456, own, 2055)
    raw = _joined(vectors)
    assert len(raw) == size
    return raw


_PAYLOAD = st.binary(max_size=300)
_FOUR = st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n)))
_SIX = st.integers(2**100, 2**128 - 1).map(lambda n: str(ipaddress.IPv6Address(n)))
_PORT = st.integers(0, 65535)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_FOUR, _PORT, _PAYLOAD), min_size=1, max_size=6))
def test_ipv4_frames_are_whole(senders: list[tuple[str, int, bytes]]) -> None:
    """Address, ports, lengths and header checksum of every IPv4 frame are right, the payload untouched."""
    raw = _frame(senders, socket.AF_INET, socket.inet_aton("127.0.0.1"))
    at = 0
    for address, port, payload in senders:
        total = struct.unpack_from("<I", raw, at + 4)[0]
        high, low, captured, original = struct.unpack_from("<IIII", raw, at + 12)
        assert (high << 32 | low, captured, original) == (1_700_000_000_123_456, len(payload) + 28, len(payload) + 28)
        packet = raw[at + 28 : at + 28 + captured]
        assert _sum(packet[:20]) == 0xFFFF
        assert packet[12:16] == socket.inet_aton(address)
        assert struct.unpack_from(">HHHH", packet, 20) == (port, 2055, len(payload) + 8, 0)
        assert packet[28:] == payload
        assert raw[at + 28 + captured : at + total - 4] == bytes(-captured % 4)
        at += total
    assert at == len(raw)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.one_of(_FOUR, _SIX), _PORT, _PAYLOAD), min_size=1, max_size=6))
def test_a_dual_socket_frames_both_families(senders: list[tuple[str, int, bytes]]) -> None:
    """On an IPv6 socket IPv6 exporters get IPv6 headers with a valid UDP checksum (never 0), IPv4 ones IPv4 headers."""
    own = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    raw = _frame(senders, socket.AF_INET6, own)
    at = 0
    for address, port, payload in senders:
        total, captured = struct.unpack_from("<I", raw, at + 4)[0], struct.unpack_from("<I", raw, at + 20)[0]
        packet = raw[at + 28 : at + 28 + captured]
        if ":" in address:
            assert packet[8:24] == ipaddress.ip_address(address).packed and packet[24:40] == own
            assert packet[48:] == payload and struct.unpack_from(">H", packet, 40)[0] == port
            pseudo = packet[8:40] + struct.pack(">II", len(payload) + 8, 17)
            assert _sum(pseudo + packet[40:]) == 0xFFFF and packet[46:48] != b"\0\0"
        else:
            assert _sum(packet[:20]) == 0xFFFF and packet[12:16] == socket.inet_aton(address)
            assert packet[28:] == payload
        at += total
    assert at == len(raw)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.tuples(_FOUR, _PORT, _PAYLOAD), min_size=1, max_size=5), st.booleans(), _FOUR, _PORT),
        min_size=2,
        max_size=5,
    )
)
def test_slots_are_used_again(batches: list[tuple[list[tuple[str, int, bytes]], bool, str, int]]) -> None:
    """Whatever the slots held before, a batch is framed as in fresh ones."""
    used = Slots(5)
    for senders, dual, own, port in batches:
        family = socket.AF_INET6 if dual else socket.AF_INET
        host = bytes(16) if dual else socket.inet_aton(own)
        names = np.frombuffer(b"".join(_name(a, p, family) for a, p, _ in senders), np.uint8).reshape(-1, NAME)
        lengths = np.array([len(payload) for _, _, payload in senders], np.int64)
        framed = []
        for slots in (Slots(5), used):
            for row, (_, _, payload) in enumerate(senders):
                slots.payload(row)[: len(payload)] = payload
            vectors, size = slots.vectors(lengths, names, 1, host, port)
            framed.append(_joined(vectors))
        assert framed[0] == framed[1] and len(framed[0]) == size


def test_the_largest_datagram_fits(read_blocks: Callable[[bytes], list[bytes]]) -> None:
    """65,507 bytes of payload, the most IPv4 can carry, are framed whole."""
    payload = bytes(range(256)) * 255 + bytes(227)
    raw = _frame([("10.0.0.1", 9, payload)], socket.AF_INET, bytes(4))
    assert read_blocks(raw)[0][28:] == payload and len(payload) == 65_507
