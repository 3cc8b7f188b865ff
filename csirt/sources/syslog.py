"""Frames segments to lines, with who sent each of them."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np

from csirt.model import spool as form
from csirt.model.batch import Array
from csirt.model.chunk import Chunk, Lines
from csirt.model.jit import kernel
from csirt.sources.base import FileInput
from csirt.sources.pcap import read_window

WINDOW = 8 << 20
_HEAD = form.RECORD.size
_LARGEST = _HEAD + form.MAX_MESSAGE
_TIME, _ADDRESS, _FAMILY, _CRC = 8, 16, 32, 36

MORE, LIMIT, END = range(3)
form_max, head_size, crc_at = form.MAX_MESSAGE, _HEAD, _CRC  # constants of the compiled code


def _crc_table() -> Array:
    """CRC-32 (IEEE 802.3, reflected), a byte at a time."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1).astype(np.uint32)
    return table


_TABLE = _crc_table()


@kernel
def _u32(buffer: Any, at: Any) -> Any:
    return (
        np.int64(buffer[at])
        | np.int64(buffer[at + 1]) << 8
        | np.int64(buffer[at + 2]) << 16
        | np.int64(buffer[at + 3]) << 24
    )


@kernel
def _crc(buffer: Any, at: Any, size: Any, value: Any, table: Any) -> Any:
    for index in range(at, at + size):
        value = table[(value ^ buffer[index]) & np.uint32(0xFF)] ^ (value >> np.uint32(8))
    return value


@kernel
def _whole(buffer: Any, at: Any, end: Any, magic: Any, table: Any) -> Any:
    """Length of the payload of the record at `at`; -1 when it is damaged, -2 when it goes on beyond `end`."""
    if _u32(buffer, at) != magic:
        return np.int64(-1)
    length = _u32(buffer, at + 4)
    if length > form_max:
        return np.int64(-1)
    if at + head_size + length > end:
        return np.int64(-2)
    crc = _crc(buffer, at, crc_at, np.uint32(0xFFFFFFFF), table)
    crc = _crc(buffer, at + head_size, length, crc, table) ^ np.uint32(0xFFFFFFFF)
    return length if np.int64(crc) == _u32(buffer, at + crc_at) else np.int64(-1)


@kernel
def _walk(buffer: Any, end: Any, limit: Any, final: Any, magic: Any, table: Any, skipping: Any, out: Any) -> Any:
    """Records from the start of `buffer`: (records, bytes used, why it stopped, damaged stretches, still skipping).

    Behind damage the next whole record is looked for byte by byte; a stretch counts when one is found. `final`: the
    file ends at `end`. `out`: int64 rows (record offset, length).
    """
    at, count, damaged = 0, 0, 0
    while count < limit:
        if end - at < head_size:
            return count, at, END if at == end else MORE, damaged, skipping
        length = _whole(buffer, at, end, magic, table)
        if length == -2 and not final:
            return count, at, MORE, damaged, skipping
        if length < 0:
            skipping = 1
            at += 1
            continue
        damaged += skipping
        skipping = 0
        out[count, 0] = at
        out[count, 1] = length
        count += 1
        at += head_size + length
    return count, at, LIMIT, damaged, skipping


class FramesInput(FileInput):
    """Messages of a frames segment. Damage is counted once per stretch, and reading goes on behind it."""

    def take(
        self, handle: int, offset: int, end: int, limit: int, extra: dict[str, Any], *, final: bool
    ) -> Chunk | None:
        """The next messages."""
        at = offset
        lost: dict[str, int] = {}
        skipping = int(extra.get("skipping", 0))
        if at == 0:
            if end < form.FRAMES_HEADER.size:
                return self.chunk(0, end, None, last=True, lost={"torn": 1}) if final else None
            at = form.FRAMES_HEADER.size
        rows: Array = np.empty((0, 2), np.int64)
        buffer: Array = np.empty(0, np.uint8)
        window = min(max(limit * 512, 4 * _LARGEST), WINDOW)
        base = at
        while at < end and not len(rows):
            base = at
            buffer = read_window(handle, at, min(window, end - at))
            out: Array = np.empty((min(limit, len(buffer) // _HEAD + 1), 2), np.int64)
            whole = base + len(buffer) >= end
            count, used, why, damaged, skipping = _walk(
                buffer, len(buffer), len(out), final and whole, form.RECORD_MAGIC, _TABLE, skipping, out
            )
            rows, at = out[:count], at + int(used)
            if damaged:
                lost["damaged"] = lost.get("damaged", 0) + int(damaged)
            if why != LIMIT and whole:
                if final and (skipping or at < end):
                    lost["torn"] = 1
                    at = end
                break
        if at == offset:
            return None
        lines = _lines(buffer, rows, base, self.path.name) if len(rows) else None
        saved = {"skipping": 1} if skipping else {}
        return self.chunk(offset, at, lines, last=final and at >= end, extra=saved, lost=lost)


def _lines(buffer: Array, rows: Array, base: int, name: str) -> Lines:
    """Lines of the records in a window that begins at `base` in the file."""
    start, length = np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])
    heads = buffer[start[:, None] + np.arange(_HEAD)]
    time = np.ascontiguousarray(heads[:, _TIME:_ADDRESS]).view("<u8").reshape(-1)
    senders, origin = np.unique(np.ascontiguousarray(heads[:, _ADDRESS : _FAMILY + 1]), axis=0, return_inverse=True)
    return Lines(
        buffer=buffer,
        offset=start + _HEAD,
        length=length,
        position=start + base,
        time=time.astype(np.int64),
        path=form.sealed_name(name),
        origin=origin.reshape(-1).astype(np.int32),
        hosts=[_host(row.tobytes()) for row in senders],
    )


def _host(raw: bytes) -> str:
    return str(ipaddress.IPv4Address(raw[:4]) if raw[16] == 4 else ipaddress.IPv6Address(raw[:16]))
