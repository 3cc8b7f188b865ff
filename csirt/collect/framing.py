"""Datagrams to pcapng blocks without copying their payload.

Every datagram is received into a slot with room before the payload for a block header and synthesised IP and UDP
headers, and after it for padding and the block's trailer. Headers of a whole batch are made by column, and the slots
are handed to one gathered write. No compiled kernel: a collector starts at once and needs no executable memory.
"""

from __future__ import annotations

import contextlib
import mmap

import numpy as np

from csirt.collect.gathered import Array, Vectors

Rows = slice | Array
PAYLOAD = 76  # where a payload starts in its slot: block header 28, IPv6 40, UDP 8
MAX_PAYLOAD = 65_536
SLOT = PAYLOAD + MAX_PAYLOAD + 8 + 1_100  # not a power of two: slots would share the same few cache lines
UDP, UDP_HEADER = 17, 8
BLOCK_HEADER, INET6, ONES = 28, 10, 0xFFFF
ANY4 = bytes(4)
MAPPED = np.frombuffer(bytes(10) + b"\xff\xff", np.uint32)
# What is payload of its last word, by its length modulo four; the rest is padding.
KEPT = np.frombuffer(b"\xff\xff\xff\xff\xff\0\0\0\xff\xff\0\0\xff\xff\xff\0", "<u4")

# Addresses, senders' ports and the IPv4 header's sum are as they are in memory, whatever the machine's order.
_BLOCK = [("type", "<u4"), ("total", "<u4"), ("interface", "<u4"), ("time", "<u8"), ("sizes", "<u4", 2)]
_PORTS = [("sport", "=u2"), ("dport", ">u2"), ("udp_length", ">u2"), ("udp_sum", ">u2")]
# draft-ietf-opsawg-pcapng, 4.3; RFC 791, RFC 8200, RFC 768
BLOCK4 = np.dtype([
    *_BLOCK, ("version", ">u2"), ("length", ">u2"), ("id", ">u2"), ("fragment", ">u2"), ("ttl", "u1"),
    ("protocol", "u1"), ("sum", "=u2"), ("source", "=u4"), ("destination", "=u4"), *_PORTS,
])  # fmt: skip
BLOCK6 = np.dtype([
    *_BLOCK, ("version", ">u4"), ("length", ">u2"), ("next", "u1"), ("hops", "u1"), ("source", "V16"),
    ("destination", "V16"), *_PORTS,
])  # fmt: skip
HEADERS4, HEADERS6 = BLOCK4.itemsize - BLOCK_HEADER, BLOCK6.itemsize - BLOCK_HEADER


def _told(length: Array) -> Array:
    """What a header says of a length: 0 where 16 bits cannot hold it (an IPFIX message of a stream that is longer than
    a datagram can be). Readers then go by what was captured, as they do for segments a network card will cut."""
    return np.where(length > ONES, 0, length)


class _Heads4:
    """What lies before the payload of an IPv4 datagram to one address and port, by the payload's length. `sum` is that
    of all but the sender's address, less one."""

    def __init__(self, destination: bytes, port: int) -> None:
        self._to = destination, port
        self._made = np.zeros(MAX_PAYLOAD + 1, BLOCK4)  # untouched pages cost nothing
        self._octets = self._made.view(f"V{BLOCK4.itemsize}")  # are copied more quickly than columns
        self._known = np.zeros(MAX_PAYLOAD + 1, np.bool_)

    def of(self, lengths: Array) -> Array:
        """A copy for each datagram."""
        if not self._known[lengths].all():
            self._make(np.unique(lengths))
        return self._octets.take(lengths).view(BLOCK4)

    def _make(self, lengths: Array) -> None:
        destination, port = self._to
        heads = np.zeros(len(lengths), BLOCK4)
        _measure(heads, lengths, HEADERS4)
        heads["dport"], heads["destination"] = port, np.frombuffer(destination, np.uint32)[0]
        heads["version"], heads["fragment"], heads["ttl"], heads["protocol"] = 0x4500, 0x4000, 64, UDP
        heads["length"] = _told(lengths + HEADERS4)
        words = np.ascontiguousarray(heads.view(np.uint16).reshape(len(lengths), -1)[:, BLOCK_HEADER // 2 :][:, :10])
        heads["sum"] = (words.sum(axis=1, dtype=np.int64) - 1) % ONES
        self._made[lengths], self._known[lengths] = heads, True


def _measure(heads: Array, lengths: Array, headers: int) -> None:
    """Fill in what both families say of a payload's length, and the block's type."""
    captured = lengths + headers
    heads["type"], heads["total"] = 6, (captured + BLOCK_HEADER + 4 + 3) & -4
    heads["sizes"] = captured[:, None]
    heads["udp_length"] = _told(lengths + UDP_HEADER)


class _Fronts:
    """Where the headers of one family go in all slots, where they begin in memory, and which word lies before them."""

    def __init__(self, memory: Array, count: int, size: int) -> None:
        start = PAYLOAD - size
        self.heads: Array = np.ndarray((count,), f"V{size}", memory.data, start, (SLOT,))
        begin = np.arange(count, dtype=np.int64) * SLOT + start
        self.begin, self.before = begin + memory.ctypes.data, begin // 4 - 1


class Slots:
    """`count` slots, which are filled and written again and again."""

    def __init__(self, count: int) -> None:
        self.count = count
        # A page costs nothing until it is touched, and of most slots one is. Huge pages would all be.
        memory = mmap.mmap(-1, count * SLOT, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError, AttributeError):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        self._view = memoryview(memory)
        self.memory: Array = np.frombuffer(memory, np.uint8)
        self._words = self.memory.view("<u4")
        self._fronts4 = _Fronts(self.memory, count, BLOCK4.itemsize)
        self._fronts6 = _Fronts(self.memory, count, BLOCK6.itemsize)
        self._heads4: dict[tuple[bytes, int], _Heads4] = {}
        self._vectors = Vectors.of(np.zeros((count, 2), np.uint64))

    def payload(self, row: int) -> memoryview:
        """Where datagram `row` is to be received."""
        start = row * SLOT + PAYLOAD
        return self._view[start : start + MAX_PAYLOAD]

    def address(self) -> int:
        """The address of the first slot's payload in memory."""
        return int(self.memory.ctypes.data) + PAYLOAD

    def vectors(self, lengths: Array, names: Array, time: int, destination: bytes, port: int) -> tuple[Vectors, int]:
        """Blocks of the first `len(lengths)` slots for a gathered write, and their size in bytes. They hold until the
        slots are used again.

        `names`: uint8, a sockaddr_in or sockaddr_in6 per row, all of one family. `time`: microseconds.
        `destination`: the socket's own address (4 or 16 bytes); IPv4 exporters on an IPv6 socket are framed as IPv4.
        """
        count = len(lengths)
        stamp = (time & 0xFFFF_FFFF) << 32 | time >> 32
        words = names.view(np.uint32)
        if names.view(np.uint16)[0, 0] != INET6:
            self._fill4(slice(0, count), lengths, words, 1, stamp, destination, port)
        elif (four := (words[:, 2:5] == MAPPED).all(axis=1)).all():
            self._fill4(slice(0, count), lengths, words, 5, stamp, ANY4, port)
        else:
            mapped, rest = np.flatnonzero(four), np.flatnonzero(~four)
            self._fill4(mapped, lengths[mapped], words[mapped], 5, stamp, ANY4, port)
            self._fill6(rest, lengths[rest], names[rest], stamp, destination, port)
        vectors = self._vectors.first(count)
        return vectors, int(vectors.rows[:, 1].sum())

    def _fill4(
        self, rows: Rows, lengths: Array, words: Array, source: int, stamp: int, destination: bytes, port: int
    ) -> None:
        """`source`: which of a name's words is the sender's address."""
        known = self._heads4.get((destination, port))
        if known is None:
            known = self._heads4[destination, port] = _Heads4(destination, port)
        heads, senders = known.of(lengths), words[:, source]
        heads["time"], heads["source"], heads["sport"] = stamp, senders, words.view(np.uint16)[:, 1]
        # The ones' complement sum of 16-bit words (RFC 1071) is the rest of their sum by 65,535, or 65,535 where there
        # is none. A word of 32 bits has the same rest as its halves, and the order of octets is no matter.
        sums = np.add(heads["sum"], senders, dtype=np.int64)
        sums %= ONES
        heads["sum"] = ONES - 1 - sums
        self._put(rows, lengths, heads, self._fronts4)

    def _fill6(self, rows: Array, lengths: Array, names: Array, stamp: int, destination: bytes, port: int) -> None:
        heads = np.zeros(len(rows), BLOCK6)
        _measure(heads, lengths, HEADERS6)
        sources, ports = np.ascontiguousarray(names[:, 8:24]), np.ascontiguousarray(names[:, 2:4])
        behind = _told(lengths + UDP_HEADER)
        heads["time"], heads["version"], heads["next"], heads["hops"] = stamp, 0x6000_0000, UDP, 64
        heads["length"], heads["dport"], heads["destination"] = behind, port, np.frombuffer(destination, "V16")[0]
        heads["source"], heads["sport"] = sources.view("V16").reshape(-1), ports.view(np.uint16).reshape(-1)
        sums = sources.view(">u2").sum(axis=1, dtype=np.int64) + ports.view(">u2").reshape(-1)
        sums += int(np.frombuffer(destination, ">u2").sum(dtype=np.int64)) + UDP + port
        sums += lengths + UDP_HEADER + behind
        sums += np.fromiter(map(self._sum, rows.tolist(), lengths.tolist()), np.int64, len(rows))
        heads["udp_sum"] = ONES - sums % ONES  # never 0, which is to say that there is no sum
        self._put(rows, lengths, heads, self._fronts6)

    def _put(self, rows: Rows, lengths: Array, heads: Array, fronts: _Fronts) -> None:
        """Headers before the payloads, padding and trailers behind them, and where each block is."""
        fronts.heads[rows] = heads.view(fronts.heads.dtype)
        total = heads["total"]
        last = fronts.before[rows] + (total >> 2)
        odd = lengths & 3
        if odd.any():
            self._words[last - 1] &= KEPT[odd]
        self._words[last] = total
        vectors = self._vectors.rows
        vectors[rows, 0], vectors[rows, 1] = fronts.begin[rows], total

    def _sum(self, row: int, length: int) -> int:
        """The payload's sum of 16-bit words modulo 65,535, by one division."""
        start = row * SLOT + PAYLOAD
        value = int.from_bytes(self._view[start : start + length], "big")
        return (value << 8 if length & 1 else value) % ONES
