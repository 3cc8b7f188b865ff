"""Syslog over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425) into frames segments. What the messages say is not
looked at."""

from __future__ import annotations

import logging
import socket
import ssl
import zlib
from typing import Any

from csirt.clock import Clock
from csirt.collect import sockets
from csirt.collect.loop import StreamLoop
from csirt.collect.octets import Framer, Message
from csirt.collect.segments import SegmentWriter
from csirt.collect.stats import Stats
from csirt.collect.streams import Stream
from csirt.model import spool as form

LOG = logging.getLogger("csirt.collect")
DATAGRAMS = 1024  # taken per turn, so that streams get theirs


def record(message: Message, time: int, address: bytes, family: int, transport: int) -> bytes:
    """One record of a frames segment (`model/spool.py`)."""
    flags = (form.FLAG_CUT if message.cut else 0) | (form.FLAG_PARTIAL if message.partial else 0)
    head = form.RECORD_HEAD.pack(form.RECORD_MAGIC, len(message.data), time, address, family, transport, flags)
    return head + zlib.crc32(message.data, zlib.crc32(head)).to_bytes(4, "little") + message.data


class SyslogLoop(StreamLoop):
    """Receives on UDP and TCP sockets until stopped; `run` is the body of one thread."""

    def __init__(
        self,
        opened: list[socket.socket],
        writer: SegmentWriter,
        stats: Stats,
        clock: Clock,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(opened, writer, stats, clock, Framer, context)
        self._batch: list[bytes] = []

    def prepare(self, buffer: int, *, kept: bool = False) -> None:
        """Size the UDP receive buffers; make every socket non-blocking. `kept`: see `DatagramLoop.prepare`."""
        datagram = [item for item in self._sockets if item.type == socket.SOCK_DGRAM]
        granted = [sockets.set_buffer(item, buffer) for item in datagram]
        before = self._stats.sockets if kept else {}
        self._stats.sockets = {
            sockets.inode(item): {"rxq_ovfl": 0, "table": 0, **before.get(sockets.inode(item), {}), "granted": size}
            for item, size in zip(datagram, granted, strict=True)
        }
        self._stats.receive_buffer = {"asked": buffer if datagram else 0, "granted": min(granted, default=0)}
        self._watch()

    def count_kernel(self) -> None:
        """Read the drops of the UDP sockets from the kernel's table."""
        for item in self._sockets:
            if item.type != socket.SOCK_DGRAM or item.fileno() < 0:
                continue
            number = sockets.inode(item)
            table = sockets.table_drops(number)
            if table is not None:
                before = self._stats.sockets[number]
                self._stats.table += sockets.grown(table, before["table"])
                before["table"] = table

    def _ready(self, opened: socket.socket) -> None:
        if opened.type == socket.SOCK_DGRAM:
            self._datagrams(opened)
        else:
            super()._ready(opened)

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
            packed, family = self._streams.address(address[0])
            self._keep(Message.of(data), time, packed, family, socket.IPPROTO_UDP)

    def _messages(self, stream: Stream, messages: list[Any]) -> None:
        time = self._clock.now()
        for message in messages:
            self._keep(message, time, stream.address, stream.family, socket.IPPROTO_TCP)

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
