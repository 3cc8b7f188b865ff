"""One configured receiver: sockets, loop, spool and counters, started and stopped as one."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from csirt import config
from csirt.clock import Clock
from csirt.collect import sockets, stats
from csirt.collect.ipfix import IpfixLoop
from csirt.collect.netflow import DatagramLoop
from csirt.collect.segments import Limits, SegmentWriter
from csirt.collect.syslog import SyslogLoop
from csirt.collect.tls import server_context
from csirt.errors import CsirtError
from csirt.metrics import Metrics
from csirt.model import spool as form

Loop = DatagramLoop | IpfixLoop | SyslogLoop

LOG = logging.getLogger("csirt.collect")
STUCK = 5.0  # seconds without a turn of the receive loop: `updated` stands still, and the watchdog is not fed


class Receiver:
    """Fills `<directory>/<source>/` from a listener. The constructor has no side effects.

    `handed`: sockets to take instead of opening `listener.listen`; `kept`: a socket unit keeps them over a restart, as
    it does unless told otherwise. `lane`: which of a listener's workers this is. After a failure of the disk the
    receiver has stopped and `failed` holds the reason; nothing is received any more.
    """

    def __init__(
        self,
        listener: config.Listener,
        spool: config.Spool,
        directory: Path,
        metrics: Metrics,
        clock: Clock,
        *,
        handed: list[socket.socket] | None = None,
        lane: str | None = None,
        kept: bool | None = None,
    ) -> None:
        self.listener = listener
        self.failed: CsirtError | None = None
        self._metrics = metrics
        self._clock = clock
        self._handed = handed or []
        self._kept = bool(self._handed) if kept is None else kept
        self._stats = stats.Stats(listener.source, listener.kind, listener.lanes()[0] if lane is None else lane)
        self._folder = directory / self._stats.folder
        # Listeners may fill one source's folder by several transports: each has its own segments and counters.
        suffix = "" if listener.transport == "udp" else f"-{listener.transport}"
        self._stats_path = self._folder / f"stats{suffix}.json"
        netflow = listener.kind == "netflow"
        self._writer = SegmentWriter(
            self._folder,
            form.PCAPNG if netflow else form.FRAMES,
            form.pcapng_header if netflow else _frames_header,
            Limits.of(spool),
            self._stats,
            clock,
            self._each_second,
        )
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._sockets: list[socket.socket] = []
        self._names: dict[str, str] = {}  # of the sockets, by inode
        self._told: dict[str, int] = {}

    def start(self) -> None:
        """Bind, open the spool and receive. Raises Usage, CsirtError, SpoolFailed."""
        context = server_context(self.listener) if self.listener.transport == "tls" else None
        own = self._handed or [sockets.open_socket(self.listener.listen, self.listener.transport)]
        self._sockets = own
        stats.carry_over(self._stats, self._stats_path)
        self._writer.transports = frozenset(6 if item.type == socket.SOCK_STREAM else 17 for item in own)
        self._told = self._totals()
        try:
            self._writer.start()
        except CsirtError:
            self._close_sockets()
            raise
        now = self._clock.now()
        self._stats.since = self._stats.since or now
        self._stats.started, self._stats.pid, self._stats.failed = now, os.getpid(), ""
        self._stats.listen = [sockets.name_of(item) for item in own]
        self._names = {sockets.inode(item): sockets.name_of(item) for item in own}
        self._told = self._totals()
        self._loop = self._make_loop(own, context)
        self._loop.prepare(config.size(self.listener.receive_buffer), kept=self._kept)
        self._thread = threading.Thread(target=self._run, name=f"collect-{self._stats.folder}", daemon=True)
        self._thread.start()
        LOG.info("%s: receiving %s on %s", self._stats.folder, self.listener.kind, ", ".join(self._stats.listen))

    def stop(self) -> None:
        """Empty the sockets, sync and seal, write the counters. A failure of the disk stays in `failed`."""
        if self._loop is None or self._thread is None:
            return
        self._loop.stop()
        self._thread.join()
        self._loop.count_kernel()
        try:
            self._writer.close()
        except CsirtError as error:
            self.failed = self.failed or error
        self._close_sockets()
        self._loop = None

    def stats(self) -> dict[str, Any]:
        """The counters as `stats.json` has them."""
        return self._stats.document()

    @property
    def address(self) -> tuple[str, int]:
        """Where the first socket listens: host and port."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    @property
    def alive(self) -> bool:
        """Whether it still receives."""
        return self._thread is not None and self._thread.is_alive()

    def _make_loop(self, own: list[socket.socket], context: ssl.SSLContext | None) -> Loop:
        if self.listener.kind == "syslog":
            return SyslogLoop(own, self._writer, self._stats, self._clock, context)
        if self.listener.transport == "udp":
            gather = config.duration(self.listener.gather) / 1e6
            return DatagramLoop(own, self._writer, self._stats, self._clock, gather)
        return IpfixLoop(own, self._writer, self._stats, self._clock, context)

    def _run(self) -> None:
        assert self._loop is not None
        try:
            self._loop.run()
        except CsirtError as error:
            self._broke(error)
        except Exception as error:
            LOG.exception("%s: the receiver failed", self.listener.source)
            self._broke(CsirtError(f"{self.listener.source}: the receiver failed ({type(error).__name__}: {error})"))

    def _broke(self, error: CsirtError) -> None:
        self.failed = error
        self._stats.failed = error.message
        self._metrics.gauge("csirt_collect_failed", 1, source=self.listener.source)
        LOG.error("%s: %s", self.listener.source, error.message)

    def _each_second(self) -> None:
        if self._loop is not None:
            self._loop.count_kernel()
        if self._clock.monotonic() - self._writer.ticked < STUCK:
            self._stats.updated = self._clock.now()
        if self._writer.failed is not None and self.failed is None:
            self._broke(self._writer.failed)
            if self._loop is not None:
                self._loop.stop()
        now = self._totals()
        moved = {name: value - self._told.get(name, 0) for name, value in now.items()}
        self._told = now
        dropped = {name.removeprefix("dropped:"): n for name, n in moved.items() if name.startswith("dropped:") and n}
        self._metrics.stage("collect", moved["received"], moved["spooled"], dropped)
        where = {"source": self.listener.source, "lane": self._stats.lane}
        self._metrics.count("csirt_collect_bytes_total", moved["bytes"], **where)
        self._metrics.count("csirt_collect_kernel_dropped_total", moved["kernel"], **where)
        for number, item in self._stats.sockets.items():
            listen = self._names.get(number, "")
            self._metrics.gauge("csirt_collect_receive_buffer_bytes", item.get("granted", 0), listen=listen, **where)
        self._metrics.gauge("csirt_spool_bytes", self._stats.spool_bytes)
        stats.write(self._stats, self._stats_path)

    def _totals(self) -> dict[str, int]:
        own = self._stats
        totals = {"received": own.received, "spooled": own.spooled, "bytes": own.bytes, "kernel": own.kernel_dropped}
        return {**totals, **{f"dropped:{reason}": number for reason, number in dict(own.spool_dropped).items()}}

    def _close_sockets(self) -> None:
        for item in self._sockets:
            item.close()


def _frames_header(uuid: bytes) -> bytes:
    return form.FRAMES_HEADER.pack(form.FRAMES_MAGIC, uuid)
