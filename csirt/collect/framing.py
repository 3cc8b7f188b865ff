"""Datagrams to pcapng blocks without copying their payload.

Every datagram is received into a slot with room before the payload for a block header and synthesised IP and UDP
headers, and after it for padding and the block's trailer. Headers of a whole batch are filled in by column, and the
slots are handed to one gathered write. No compiled kernel: a collector starts at once and needs no executable memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PAYLOAD = 76  # where a payload starts in its slot: block header 28, IPv6 40, UDP 8
MAX_PAYLOAD = 65_536
SLOT = PAYLOAD + MAX_PAYLOAD + 8 + 1_100  # not a power of two: slots would share the same few cache lines
UDP, UDP_HEADER = 17, 8
MAPPED = np.frombuffer(bytes(10) + b"\xff\xff", np.uint8)

_BLOCK = [(name, "<u4") for name in ("type", "total", "interface", "high", "low", "captured", "original")]
_PORTS = [("sport", "V2"), ("dport", ">u2"), ("udp_length", ">u2"), ("udp_sum", ">u2")]
# draft-ietf-opsawg-pcapng, 4.3; RFC 791, RFC 8200, RFC 768
BLOCK4 = np.dtype([
    *_BLOCK, ("version", ">u2"), ("length", ">u2"), ("id", ">u2"), ("fragment", ">u2"), ("ttl", "u1"),
    ("protocol", "u1"), ("sum", ">u2"), ("source", "V4"), ("destination", "V4"), *_PORTS,
])  # fmt: skip
BLOCK6 = np.dtype([
    *_BLOCK, ("version", ">u4"), ("length", ">u2"), ("next", "u1"), ("hops", "u1"), ("source", "V16"),
    ("destination", "V16"), *_PORTS,
])  # fmt: skip
START4, START6 = PAYLOAD - BLOCK4.itemsize, PAYLOAD - BLOCK6.itemsize


def _told(length: Array) -> Array:
    """What a header says of a length: 0 where 16 bits cannot hold it (an IPFIX message of a stream that is longer than
    a datagram can be). Readers then go by what was captured, as they do for segments a network card will cut."""
    return np.where(length > 0xFFFF, 0, length) if length.max(initial=0) > 0xFFFF else length


class Slots:
    """`count` slots and their headers as columns."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.memory: Array = np.zeros(count * SLOT, np.uint8)  # untouched pages cost nothing
        self._view = memoryview(self.memory.data)
        self._rows = np.arange(count, dtype=np.int64) * SLOT
        self._four = np.ndarray((count,), BLOCK4, self.memory.data, START4, (SLOT,))
        self._six = np.ndarray((count,), BLOCK6, self.memory.data, START6, (SLOT,))
        self._same4, self._told4 = 0, (b"", 0)  # so many slots have the constant parts of IPv4 headers to there

    def payload(self, row: int) -> memoryview:
        """Where datagram `row` is to be received."""
        start = row * SLOT + PAYLOAD
        return self._view[start : start + MAX_PAYLOAD]

    def address(self) -> int:
        """The address of the first slot's payload in memory."""
        return int(self.memory.ctypes.data) + PAYLOAD

    def frame(
        self, lengths: Array, names: Array, time: int, destination: bytes, port: int
    ) -> tuple[list[memoryview], int]:
        """Blocks of the first `len(lengths)` slots, ready for a gathered write, and their size in bytes.

        `names`: uint8, a sockaddr_in or sockaddr_in6 per row, all of one family. `time`: microseconds.
        `destination`: the socket's own address (4 or 16 bytes); IPv4 exporters on an IPv6 socket are framed as IPv4.
        """
        begin, total = self._fill(lengths, names, time, destination, port)
        view = self._view
        stops = (begin + total).tolist()
        return [view[a:b] for a, b in zip(begin.tolist(), stops, strict=True)], int(total.sum())

    def vectors(self, lengths: Array, names: Array, time: int, destination: bytes, port: int) -> tuple[Array, int]:
        """The same as rows of address and size."""
        begin, total = self._fill(lengths, names, time, destination, port)
        rows = np.empty((len(lengths), 2), np.uint64)
        rows[:, 0], rows[:, 1] = begin + int(self.memory.ctypes.data), total
        return rows, int(total.sum())

    def _fill(self, lengths: Array, names: Array, time: int, destination: bytes, port: int) -> tuple[Array, Array]:
        """Write the headers and trailers; where each block begins and how long it is."""
        count = len(lengths)
        starts = np.full(count, START4, np.int64)
        if names[0, 0] == 10:  # AF_INET6
            six = ~(names[:, 8:20] == MAPPED).all(axis=1)
            starts[six] = START6
            self._same4 = 0
            four4 = np.flatnonzero(~six)
            self._fill4(four4, lengths, names[:, 20:24], names[:, 2:4], time, bytes(4), port)
            self._fill6(np.flatnonzero(six), lengths, names, time, destination, port)
        else:
            self._fill4(slice(0, count), lengths, names[:, 4:8], names[:, 2:4], time, destination, port)
        captured = PAYLOAD - starts - 28 + lengths
        total = 32 + captured + (-captured & 3)
        begin = self._rows[:count] + starts
        end = self._rows[:count] + PAYLOAD + lengths
        self.memory[end[:, None] + np.arange(3)] = 0
        trailer = total.astype("<u4").view(np.uint8).reshape(count, 4)
        self.memory[(begin + total - 4)[:, None] + np.arange(4)] = trailer
        return begin, total

    def _common(self, rows: Any, blocks: Array, headers: int, lengths: Array, time: int) -> Array:
        chosen: Array = lengths[rows]
        captured = chosen + headers
        fields = blocks
        fields["total"][rows] = 32 + captured + (-captured & 3)
        fields["high"][rows], fields["low"][rows] = time >> 32, time & 0xFFFF_FFFF
        fields["captured"][rows] = fields["original"][rows] = captured
        fields["udp_length"][rows] = _told(chosen + UDP_HEADER)
        return chosen

    def _constant(self, rows: Any, fields: Array, destination: bytes, port: int) -> None:
        """What is the same in all blocks of a family."""
        fields["type"][rows], fields["interface"][rows], fields["dport"][rows] = 6, 0, port
        fields["destination"][rows] = np.frombuffer(destination, f"V{len(destination)}")[0]

    def _constant4(self, rows: Any, destination: bytes, port: int) -> None:
        fields = self._four
        if isinstance(rows, slice):  # a slot keeps what nobody writes over
            known = self._same4 if self._told4 == (destination, port) else 0
            self._same4, self._told4 = max(known, rows.stop), (destination, port)
            if known >= rows.stop:
                return
            rows = slice(known, rows.stop)
        self._constant(rows, fields, destination, port)
        fields["version"][rows], fields["id"][rows], fields["fragment"][rows] = 0x4500, 0, 0x4000
        fields["ttl"][rows], fields["protocol"][rows], fields["udp_sum"][rows] = 64, UDP, 0

    def _fill4(
        self, rows: Any, lengths: Array, source: Array, sport: Array, time: int, destination: bytes, port: int
    ) -> None:
        fields = self._four
        chosen = self._common(rows, fields, 28, lengths, time)
        if not len(chosen):
            return
        self._constant4(rows, destination, port)
        sources = np.ascontiguousarray(source[rows] if not isinstance(rows, slice) else source)
        told = _told(chosen + 28)
        fields["length"][rows] = told
        fields["source"][rows] = sources.view("V4").reshape(-1)
        fields["sport"][rows] = np.ascontiguousarray(sport[rows]).view("V2").reshape(-1)
        words = sources.view(">u2").reshape(-1, 2).astype(np.int64)
        words = words.sum(axis=1) + np.frombuffer(destination, ">u2").sum(dtype=np.int64)
        words += 0x4500 + 0x4000 + (64 << 8 | UDP) + told
        words = (words & 0xFFFF) + (words >> 16)
        fields["sum"][rows] = 0xFFFF - ((words & 0xFFFF) + (words >> 16))

    def _fill6(self, rows: Array, lengths: Array, names: Array, time: int, destination: bytes, port: int) -> None:
        fields = self._six
        chosen = self._common(rows, fields, 48, lengths, time)
        if not len(chosen):
            return
        self._constant(rows, fields, destination, port)
        sources = np.ascontiguousarray(names[rows, 8:24])
        fields["version"][rows], fields["next"][rows], fields["hops"][rows] = 0x6000_0000, UDP, 64
        fields["length"][rows] = _told(chosen + UDP_HEADER)
        fields["source"][rows] = sources.view("V16").reshape(-1)
        fields["sport"][rows] = np.ascontiguousarray(names[rows, 2:4]).view("V2").reshape(-1)
        sums = sources.view(">u2").reshape(-1, 8).astype(np.int64).sum(axis=1)
        sums += (
            int(np.frombuffer(destination, ">u2").sum(dtype=np.int64))
            + UDP
            + chosen
            + UDP_HEADER
            + _told(chosen + UDP_HEADER)
            + port
        )
        sums += np.ascontiguousarray(names[rows, 2:4]).view(">u2").reshape(-1)
        sums += np.fromiter((self._sum(row, lengths) for row in rows.tolist()), np.int64, len(rows))
        folded = 0xFFFF - sums % 0xFFFF
        fields["udp_sum"][rows] = np.where(folded == 0, 0xFFFF, folded)

    def _sum(self, row: int, lengths: Array) -> int:
        """The payload's sum of 16-bit words modulo 65,535: the ones' complement sum (RFC 1071) by one division."""
        length = int(lengths[row])
        start = row * SLOT + PAYLOAD
        value = int.from_bytes(self._view[start : start + length], "big")
        return (value << 8 if length & 1 else value) % 0xFFFF
