"""Chunks of a capture file become batches."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from csirt.decode.packets import headers
from csirt.decode.packets import meter as m
from csirt.decode.packets.dissection import Dissector, addresses
from csirt.model import ecs
from csirt.model.batch import Array, Batch, Decoded, address_columns, assemble, constant
from csirt.model.batch import codes as coded
from csirt.model.chunk import Chunk, Dissection, Packets
from csirt.model.tshark import Fields
from csirt.model.tshark import load as load_fields

FIRST_ROWS = 1 << 12
REASON_NAMES: list[str | None] = [None, "idle_timeout", "active_timeout", None, "forced_end"]
DISSECTED = 1 << 63


class PacketDecoder:
    """Meters packets into flows and reads tshark's lines, for one source, a capture file after another.

    `idle_timeout_us`: a flow without a packet for longer than this ends. `dissect`: protocols of tshark's fields file.
    `observer`: the capture point's name. `fields`: the fields file tshark ran from; the shipped one by default.
    """

    def __init__(
        self,
        source_id: str,
        *,
        idle_timeout_us: int,
        dissect: list[str],
        observer: str = "",
        fields: Fields | None = None,
    ) -> None:
        self._source = source_id
        self._idle = idle_timeout_us
        self._dissect = dissect
        self._observer = observer or None
        self._fields = fields
        self._seed = np.uint64(secrets.randbits(64))
        self._segment = ""
        self._table: Array | None = None
        self._fragments = np.zeros((0, m.FRAGMENT_WIDTH), np.uint64)
        self._flows = 0
        self._waiting = 0  # packets in flows of the table
        self._dissector: Dissector | None = None

    def load(self, state: bytes | None) -> None:
        """Start afresh: no state survives a commit."""
        self._drop_table()
        self._dissector = None
        self._segment = ""

    def decode(self, chunk: Chunk) -> Decoded:
        """Flows that ended in the chunk, or rows of tshark's lines. Counts packets; of a dissection, lines.

        A chunk of another input than the last ends what the last one left open.
        """
        result = self.finish() if chunk.segment != self._segment else Decoded()
        self._segment = chunk.segment
        data = chunk.data
        if isinstance(data, Packets):
            self._packets(data, result, last=chunk.end_of_input)
        elif isinstance(data, Dissection):
            self._lines(data.text, result, last=chunk.end_of_input)
        if chunk.end_of_input:
            if not isinstance(data, Packets):
                self._end(result, None)
            if not isinstance(data, Dissection):
                self._lines(b"", result, last=True)
        result.held = self._held()
        return result

    def finish(self) -> Decoded:
        """End every flow and give every row that waits."""
        result = Decoded()
        self._end(result, None)
        self._lines(b"", result, last=True)
        result.held = self._held()
        return result

    def _held(self) -> int:
        return self._waiting + (self._dissector.held if self._dissector else 0)

    def _drop_table(self) -> None:
        self._table, self._flows, self._waiting = None, 0, 0
        self._fragments = np.zeros((0, m.FRAGMENT_WIDTH), np.uint64)

    def _packets(self, data: Packets, result: Decoded, *, last: bool) -> None:
        units = len(data.offset)
        dropped = np.zeros(8, np.int64)
        ended = self._meter(data, dropped)
        counted = units - int(dropped.sum())
        self._waiting += counted
        result.entered += units
        for code, reason in headers.REASONS.items():
            if dropped[code]:
                result.dropped[reason] = result.dropped.get(reason, 0) + int(dropped[code])
        if data.cut is not None or last:
            ended.append(self._closed(data.cut))
            self._emit(ended, result)
            self._drop_table()
        else:
            self._emit(ended, result)

    def _meter(self, data: Packets, dropped: Array) -> list[Array]:
        """Run the compiled meter over the chunk; rows of flows that ended by their idle timeout."""
        if self._table is None:
            self._table = np.zeros((FIRST_ROWS, m.WIDTH), np.uint64)
            self._fragments = np.zeros((m.FRAGMENT_ROWS, m.FRAGMENT_WIDTH), np.uint64)
        buffer = np.ascontiguousarray(data.buffer, np.uint8)
        numbers = (data.offset, data.captured, data.original, data.frame, data.time, data.linktype)
        offset, captured, original, frame, time, linktype = (np.ascontiguousarray(item, np.int64) for item in numbers)
        ended: list[Array] = []
        out = np.empty((min(max(len(data.offset), 1), 1 << 14), m.WIDTH), np.uint64)
        begin = 0
        while True:
            begin, self._flows, written = m.meter(
                buffer, offset, captured, original, frame, time, linktype,
                begin, self._table, self._flows, self._fragments, out, self._seed, self._idle, dropped,
            )  # fmt: skip
            if written:
                ended.append(out[:written].copy())
            if begin >= len(data.offset):
                return ended
            if self._flows >= len(self._table) // 2:
                larger = np.zeros((len(self._table) * 4, m.WIDTH), np.uint64)
                m.move(self._table, larger, self._seed)
                self._table = larger

    def _closed(self, cut: int | None) -> Array:
        """Every flow of the table, with the reason it ends: idle before the cut, the cut itself, the end of input."""
        assert self._table is not None
        rows: Array = self._table[self._table[:, m.USED] != 0]
        if cut is None:
            rows[:, m.REASON] = m.FORCED
        else:
            idle = cut - rows[:, m.LAST].astype(np.int64) > self._idle
            rows[:, m.REASON] = np.where(idle, m.IDLE, m.ACTIVE)
        return rows

    def _end(self, result: Decoded, cut: int | None) -> None:
        if self._table is not None:
            self._emit([self._closed(cut)], result)
            self._drop_table()

    def _emit(self, parts: list[Array], result: Decoded) -> None:
        rows = np.concatenate(parts) if parts else np.empty((0, m.WIDTH), np.uint64)
        if not len(rows):
            return
        rows = rows[np.argsort(rows[:, m.FRAME], kind="stable")]
        packets = int(rows[:, m.PACKETS].sum() + rows[:, m.R_PACKETS].sum())
        self._waiting -= packets
        result.left += packets
        result.batches.append(flow_batch(rows, self._segment, self._observer))

    def _lines(self, text: bytes, result: Decoded, *, last: bool) -> None:
        if self._dissector is None:
            if not text:
                return
            if self._fields is None:
                self._fields = load_fields()
            self._dissector = Dissector(self._fields, self._dissect)
        before = self._dissector.held
        rows = self._dissector.feed(text, end=last)
        grown = self._dissector.held - before
        result.entered += rows.lines + rows.overflow  # a line with more messages than a frame can number is more units
        for reason, number in (("malformed", rows.malformed), ("overflow", rows.overflow)):
            if number:
                result.dropped[f"dissection_{reason}"] = number
        result.left += rows.lines - rows.malformed - grown
        for name, frame in rows.frames.items():
            result.batches.append(dissection_batch(name, frame, self._segment, self._observer))
        if last:
            self._dissector = None


def flow_batch(rows: Array, segment: str, observer: str | None) -> Batch:
    """Ended flows as a `flow` batch. Bytes are lengths of IP headers' telling, forward in `network.*`."""
    key, marks = rows[:, m.KEY], rows[:, m.MARKS]
    swapped = (marks >> np.uint64(m.SWAPPED)) & np.uint64(1) != 0
    family = ((key >> np.uint64(40)) & np.uint64(0xFF)).astype(np.uint8)
    protocol = ((key >> np.uint64(32)) & np.uint64(0xFF)).astype(np.uint8)
    a_port = ((key >> np.uint64(16)) & np.uint64(0xFFFF)).astype(np.uint16)
    b_port = (key & np.uint64(0xFFFF)).astype(np.uint16)
    portless = (key >> np.uint64(48)) & np.uint64(1) == 0
    vlan = (rows[:, m.VLAN] & np.uint64(0xFFFF)).astype(np.uint16)
    no_icmp = (marks >> np.uint64(48)) & np.uint64(1) == 0

    def ends(one: Array, other: Array) -> tuple[Array, Array]:
        return np.where(swapped, other, one), np.where(swapped, one, other)

    source_hi, destination_hi = ends(rows[:, m.A_HI], rows[:, m.B_HI])
    source_lo, destination_lo = ends(rows[:, m.A_LO], rows[:, m.B_LO])
    source_port, destination_port = ends(a_port, b_port)
    columns: dict[str, Any] = {
        **_common(rows[:, m.LAST], rows[:, m.FRAME] << np.uint64(16), segment, observer),
        **address_columns("source.ip", family, source_hi, source_lo),
        **address_columns("destination.ip", family, destination_hi, destination_lo),
        "event.start": pa.array(rows[:, m.START].astype(np.int64)).cast(ecs.TIME),
        "source.port": _masked(source_port, portless),
        "destination.port": _masked(destination_port, portless),
        "network.iana_number": protocol,
        "network.bytes": rows[:, m.BYTES],
        "network.packets": rows[:, m.PACKETS],
        "csirt.flow.reverse.bytes": rows[:, m.R_BYTES],
        "csirt.flow.reverse.packets": rows[:, m.R_PACKETS],
        "flow.tcp_flags": _masked((marks & np.uint64(0x1FF)).astype(np.uint16), protocol != 6),
        "csirt.flow.end_reason": coded(rows[:, m.REASON].astype(np.int64), REASON_NAMES),
    }
    if vlan.any():
        columns["network.vlan.id"] = _masked(vlan, vlan == 0)
    if not no_icmp.all():
        columns["icmp.type"] = _masked(((marks >> np.uint64(40)) & np.uint64(0xFF)).astype(np.uint8), no_icmp)
        columns["icmp.code"] = _masked(((marks >> np.uint64(32)) & np.uint64(0xFF)).astype(np.uint8), no_icmp)
    return assemble("flow", columns)


def dissection_batch(dataset: str, frame: pl.DataFrame, segment: str, observer: str | None) -> Batch:
    """Rows of tshark's lines as a batch of their dataset."""
    number = frame["frame"].to_numpy().astype(np.uint64) << np.uint64(8)
    ordinal = np.uint64(DISSECTED) | number | frame["index"].to_numpy().astype(np.uint64)
    columns: dict[str, Any] = _common(frame["time"].to_numpy(), ordinal, segment, observer)
    for end in ("source", "destination"):
        columns.update(address_columns(f"{end}.ip", *addresses(frame[end])))
    for name, kind in ecs.DATASETS[dataset].items():
        if name in frame.columns and name not in columns:
            columns[name] = _arrow(frame[name], kind)
    if dataset == "dns":
        columns["network.transport"] = _arrow(frame["protocol"], ecs.TEXT)
    return assemble(dataset, columns)


def _common(time: Array, ordinal: Array, segment: str, observer: str | None) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "@timestamp": pa.array(time.astype(np.int64)).cast(ecs.TIME),
        "csirt.segment": constant(segment, len(time)),
        "csirt.ordinal": ordinal,
    }
    if observer is not None:
        columns["observer.name"] = constant(observer, len(time))
    return columns


def _masked(values: Array, missing: Array) -> pa.Array:
    return pa.array(values, mask=missing if missing.any() else None)


def _arrow(series: pl.Series, kind: pa.DataType) -> pa.Array:
    array = series.to_arrow()
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    array = array.cast(plain)
    return array.dictionary_encode() if pa.types.is_dictionary(kind) else array
