"""The UDP receiver: drains its sockets into the spool and does nothing else."""

from __future__ import annotations

import select
import socket
import threading

from csirt.clock import Clock
from csirt.collect import mmsg, sockets
from csirt.collect.framing import Slots
from csirt.collect.segments import SegmentWriter
from csirt.collect.stats import Stats

BATCH = 1_024
FLOOD = 1 << 30  # octets of a receive buffer that fill within a second, at most
LEAST = 0.001  # seconds below which waiting gathers nothing
WAIT_MS = 250
DRAIN = 2.0  # seconds for emptying the sockets at the end


def pause(granted: int, most: float) -> float:
    """Seconds to wait for more, at most those asked for, with a receive buffer of this size: what comes meanwhile must
    find room in it. What a batch costs is then shared by more datagrams."""
    found = min(granted / FLOOD, most)
    return found if found >= LEAST else 0.0


class DatagramLoop:
    """Receives on UDP sockets until stopped; `run` is the body of one thread. All sockets share one writer."""

    def __init__(
        self, opened: list[socket.socket], writer: SegmentWriter, stats: Stats, clock: Clock, gather: float
    ) -> None:
        """`gather`: seconds that datagrams may wait in the receive buffer for others."""
        self._sockets = opened
        self._writer = writer
        self._stats = stats
        self._clock = clock
        self._slots = Slots(BATCH)
        self._stop = threading.Event()
        self._receive = {item.fileno(): mmsg.receiver(self._slots) for item in opened}
        self._own: dict[int, tuple[bytes, int]] = {}
        self._counted: dict[str, dict[str, int]] = {}
        self._gather, self._pause = gather, 0.0

    def prepare(self, buffer: int, *, kept: bool = False) -> None:
        """Size the receive buffers and ask for the kernel's drop counters. `kept`: the sockets are a socket unit's,
        which keeps them, and their counters, while we restart: go on from where we stopped."""
        granted = [sockets.set_buffer(item, buffer) for item in self._sockets]
        self._stats.receive_buffer = {"asked": buffer, "granted": min(granted, default=0)}
        self._pause = pause(min(granted, default=0), self._gather)
        for item, size in zip(self._sockets, granted, strict=True):
            item.setblocking(False)
            sockets.count_overflows(item)
            self._own[item.fileno()] = sockets.own(item)
            number = sockets.inode(item)
            before = self._stats.sockets.get(number, {}) if kept else {}
            self._counted[number] = {"rxq_ovfl": 0, "table": 0, **before, "granted": size}
        self._stats.sockets = self._counted

    def run(self) -> None:
        """Receive until `stop`, then empty the sockets. Raises SpoolFailed, OSError.

        Who took less than he could has emptied a socket, and lets more come before he looks again."""
        poller = select.poll()
        for item in self._sockets:
            poller.register(item, select.POLLIN)
        while not self._stop.is_set():
            largest = max(map(self._take, self._sockets), default=0)
            self._writer.tick()
            if not largest:
                poller.poll(WAIT_MS)
            elif self._pause and largest < BATCH:
                self._clock.sleep(self._pause)
        # What arrived before the stop is taken; a flood that never ends is not waited for.
        deadline = self._clock.monotonic() + DRAIN
        for item in self._sockets:
            while self._take(item) and self._clock.monotonic() < deadline:
                pass

    def stop(self) -> None:
        """Ask `run` to empty the sockets and return."""
        self._stop.set()

    def count_kernel(self) -> None:
        """Read the kernel's drop counters into the stats; called each second by the writer's side thread."""
        for item in self._sockets:
            if item.fileno() < 0:
                continue
            number = sockets.inode(item)
            before = self._counted[number]
            overflow = self._receive[item.fileno()].overflow
            if overflow:
                self._stats.rxq_ovfl += sockets.grown(overflow, before["rxq_ovfl"])
                before["rxq_ovfl"] = overflow
            table = sockets.table_drops(number)
            if table is not None:
                self._stats.table += sockets.grown(table, before["table"])
                before["table"] = table

    def _take(self, opened: socket.socket) -> int:
        number = opened.fileno()
        receive = self._receive[number]
        got = receive(opened)
        if not got:
            return 0
        lengths = receive.lengths[:got]
        self._stats.truncated += receive.truncated
        receive.truncated = 0
        rows, size = self._slots.vectors(lengths, receive.names[:got], self._clock.now(), *self._own[number])
        self._stats.received += got
        self._stats.bytes += int(lengths.sum())
        self._writer.append(rows, size, got)
        return got
