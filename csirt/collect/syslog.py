"""Syslog over UDP (RFC 5426) and TCP (RFC 6587) into frames segments. What the messages say is not looked at."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import zlib
from dataclasses import dataclass

from csirt.clock import Clock
from csirt.collect import sockets
from csirt.collect.octets import Framer, Message
from csirt.collect.segments import SegmentWriter
from csirt.collect.stats import Stats
from csirt.model import spool as form

LOG = logging.getLogger("csirt.collect")
MAX_CONNECTIONS = 1024
MAX_PER_ADDRESS = 64
IDLE = 3600.0  # seconds; a relay may be silent for a night's hour
READ = 256 * 1024
DATAGRAMS = 1024  # taken per turn, so that streams get theirs
WAIT = 0.25
DRAIN = 2.0  # seconds for taking what has arrived at the end
ADDRESSES = 100_000


@dataclass
class _Stream:
    connection: socket.socket
    address: bytes
    family: int
    framer: Framer
    active: float


def record(message: Message, time: int, address: bytes, family: int, transport: int) -> bytes:
    """One record of a frames segment (`model/spool.py`)."""
    flags = (form.FLAG_CUT if message.cut else 0) | (form.FLAG_PARTIAL if message.partial else 0)
    head = form.RECORD_HEAD.pack(form.RECORD_MAGIC, len(message.data), time, address, family, transport, flags)
    return head + zlib.crc32(message.data, zlib.crc32(head)).to_bytes(4, "little") + message.data


class SyslogLoop:
    """Receives on UDP and TCP sockets until stopped; `run` is the body of one thread."""

    def __init__(self, opened: list[socket.socket], writer: SegmentWriter, stats: Stats, clock: Clock) -> None:
        self._sockets = opened
        self._writer = writer
        self._stats = stats
        self._clock = clock
        self._stop = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._streams: dict[int, _Stream] = {}
        self._known: dict[str, tuple[bytes, int]] = {}
        self._batch: list[bytes] = []
        self._counted: dict[str, int] = {}

    def prepare(self, buffer: int) -> None:
        """Size the UDP receive buffers; make every socket non-blocking."""
        datagram = [item for item in self._sockets if item.type == socket.SOCK_DGRAM]
        granted = [sockets.set_buffer(item, buffer) for item in datagram]
        self._stats.receive_buffer = {"asked": buffer if datagram else 0, "granted": min(granted, default=0)}
        for item in self._sockets:
            item.setblocking(False)
            self._selector.register(item, selectors.EVENT_READ)
            number = sockets.inode(item)
            self._counted[number] = self._stats.sockets.get(number, {}).get("table", 0)

    def run(self) -> None:
        """Receive until `stop`, then take what has already arrived. Raises SpoolFailed."""
        swept = self._clock.monotonic()
        while not self._stop.is_set():
            self._turn(WAIT)
            if self._clock.monotonic() - swept > min(IDLE / 4, 30.0):
                swept = self._clock.monotonic()
                self._sweep(swept)
        deadline = self._clock.monotonic() + DRAIN
        while self._turn(0.0) and self._clock.monotonic() < deadline:
            pass
        for stream in list(self._streams.values()):
            self._end(stream)
        self._flush()
        self._selector.close()

    def stop(self) -> None:
        """Ask `run` to finish."""
        self._stop.set()

    def count_kernel(self) -> None:
        """Read the drops of the UDP sockets from the kernel's table."""
        for item in self._sockets:
            if item.type != socket.SOCK_DGRAM or item.fileno() < 0:
                continue
            number = sockets.inode(item)
            table = sockets.table_drops(number)
            if table is not None:
                self._stats.table += max(table - self._counted.get(number, 0), 0)
                self._counted[number] = table
                self._stats.sockets[number] = {"rxq_ovfl": 0, "table": table}

    def _turn(self, wait: float) -> bool:
        """One round over the sockets that have something; whether anything was received."""
        before = self._stats.bytes
        for key, _ in self._selector.select(wait):
            opened = key.fileobj
            assert isinstance(opened, socket.socket)
            if key.data is not None:
                self._read(key.data)
            elif opened.type == socket.SOCK_DGRAM:
                self._datagrams(opened)
            else:
                self._accept(opened)
        self._flush()
        self._writer.tick()
        return self._stats.bytes != before

    def _datagrams(self, opened: socket.socket) -> None:
        time = self._clock.now()
        for _ in range(DATAGRAMS):
            try:
                data, address = opened.recvfrom(65_536)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an ICMP error of an earlier peer: not ours to die of
                LOG.debug("udp: %s", error)
                return
            self._stats.bytes += len(data)
            packed, family = self._address(address[0])
            self._keep(Message.of(data), time, packed, family, socket.IPPROTO_UDP)

    def _accept(self, opened: socket.socket) -> None:
        try:
            connection, address = opened.accept()
        except OSError as error:  # no descriptor left: it stays in the queue, and we must not spin on it
            LOG.warning("accept: %s", error)
            self._stats.refused += 1
            self._stop.wait(0.05)
            return
        packed, family = self._address(address[0])
        same = sum(1 for stream in self._streams.values() if stream.address == packed)
        if len(self._streams) >= MAX_CONNECTIONS or same >= MAX_PER_ADDRESS:
            self._stats.refused += 1
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream = _Stream(connection, packed, family, Framer(), self._clock.monotonic())
        self._streams[connection.fileno()] = stream
        self._selector.register(connection, selectors.EVENT_READ, stream)
        self._stats.connections = len(self._streams)

    def _read(self, stream: _Stream) -> None:
        try:
            data = stream.connection.recv(READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end(stream)
            return
        stream.active = self._clock.monotonic()
        self._stats.bytes += len(data)
        time = self._clock.now()
        for message in stream.framer.feed(data):
            self._keep(message, time, stream.address, stream.family, socket.IPPROTO_TCP)

    def _end(self, stream: _Stream) -> None:
        """The connection is over: what it had begun is kept and marked."""
        time = self._clock.now()
        for message in stream.framer.finish():
            self._keep(message, time, stream.address, stream.family, socket.IPPROTO_TCP)
        self._selector.unregister(stream.connection)
        self._streams.pop(stream.connection.fileno(), None)
        stream.connection.close()
        self._stats.connections = len(self._streams)

    def _sweep(self, now: float) -> None:
        for stream in [item for item in self._streams.values() if now - item.active > IDLE]:
            self._end(stream)
        self._flush()

    def _keep(self, message: Message, time: int, address: bytes, family: int, transport: int) -> None:
        if not message.data:
            return  # an empty line or datagram says nothing
        self._stats.received += 1
        self._stats.cut += message.cut
        self._stats.partial += message.partial
        self._batch.append(record(message, time, address, family, transport))
        if len(self._batch) >= 512:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            data = b"".join(batch)
            self._writer.append([data], len(data), len(batch))

    def _address(self, text: str) -> tuple[bytes, int]:
        """(16 bytes, family); IPv4 over an IPv6 socket is IPv4."""
        known = self._known.get(text)
        if known is None:
            if len(self._known) > ADDRESSES:
                self._known.clear()
            bare = text.partition("%")[0]
            bare = bare.removeprefix("::ffff:") if "." in bare else bare
            if ":" in bare:
                known = socket.inet_pton(socket.AF_INET6, bare), 6
            else:
                known = socket.inet_pton(socket.AF_INET, bare).ljust(16, b"\0"), 4
            self._known[text] = known
        return known
