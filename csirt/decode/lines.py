"""Raw log lines as one column of valid text."""

from __future__ import annotations

import codecs

import numpy as np
import polars as pl
import pyarrow as pa

from csirt.model.batch import Array
from csirt.model.chunk import Lines

_NEWLINE = 10


def _same_length(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "?" * (error.end - error.start), error.end


codecs.register_error("csirt-same-length", _same_length)


def text(lines: Lines) -> pl.Series:
    """One string per line; every byte that is not part of valid UTF-8 becomes `?`, a trailing CR is removed.

    Lines are copied with a line feed between them, so that bytes of two lines never form one character.
    """
    count = len(lines.offset)
    if not count:
        return pl.Series("line", [], dtype=pl.String)
    length = lines.length.astype(np.int64, copy=False)
    ends = np.cumsum(length + 1)
    starts = ends - length - 1
    packed = np.full(int(ends[-1]), _NEWLINE, np.uint8)
    body = np.ones(len(packed), bool)
    body[ends - 1] = False
    packed[body] = _gather(lines.buffer, lines.offset.astype(np.int64, copy=False), length)
    raw = packed.tobytes()
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        raw = raw.decode("utf-8", "csirt-same-length").encode("utf-8")
    stop = ends - 1
    data = np.frombuffer(raw, np.uint8)
    carriage = (length > 0) & (data[np.maximum(stop - 1, 0)] == 13)
    # Offsets of an Arrow string array cannot skip the separators: take them as every second string.
    offsets = np.empty(2 * count + 1, np.int64)
    offsets[0::2][:count] = starts
    offsets[1::2] = stop - carriage
    offsets[-1] = ends[-1]
    both = pa.LargeStringArray.from_buffers(2 * count, pa.py_buffer(offsets), pa.py_buffer(raw))
    return pl.Series("line", pl.from_arrow(both)).gather_every(2)


def _gather(buffer: Array, offset: Array, length: Array) -> Array:
    """The lines' bytes, joined."""
    if np.all(offset[1:] >= offset[:-1] + length[:-1]):
        edge = np.zeros(len(buffer) + 1, np.int8)
        np.add.at(edge, offset, 1)
        np.add.at(edge, offset + length, -1)
        inside: Array = buffer[np.cumsum(edge[:-1], dtype=np.int8).astype(bool)]
        return inside
    total = np.cumsum(length)
    index = np.arange(int(total[-1])) + np.repeat(offset - (total - length), length)
    picked: Array = buffer[index]
    return picked
