"""Capture files and watched folders: packets in chunks cut at boundaries of packet time, then tshark's lines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from csirt.clock import SYSTEM, Clock
from csirt.model import spool as form
from csirt.model.chunk import Chunk, Dissection, Packets
from csirt.sources import pcap
from csirt.sources.base import FileInput, Input
from csirt.sources.dissect import Dissector, Pass
from csirt.sources.watch import Contents, Key, Watch, find

UNREADABLE = {
    b"\x1f\x8b": "compressed",
    b"\x28\xb5\x2f\xfd": "compressed",
    b"BZh": "compressed",
    b"\xfd7zXZ": "compressed",
}


class CaptureInput(FileInput):
    """One complete capture file. Offsets up to its size are packets; beyond it, bytes of tshark's output.

    `patience`: how many seconds a read may wait for tshark before it gives None for now.
    """

    def __init__(
        self, source: str, fingerprint: str, path: Path, *, period: int, dissector: Dissector, patience: float
    ) -> None:
        super().__init__(source, fingerprint, path)
        self._period = period
        self._dissector = dissector
        self._patience = patience
        self._pass: Pass | None = None
        self._broken: dict[str, int] = {}

    @property
    def dissecting(self) -> bool:
        """Whether tshark is at work on it."""
        return self._pass is not None

    def _next(self, handle: int, offset: int, end: int, limit: int, extra: dict[str, Any], final: bool) -> Chunk | None:
        head = form.read_head(self.path, 8) if not offset else b""
        if not offset and not pcap.is_capture(head):
            reason = next((name for magic, name in UNREADABLE.items() if head.startswith(magic)), "not_a_capture")
            return self.chunk(0, end, None, last=True, lost={reason: 1})
        if offset < end:
            return self.take(handle, offset, end, limit, extra, final=True)
        return self._dissection(offset, end, limit)

    def take(
        self, handle: int, offset: int, end: int, limit: int, extra: dict[str, Any], *, final: bool
    ) -> Chunk | None:
        """The next packets of one period of packet time. The cut depends on the packets alone, never on `limit`."""
        if self._dissector.available() and self._pass is None and not self._dissector.busy():
            self._begin()
        walker = pcap.Walker.resume(extra)
        found = walker.read(handle, offset, end, limit, final=True)
        period, cut = extra.get("period"), None
        if len(found.offset):
            numbers = found.time // self._period
            period = int(numbers[0]) if period is None else int(period)
            later = np.flatnonzero(numbers > period)
            if len(later) and later[0] > 0:
                walker = pcap.Walker.resume(extra)
                found = walker.read(handle, offset, end, int(later[0]), final=True)
                cut = period + 1
        torn, bad = found.torn, found.bad_interface
        if cut is None and not found.at_end:
            ahead = walker.copy()
            peek = ahead.read(handle, found.end, end, 1, final=True)
            if not len(peek.offset):
                walker, found.end, found.at_end = ahead, peek.end, True
                torn, bad = torn or peek.torn, bad + peek.bad_interface
            elif period is not None and peek.time[0] // self._period > period:
                cut = period + 1
        if found.at_end and period is not None:
            cut = period + 1
        more = {} if cut is not None else {"period": period}
        lost = {name: number for name, number in (("torn", int(torn)), ("bad_interface", bad)) if number}
        last = found.at_end and not self._will_dissect(lost)
        data = self._packets(found, None if cut is None else cut * self._period)
        return self.chunk(offset, found.end, data, last=last, extra={**walker.extra(), **more}, lost=lost)

    def close(self) -> None:
        """Stop tshark."""
        if self._pass is not None:
            self._pass.close()
            self._pass = None

    def _packets(self, found: pcap.Found, cut: int | None) -> Packets | None:
        if not len(found.offset) and cut is None:
            return None
        return Packets(
            found.buffer,
            found.offset,
            found.captured,
            found.original,
            found.frame,
            found.time,
            found.linktype.astype(np.uint16),
            cut,
        )

    def _will_dissect(self, lost: dict[str, int]) -> bool:
        if self._dissector.available():
            return True
        if self._dissector.asked:
            lost["tshark_missing"] = 1
        return False

    def _begin(self) -> None:
        try:
            self._pass = self._dissector.start(self.path)
        except OSError:
            self._broken = {"tshark_failed": 1}

    def _dissection(self, offset: int, size: int, limit: int) -> Chunk | None:
        if not self._dissector.available():
            lost = {"tshark_missing": 1} if self._dissector.asked else {}
            return self.chunk(offset, offset, None, last=True, lost=lost)
        if self._pass is None and not self._broken:
            if not self._patience and self._dissector.busy():
                return None
            self._begin()
        if self._pass is None:
            return self.chunk(offset, offset, None, last=True, lost=self._broken)
        if not self._pass.wait(self._patience):
            return None
        text, last = self._pass.lines(offset - size, limit)
        lost = self._pass.lost() if last else {}
        if last:
            self.close()
        return self.chunk(offset, offset + len(text), Dissection(text) if text else None, last=last, lost=lost)


class CaptureSource:
    """A capture file, a glob, or a watched folder. Files are known by their content, so a copy is not read again.

    `patience` may be changed at any time before a file is first listed: infinity (the default) waits for tshark in
    `read`; 0 never does, and `exhausted` tells whether one is still at work.
    """

    kind = "capture"

    def __init__(
        self,
        id: str,
        path: str,
        *,
        period: int,
        dissector: Dissector,
        settle: int = 0,
        clock: Clock = SYSTEM,
        patience: float = math.inf,
    ) -> None:
        self.id = id
        self.patience = patience
        self._path = path
        self._period = period
        self._dissector = dissector
        self._watch = Watch(settle, clock)
        self._contents = Contents()
        self._known: dict[tuple[Path, Key], CaptureInput] = {}

    def inputs(self) -> list[Input]:
        """Complete files by name; of several with the same content, the first."""
        known: dict[tuple[Path, Key], CaptureInput] = {}
        unique: dict[str, CaptureInput] = {}
        for path, key in self._watch.complete(find(self._path)):
            item = self._known.get((path, key))
            if item is None:
                try:
                    fingerprint = self._contents.fingerprint(path, key)
                except OSError:  # gone again, or not ours to read: it is looked at again next time
                    continue
                item = CaptureInput(
                    self.id, fingerprint, path,
                    period=self._period, dissector=self._dissector, patience=self.patience,
                )  # fmt: skip
            known[path, key] = item
            unique.setdefault(item.fingerprint, item)
        for key_of, item in self._known.items():
            if key_of not in known:
                item.close()
        self._known = known
        return list(unique.values())

    def exhausted(self) -> bool:
        """False while a file settles or tshark is at work."""
        return not self._watch.waiting and not any(item.dissecting for item in self._known.values())

    def close(self) -> None:
        """Stop every tshark."""
        for item in self._known.values():
            item.close()
