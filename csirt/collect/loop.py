"""The thread of a receiver that has connections: one round after the other over what has something to read."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from csirt.clock import Clock
from csirt.collect.segments import SegmentWriter
from csirt.collect.stats import Stats
from csirt.collect.streams import Framer, Stream, Streams

WAIT = 0.25
DRAIN = 2.0  # seconds for taking what has arrived at the end


class StreamLoop(ABC):
    """Takes connections, and what else its sockets bring, until stopped; `run` is the body of one thread. A receiver
    says how messages begin and end (`framer`), and what becomes of them (`_messages`, `_flush`)."""

    def __init__(
        self,
        opened: list[socket.socket],
        writer: SegmentWriter,
        stats: Stats,
        clock: Clock,
        framer: Callable[[], Framer],
        context: ssl.SSLContext | None,
    ) -> None:
        self._sockets, self._writer, self._stats, self._clock = opened, writer, stats, clock
        self._stop = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._streams = Streams(self._selector, stats, clock, framer, self._messages, self._stop, context)

    @abstractmethod
    def prepare(self, buffer: int, *, kept: bool = False) -> None:
        """Size the buffers, say what was granted, and `_watch`. `kept`: see `DatagramLoop.prepare`."""

    @abstractmethod
    def count_kernel(self) -> None:
        """Read what the kernel dropped into the stats; called each second by the writer's side thread."""

    @abstractmethod
    def _messages(self, stream: Stream, messages: list[Any]) -> None:
        """Keep what a connection brought."""

    @abstractmethod
    def _flush(self) -> None:
        """Write what is kept."""

    def _ready(self, opened: socket.socket) -> None:
        """Something waits at one of our own sockets."""
        self._streams.accept(opened)

    def run(self) -> None:
        """Receive until `stop`, then take what has already arrived. Raises SpoolFailed."""
        while not self._stop.is_set():
            self._turn(WAIT)
        deadline = self._clock.monotonic() + DRAIN
        while self._turn(0.0) and self._clock.monotonic() < deadline:
            pass
        self._streams.close()
        self._flush()
        self._selector.close()

    def stop(self) -> None:
        """Ask `run` to finish."""
        self._stop.set()

    def _watch(self) -> None:
        for item in self._sockets:
            item.setblocking(False)
            self._selector.register(item, selectors.EVENT_READ)

    def _turn(self, wait: float) -> bool:
        """One round over the sockets that have something; whether anything was received."""
        before = self._stats.bytes
        for key, _ in self._selector.select(wait):
            opened = key.fileobj
            assert isinstance(opened, socket.socket)
            if isinstance(key.data, Stream):
                self._streams.ready(key.data)
            else:
                self._ready(opened)
        self._streams.sweep()
        self._flush()
        self._writer.tick()
        return self._stats.bytes != before
