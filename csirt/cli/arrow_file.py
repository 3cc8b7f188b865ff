"""An Arrow IPC file in which columns that are one and the same memory lie once.

Arrow's writer copies such memory once for each column. The format does not ask for that: a batch says of each buffer
where it lies and how long it is (Arrow Columnar Format, "Recordbatch message"), and readers go by what it says. So
Arrow's writer makes the head, the dictionaries, the footer, and one message of a batch as a pattern; rows, lengths and
places are filled in here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from csirt.model import disk
from csirt.model.batch import Array

ALIGN = 64  # of buffers, as Arrow recommends
MOST = 1_000  # pieces of one write
PIECE = 512 << 10  # of one write: beyond it the kernel takes larger pages, of which there may be no warm ones
# Numbers of fields in Arrow's flatbuffers (format/Message.fbs, File.fbs).
_HEADER, _BODY = 2, 3  # of a Message
_ROWS, _NODES, _BUFFERS = 0, 1, 2  # of a RecordBatch
_BATCHES = 3  # of a Footer
_TAIL = 10  # the footer's length and the magic behind it
_BLOCK = np.dtype([("offset", "<i8"), ("metadata", "<i4"), ("padding", "<i4"), ("body", "<i8")])
_MARK = b"\xff\xff\xff\xff"
_PADDING = bytes(ALIGN)
_PREFIX = 8  # a message's mark and length


class ArrowFile:
    """Batches of one schema into an empty file. `sample`: a batch of one row, with the dictionaries that all have."""

    def __init__(self, handle: int, sample: pa.RecordBatch) -> None:
        self._handle = handle
        self._sample = sample
        raw = _written(sample, 1)
        first = _blocks(raw)[0]
        start, size = int(first["offset"]), int(first["metadata"])
        self._pattern = _Pattern(raw[start : start + size]) if sample.num_columns else None
        self._kinds = [_kind(kind) for kind in sample.schema.types]
        self._blocks: list[tuple[int, int, int, int]] = []
        self._end = 0
        self._write([raw[:start]])

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows. Raises OSError."""
        pattern, nodes, buffers = self._pattern, [], []
        if pattern is None:
            return
        for column, (coded, bits) in zip(batch.columns, self._kinds, strict=True):
            array = column.indices if coded else column
            found = None if bits is None or array.offset else _buffers(array, bits)
            if found is None:
                self._write_copied(batch)
                return
            nodes.append((len(array), array.null_count))
            buffers += found
        places: dict[tuple[int, int], int] = {}
        lying: list[tuple[int, int]] = []
        head = -(-(self._end + pattern.size) // ALIGN) * ALIGN - self._end
        pieces: list[bytes | pa.Buffer] = [b""]
        at = 0
        for buffer in buffers:
            if buffer is None or not buffer.size:
                lying.append((0, 0))
                continue
            size = buffer.size
            place = places.setdefault((buffer.address, size), at)
            lying.append((place, size))
            if place == at:
                pieces += (buffer, _PADDING[: -size % ALIGN])
                at += size + -size % ALIGN
        pieces[0] = pattern.filled(batch.num_rows, nodes, lying, at, head)
        disk.reserve(self._handle, self._end, head + at)
        self._write(pieces)
        self._blocks.append((self._end - head - at, head, 0, at))

    def close(self) -> None:
        """Write the footer. Raises OSError."""
        raw = bytearray(_written(self._sample, len(self._blocks)))
        _blocks(raw)[:] = self._blocks
        size = int.from_bytes(raw[-_TAIL:-6], "little")
        self._write([bytes(raw[-_TAIL - size - _PREFIX :])])  # with the mark behind the last message

    def _write_copied(self, batch: pa.RecordBatch) -> None:
        """A batch with columns inside others, or that begin inside their memory: as Arrow has it."""
        raw = batch.serialize()
        size = _PREFIX + int.from_bytes(raw[4:8].to_pybytes(), "little")
        self._blocks.append((self._end, size, 0, raw.size - size))
        self._write([raw])

    def _write(self, pieces: Sequence[bytes | pa.Buffer]) -> None:
        """Append, small pieces together and large ones in parts."""
        group: list[memoryview] = []
        room = PIECE
        for piece in pieces:
            view = memoryview(piece).cast("B")
            while len(view):
                group.append(view[:room])
                view, room = view[room:], room - len(group[-1])
                if not room or len(group) == MOST:
                    self._write_group(group)
                    group, room = [], PIECE
        self._write_group(group)

    def _write_group(self, group: list[memoryview]) -> None:
        size = sum(map(len, group))
        done = os.pwritev(self._handle, group, self._end) if group else 0
        if done < size:
            rest = memoryview(b"".join(group))
            while done < size:
                done += os.pwrite(self._handle, rest[done:], self._end + done)
        self._end += size


class _Pattern:
    """The message of a batch, with room for its numbers."""

    def __init__(self, raw: bytes) -> None:
        self.size = len(raw)
        self._raw = np.frombuffer(bytearray(raw), np.uint8)
        message = _follow(raw, _PREFIX)
        batch = _follow(raw, _field(raw, message, _HEADER))
        self._body = self._numbers(_field(raw, message, _BODY), 1)
        self._rows = self._numbers(_field(raw, batch, _ROWS), 1)
        self._nodes, self._buffers = (self._pairs(raw, _field(raw, batch, number)) for number in (_NODES, _BUFFERS))

    def _numbers(self, at: int, count: int) -> Array:
        return self._raw[at : at + 8 * count].view("<i8")

    def _pairs(self, raw: bytes, at: int) -> Array:
        begin = _follow(raw, at)
        return self._numbers(begin + 4, 2 * _number(raw, begin, 4)).reshape(-1, 2)

    def filled(
        self, rows: int, nodes: list[tuple[int, int]], buffers: list[tuple[int, int]], body: int, size: int
    ) -> bytes:
        """The message, made `size` octets long."""
        self._rows[0], self._body[0] = rows, body
        self._nodes[:], self._buffers[:] = nodes, buffers
        return (_MARK + (size - _PREFIX).to_bytes(4, "little") + self._raw[_PREFIX:].tobytes()).ljust(size, b"\0")


def _kind(kind: pa.DataType) -> tuple[bool, int | None]:
    """Whether a column is a dictionary, and the bits of one of its values: 0 for text, None where it has columns in it
    or is of a kind that events do not have."""
    if pa.types.is_dictionary(kind):
        return True, int(kind.index_type.bit_width)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return False, 0
    try:
        return False, None if pa.types.is_null(kind) else int(kind.bit_width)
    except ValueError:
        return False, None


def _buffers(array: pa.Array, bits: int) -> list[pa.Buffer | None] | None:
    """What a column's rows lie in and nothing else; None for texts without rows, of which Arrow knows two forms."""
    rows = len(array)
    valid, *rest = array.buffers()
    known = _cut(valid, -(-rows // 8)) if array.null_count else None
    if bits:
        return [known, _cut(rest[0], -(-rows * bits // 8))]
    ends = _cut(rest[0], 4 * rows + 4)
    if not rows or ends is None:
        return None
    return [known, ends, _cut(rest[1], int.from_bytes(ends[-4:].to_pybytes(), "little"))]


def _cut(buffer: pa.Buffer | None, size: int) -> pa.Buffer | None:
    return buffer if buffer is None or buffer.size == size else buffer.slice(0, size)


def _written(sample: pa.RecordBatch, batches: int) -> bytes:
    """A file of so many samples as Arrow writes it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, sample.schema) as writer:
        for _ in range(batches):
            writer.write_batch(sample)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _blocks(raw: bytes | bytearray) -> Array:
    """Where the footer says that the batches lie; in a bytearray it can be changed."""
    size = int.from_bytes(raw[-_TAIL:-6], "little")
    begin = len(raw) - _TAIL - size
    footer = _follow(raw, begin)
    vector = _follow(raw, _field(raw, footer, _BATCHES))
    return np.frombuffer(raw, _BLOCK, _number(raw, vector, 4), vector + 4)


def _number(raw: bytes | bytearray, at: int, size: int) -> int:
    return int.from_bytes(raw[at : at + size], "little")


def _follow(raw: bytes | bytearray, at: int) -> int:
    """Where the flatbuffer's offset that lies here points to."""
    return at + _number(raw, at, 4)


def _field(raw: bytes | bytearray, table: int, number: int) -> int:
    """Where a field of a flatbuffer's table lies."""
    places = table - int.from_bytes(raw[table : table + 4], "little", signed=True)
    return table + _number(raw, places + 4 + 2 * number, 2)
