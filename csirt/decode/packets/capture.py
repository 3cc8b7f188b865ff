"""What is open of one capture: its flow table, its dissection, and rows that wait for the next commit."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.decode.packets import headers
from csirt.decode.packets import meter as m
from csirt.decode.packets.dissection import Dissector
from csirt.decode.packets.rows import dissection_batch, flow_batch
from csirt.model.batch import Array, Batch, Decoded
from csirt.model.chunk import Packets
from csirt.model.tshark import Fields

FIRST_ROWS = 1 << 12


class Capture:
    """One capture file's state. Rows are given out only when nothing is open (`release`), so that what a commit holds
    never depends on a position that is not committed with it."""

    def __init__(self, segment: str, *, idle: int, observer: str | None, seed: Any) -> None:
        self._segment, self._idle, self._observer, self._seed = segment, idle, observer, seed
        self._table: Array | None = None
        self._fragments = np.zeros((0, m.FRAGMENT_WIDTH), np.uint64)
        self._flows = 0
        self._open = 0  # packets in flows of the table
        self._ready: list[Batch] = []
        self._ready_units = 0
        self._dissector: Dissector | None = None

    @property
    def held(self) -> int:
        """Packets and lines that entered and have not left."""
        return self._open + self._ready_units + self._undecided()

    def _undecided(self) -> int:
        return self._dissector.waiting + self._dissector.partial if self._dissector else 0

    def packets(self, data: Packets, result: Decoded, *, last: bool) -> None:
        """Meter a chunk; at its cut, or the last chunk, every flow ends."""
        dropped = np.zeros(8, np.int64)
        ended = self._meter(data, dropped)
        result.entered += len(data.offset)
        self._open += len(data.offset) - int(dropped.sum())
        for code, reason in headers.REASONS.items():
            if dropped[code]:
                result.dropped[reason] = result.dropped.get(reason, 0) + int(dropped[code])
        if data.cut is not None or last:
            self.end(data.cut, ended)
        else:
            self._keep(ended)

    def _meter(self, data: Packets, dropped: Array) -> list[Array]:
        """Run the compiled meter over the chunk; rows of flows that ended by their idle timeout."""
        if self._table is None:
            self._table = np.zeros((FIRST_ROWS, m.WIDTH), np.uint64)
            self._fragments = np.zeros((m.FRAGMENT_ROWS, m.FRAGMENT_WIDTH), np.uint64)
        buffer = np.ascontiguousarray(data.buffer, np.uint8)
        numbers = (data.offset, data.captured, data.original, data.frame, data.time, data.linktype)
        offset, captured, original, frame, time, linktype = (np.ascontiguousarray(item, np.int64) for item in numbers)
        ended: list[Array] = []
        out = np.empty((min(max(len(offset), 1), 1 << 14), m.WIDTH), np.uint64)
        begin = 0
        while True:
            begin, self._flows, written = m.meter(
                buffer, offset, captured, original, frame, time, linktype,
                begin, self._table, self._flows, self._fragments, out, self._seed, self._idle, dropped,
            )  # fmt: skip
            if written:
                ended.append(out[:written].copy())
            if begin >= len(offset):
                return ended
            if self._flows >= len(self._table) // 2:
                larger = np.zeros((len(self._table) * 4, m.WIDTH), np.uint64)
                m.move(self._table, larger, self._seed)
                self._table = larger

    def end(self, cut: int | None, ended: list[Array] | None = None) -> None:
        """End every flow: idle before the cut, at the cut itself, or (None) at the end of input."""
        if self._table is not None:
            rows: Array = self._table[self._table[:, m.USED] != 0]
            if cut is None:
                rows[:, m.REASON] = m.FORCED
            else:
                idle = cut - rows[:, m.LAST].astype(np.int64) > self._idle
                rows[:, m.REASON] = np.where(idle, m.IDLE, m.ACTIVE)
            self._keep([*(ended or []), rows])
        self._table, self._flows = None, 0
        self._fragments = np.zeros((0, m.FRAGMENT_WIDTH), np.uint64)

    def _keep(self, parts: list[Array]) -> None:
        """Make a batch of ended flows, in order of their first frames."""
        rows = np.concatenate(parts) if parts else np.empty((0, m.WIDTH), np.uint64)
        if not len(rows):
            return
        rows = rows[np.argsort(rows[:, m.FRAME], kind="stable")]
        packets = int(rows[:, m.PACKETS].sum() + rows[:, m.R_PACKETS].sum())
        self._open -= packets
        self._ready_units += packets
        self._ready.append(flow_batch(rows, self._segment, self._observer))

    def lines(self, text: bytes, fields: Fields, dissect: list[str], result: Decoded, *, last: bool) -> None:
        """Rows of tshark's lines; with `last`, of all that wait for their answers."""
        if self._dissector is None:
            self._dissector = Dissector(fields, dissect)
        waiting, partial = self._dissector.waiting, self._dissector.partial
        rows = self._dissector.feed(text, end=last)
        grown = self._dissector.waiting - waiting
        # A line with more messages than a frame can number is more units; one cut in two enters with its first half.
        result.entered += rows.lines + rows.overflow + self._dissector.partial - partial
        for reason, number in (("malformed", rows.malformed), ("overflow", rows.overflow)):
            if number:
                result.dropped[f"dissection_{reason}"] = number
        for column, number in rows.redacted.items():
            result.redacted[column] = result.redacted.get(column, 0) + number
        self._ready_units += rows.lines - rows.malformed - grown
        for name, frame in rows.frames.items():
            self._ready.append(dissection_batch(name, frame, self._segment, self._observer))

    def finish(self, fields: Fields | None, dissect: list[str], result: Decoded) -> None:
        """End every flow and give every row that waits."""
        self.end(None)
        if self._dissector is not None and fields is not None:
            self.lines(b"", fields, dissect, result, last=True)

    def release(self, result: Decoded) -> None:
        """Hand over the rows when nothing is open any more."""
        if self._open or self._undecided():
            return
        result.batches += self._ready
        result.left += self._ready_units
        self._ready, self._ready_units = [], 0
