"""Packets of a pcap or pcapng file in bounded windows, from any committed offset."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from csirt.model.batch import Array
from csirt.sources import walk

WINDOW = 16 << 20
SMALLEST = 256 << 10
FULL_PACKET = 1_600
LARGEST_BLOCK = walk.MAX_PACKET_BLOCK + 4096

_PCAP = {0xA1B2C3D4: (0, 16), 0xA1B23C4D: (1, 16), 0xA1B2CD34: (0, 24)}  # magic: (nanoseconds, record header)
_HEADER = 24
PCAPNG = b"\x0a\x0d\x0d\x0a"


def is_capture(head: bytes) -> bool:
    """Whether a file's first bytes are those of pcap or pcapng."""
    return head[:4] == PCAPNG or _magic(head) is not None


def _magic(head: bytes) -> tuple[int, int, int] | None:
    """(big endian, nanoseconds, record header) of a pcap file."""
    for big, order in ((0, "little"), (1, "big")):
        known = _PCAP.get(int.from_bytes(head[:4], order))  # type: ignore[arg-type]
        if known and len(head) >= 4:
            return big, *known
    return None


@dataclass(slots=True)
class Found:
    """Packets of one window. `offset` points into `buffer`. `end`: the file offset of what comes next. `torn`: the
    rest of the file cannot be read and was skipped. `bad_interface`: packets of interfaces nobody described."""

    buffer: Array
    offset: Array
    captured: Array
    original: Array
    time: Array
    linktype: Array
    frame: Array
    end: int
    torn: bool = False
    bad_interface: int = 0
    at_end: bool = False


@dataclass
class Walker:
    """What must be known to go on in the middle of a file; `extra` and `resume` carry it through a commit."""

    pcapng: bool = False
    nano: int = 0
    header: int = 16
    link: int = 0
    frames: int = 0
    damaged: bool = False
    started: bool = False
    state: Array = field(default_factory=lambda: np.zeros(walk.STATE, np.int64))
    table: Array = field(default_factory=lambda: np.zeros((walk.MAX_INTERFACES, 4), np.int64))

    @classmethod
    def resume(cls, extra: dict[str, Any]) -> Walker:
        """The walker that gave this `extra`; a new one for an empty one."""
        self = cls()
        saved = extra.get("walk")
        if not saved:
            return self
        self.pcapng, self.nano, self.header, self.link = (
            bool(saved["ng"]),
            saved["nano"],
            saved["header"],
            saved["link"],
        )
        self.frames, self.damaged, self.started = saved["frames"], bool(saved["damaged"]), True
        self.state[walk.BIG], self.state[walk.LAST] = saved["big"], saved["last"]
        rows = saved["interfaces"]
        self.state[walk.INTERFACES] = len(rows)
        if rows:
            self.table[: len(rows)] = rows
        return self

    def extra(self) -> dict[str, Any]:
        """JSON-able; goes into `Chunk.extra`."""
        rows = self.table[: int(self.state[walk.INTERFACES])].tolist()
        numbers = {"nano": self.nano, "header": self.header, "link": self.link, "frames": self.frames}
        flags = {"ng": int(self.pcapng), "damaged": int(self.damaged), "big": int(self.state[walk.BIG])}
        return {"walk": {**numbers, **flags, "last": int(self.state[walk.LAST]), "interfaces": rows}}

    def copy(self) -> Walker:
        """One that moves on its own."""
        twin = Walker(self.pcapng, self.nano, self.header, self.link, self.frames, self.damaged, self.started)
        twin.state, twin.table = self.state.copy(), self.table.copy()
        return twin

    def read(self, handle: int, offset: int, end: int, limit: int, *, final: bool, octets: int = FULL_PACKET) -> Found:
        """At most `limit` packets from `offset`, not beyond `end`.

        `final`: `end` is the end of the file, and an incomplete record there is torn; otherwise more may be written.
        `octets`: what a packet is expected to take, with its header; where they take more, fewer are found.
        """
        at, torn = offset, False
        if not self.started and not self.damaged:
            at, torn = self._start(handle, at, end, final)
        rows: Array = np.empty((0, 5), np.int64)
        buffer: Array = np.empty(0, np.uint8)
        bad = int(self.state[walk.BAD_INTERFACE])
        window = min(max(limit * octets, SMALLEST), WINDOW)
        while self.started and not self.damaged and at < end and not len(rows):
            buffer = read_window(handle, at, min(window, end - at))
            out: Array = np.empty((min(limit, len(buffer) // 12 + 1), 5), np.int64)
            count, used, why = self._walk(buffer, len(out), out)
            rows = out[:count]
            whole = at + len(buffer) >= end
            at += used
            if why == walk.SKIP:
                skipped = int(self.state[walk.SKIPPED])
                if at + skipped <= end:
                    at += skipped
                else:
                    why, whole = walk.MORE, True
            if why == walk.DAMAGED or (why == walk.MORE and whole and final):
                torn = True
            if why == walk.DAMAGED or (why == walk.MORE and whole):
                break
            window = max(window, LARGEST_BLOCK) if why == walk.MORE else window
        self.damaged = self.damaged or torn
        first = self.frames
        self.frames += len(rows)
        if self.damaged:
            at = end
        bad = int(self.state[walk.BAD_INTERFACE]) - bad
        start, captured, original, time, link = (np.ascontiguousarray(rows[:, index]) for index in range(5))
        frame = np.arange(first, self.frames, dtype=np.int64)
        return Found(buffer, start, captured, original, time, link, frame, at, torn, bad, at >= end)

    def _walk(self, buffer: Array, limit: int, out: Array) -> tuple[int, int, int]:
        if self.pcapng:
            found = walk.walk_pcapng(buffer, len(buffer), limit, self.state, self.table, out)
        else:
            found = walk.walk_pcap(buffer, len(buffer), limit, self.header, self.nano, self.link, self.state, out)
        return int(found[0]), int(found[1]), int(found[2])

    def _start(self, handle: int, at: int, end: int, final: bool) -> tuple[int, bool]:
        """Read a file's header; where its first record is, and whether the header is torn."""
        head = os.pread(handle, min(_HEADER, end - at), at)
        if head[:4] == PCAPNG:
            self.pcapng = self.started = True
            return at, False
        known = _magic(head)
        if known is None or len(head) < _HEADER:
            return at, final
        big, self.nano, self.header = known
        self.state[walk.BIG] = big
        self.link = int.from_bytes(head[20:24], "big" if big else "little") & 0x0FFF_FFFF  # above: FCS length
        self.started = True
        return at + _HEADER, False


def read_window(handle: int, offset: int, size: int) -> Array:
    """Up to `size` bytes of a file at `offset`, writable memory. Raises OSError."""
    buffer: Array = np.empty(size, np.uint8)
    view, got = memoryview(buffer.data), 0
    while got < size:
        step = os.preadv(handle, [view[got:]], offset + got)
        if not step:
            break
        got += step
    return buffer[:got]
