"""IPFIX over TCP and TLS (RFC 7011, 10.4): each message becomes a datagram of the spool, as if its sender had sent it
by UDP, so that everything behind the spool is one path. What the messages say is not looked at but for their length."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any

import numpy as np

from csirt.clock import Clock
from csirt.collect import mmsg, sockets
from csirt.collect.framing import Slots
from csirt.collect.gathered import Array
from csirt.collect.loop import StreamLoop
from csirt.collect.segments import SegmentWriter
from csirt.collect.stats import Stats
from csirt.collect.streams import Stream

VERSION, HEADER = 10, 16
BATCH = 256


class Messages:
    """One connection's state (`collect.streams.Framer`): less than one message is held."""

    def __init__(self) -> None:
        self.broken = False
        self.partial = 0  # messages the connection ended inside of
        self._held = b""

    @property
    def begun(self) -> bool:
        """Whether the rest of a message is waited for."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[bytes]:
        """Whole messages, up to anything that is none: what follows it cannot be told apart any more."""
        held = b"" if self.broken else self._held + data if self._held else data
        found, at = [], 0
        while len(held) - at >= 4:
            version, length = struct.unpack_from(">HH", held, at)
            if version != VERSION or length < HEADER:
                self.broken, at = True, len(held)
                break
            if len(held) - at < length:
                break
            found.append(held[at : at + length])
            at += length
        self._held = held[at:]
        return found

    def finish(self) -> list[bytes]:
        """Half a message is of no use; it is counted."""
        self.partial, self._held = int(self.begun), b""
        return []


class IpfixLoop(StreamLoop):
    """Takes connections on TCP sockets until stopped; `run` is the body of one thread."""

    def __init__(
        self,
        opened: list[socket.socket],
        writer: SegmentWriter,
        stats: Stats,
        clock: Clock,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(opened, writer, stats, clock, Messages, context)
        self._slots = Slots(BATCH)
        self._lengths: Array = np.zeros(BATCH, np.int64)
        self._names: Array = np.zeros((BATCH, mmsg.NAME), np.uint8)
        self._filled = 0
        self._to: socket.socket | None = None  # the listening socket of what is in the slots

    def prepare(self, buffer: int, *, kept: bool = False) -> None:
        """TCP's receive buffers grow by themselves; make every socket non-blocking."""
        self._stats.sockets = {}
        self._watch()

    def count_kernel(self) -> None:
        """A full buffer holds the sender up; the kernel drops nothing."""

    def _messages(self, stream: Stream, messages: list[Any]) -> None:
        assert isinstance(stream.framer, Messages)
        self._stats.partial += stream.framer.partial
        if not messages:
            return
        if self._to is not stream.own:
            self._flush()
            self._to = stream.own
        name = mmsg.sockaddr(stream.own.family, stream.peer)
        for message in messages:
            self._slots.payload(self._filled)[: len(message)] = message
            self._lengths[self._filled], self._names[self._filled] = len(message), name
            self._filled += 1
            if self._filled == BATCH:
                self._flush()

    def _flush(self) -> None:
        """Write what the slots hold; a full spool drops and counts it, and holds nobody up."""
        count, self._filled = self._filled, 0
        if not count or self._to is None:
            return
        own = sockets.own(self._to)
        vectors, size = self._slots.vectors(self._lengths[:count], self._names[:count], self._clock.now(), *own)
        self._stats.received += count
        self._writer.append(vectors, size, count)
