"""TCP connections of senders, with TLS or without: accepted within limits, read without waiting for anybody, and ended
when they are silent, hang in the middle of a message, or send what they should not."""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from csirt.clock import Clock
from csirt.collect.stats import Stats

LOG = logging.getLogger("csirt.collect")
MAX_CONNECTIONS = 1024
MAX_PER_ADDRESS = 64
IDLE = 3600.0  # seconds; a relay may be silent for a night's hour
HANDSHAKE = 10.0  # seconds for the whole of a TLS handshake
STALLED = 60.0  # seconds for the rest of a message, where half a message is of no use
READ = 256 * 1024
READS = 16  # of one connection per turn, so that the others get theirs: a TLS record holds 16 KiB at most
ADDRESSES = 100_000
_WAIT = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Framer(Protocol):
    """One connection's messages. `broken`: the bytes cannot be what they should be, the connection is of no use.
    `begun`: a message is unfinished, and of no use unless its rest comes soon."""

    broken: bool

    @property
    def begun(self) -> bool:
        """Whether the rest of a message is waited for."""

    def feed(self, data: bytes) -> list[Any]:
        """The messages these bytes complete."""

    def finish(self) -> list[Any]:
        """The end of the connection: what of the unfinished message is worth keeping."""


@dataclass
class Stream:
    """One connection. `address`: 16 bytes, IPv4 in the first four; `family`: 4 or 6; `own`: where it was accepted."""

    connection: socket.socket
    peer: Any
    own: socket.socket
    address: bytes
    family: int
    framer: Framer
    active: float
    shaking: bool = False
    began: float | None = None  # when the unfinished message was first seen


class Streams:
    """The connections of one receive loop. `keep` gets the messages of a connection as they are complete."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        stats: Stats,
        clock: Clock,
        framer: Callable[[], Framer],
        keep: Callable[[Stream, list[Any]], None],
        stop: threading.Event,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._selector, self._stats, self._clock, self._stop = selector, stats, clock, stop
        self._framer, self._keep, self._context = framer, keep, context
        self._open: dict[int, Stream] = {}
        self._known: dict[str, tuple[bytes, int]] = {}
        self._swept = clock.monotonic()

    def accept(self, listening: socket.socket) -> None:
        """Take a connection, or refuse it."""
        try:
            connection, peer = listening.accept()
        except OSError as error:  # no descriptor left: it stays in the queue, and we must not spin on it
            LOG.warning("accept: %s", error)
            self._stats.refused += 1
            self._stop.wait(0.05)
            return
        packed, family = self.address(peer[0])
        same = sum(1 for stream in self._open.values() if stream.address == packed)
        if len(self._open) >= MAX_CONNECTIONS or same >= MAX_PER_ADDRESS:
            self._stats.refused += 1
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._context is not None:
            try:
                connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            except OSError:  # already gone
                connection.close()
                return
        now = self._clock.monotonic()
        stream = Stream(connection, peer, listening, packed, family, self._framer(), now, self._context is not None)
        self._open[connection.fileno()] = stream
        self._selector.register(connection, selectors.EVENT_READ, stream)
        self._stats.connections = len(self._open)

    def ready(self, stream: Stream) -> None:
        """A connection has something: a step of its handshake, or bytes."""
        if stream.shaking and not self._shake(stream):
            return
        for _ in range(READS):
            try:
                data = stream.connection.recv(READ)
            except _WAIT:
                return
            except OSError:  # reset, or bytes that are no TLS
                data = b""
            if not data:
                self._end(stream)
                return
            if not self._take(stream, data):
                return
            if isinstance(stream.connection, ssl.SSLSocket) or len(data) == READ:
                continue
            return

    def sweep(self) -> None:
        """End what is silent for too long, or hangs; call it each turn."""
        now = self._clock.monotonic()
        if now - self._swept < min(IDLE / 4, 1.0):
            return
        self._swept = now
        for stream in list(self._open.values()):
            if stream.shaking and now - stream.active > HANDSHAKE:
                self._end(stream, "handshake")
            elif stream.began is not None and now - stream.began > STALLED:
                self._end(stream, "stalled")
            elif now - stream.active > IDLE:
                self._end(stream, "idle")

    def close(self) -> None:
        """End every connection."""
        for stream in list(self._open.values()):
            self._end(stream)

    def address(self, text: str) -> tuple[bytes, int]:
        """(16 bytes, family) of a sender; IPv4 over an IPv6 socket is IPv4."""
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

    def _shake(self, stream: Stream) -> bool:
        """One step of the handshake; whether it is done. It has a time limit as a whole."""
        assert isinstance(stream.connection, ssl.SSLSocket)
        try:
            stream.connection.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(stream.connection, selectors.EVENT_READ, stream)
        except ssl.SSLWantWriteError:
            self._selector.modify(stream.connection, selectors.EVENT_WRITE, stream)
        except OSError as error:
            LOG.info(
                "%s: no TLS with %s: %s", self._stats.source, stream.peer[0], error.strerror or type(error).__name__
            )
            self._end(stream, "handshake")
        else:
            self._selector.modify(stream.connection, selectors.EVENT_READ, stream)
            stream.shaking, stream.active = False, self._clock.monotonic()
            return True
        return False

    def _take(self, stream: Stream, data: bytes) -> bool:
        """Keep what the bytes complete; whether the connection goes on."""
        now = stream.active = self._clock.monotonic()
        self._stats.bytes += len(data)
        messages = stream.framer.feed(data)
        if messages:
            self._keep(stream, messages)
        if stream.framer.broken:
            self._end(stream, "not_ipfix")
            return False
        if not stream.framer.begun:
            stream.began = None
        elif messages or stream.began is None:
            stream.began = now
        return True

    def _end(self, stream: Stream, reason: str = "") -> None:
        """The connection is over. `reason`: why we end it."""
        if reason:
            self._stats.close(reason)
            LOG.info("%s: closed the connection of %s: %s", self._stats.source, stream.peer[0], reason)
        self._keep(stream, stream.framer.finish())
        self._open.pop(stream.connection.fileno(), None)
        self._selector.unregister(stream.connection)
        stream.connection.close()
        self._stats.connections = len(self._open)
