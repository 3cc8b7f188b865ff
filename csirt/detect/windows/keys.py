"""Event ids as two integers that sort as the ids do."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from csirt import ids
from csirt.model.batch import Array

_SIGN = np.uint64(1 << 63)


def event_keys(column: pa.ChunkedArray) -> tuple[Array, Array]:
    """Event ids as two integers that sort as the ids do; an id that is not 32 hex digits as those of its digest."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    found = plain_keys(array)
    if found is None:
        found = np.array([event_key(text) for text in array.to_pylist()], np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def plain_keys(array: pa.StringArray) -> Array | None:
    """Ids that are all 32 hex digits, two integers each; None where one is not."""
    _, offsets, data = array.buffers()
    edges = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1] if offsets else np.zeros(1)
    if not len(array) or not (edges[1:] - edges[:-1] == 32).all():
        return None
    text = data[int(edges[0]) : int(edges[-1])].to_pybytes()
    try:
        packed = np.frombuffer(bytes.fromhex(text.decode("ascii")), ">u8").astype(np.uint64).reshape(-1, 2)
    except ValueError:
        return None
    if len(packed) != len(array) or text != text.lower():  # blanks and capitals are digits for Python
        return None
    return (packed ^ _SIGN).view(np.int64)


def event_key(text: str) -> tuple[int, int]:
    """One id as `event_keys` has it."""
    plain = text if len(text) == 32 and set(text) <= set("0123456789abcdef") else ids.digest("event", text)
    return int(plain[:16], 16) - (1 << 63), int(plain[16:], 16) - (1 << 63)


def key_text(high: int, low: int) -> str:
    """The id of a key, as 32 hex digits."""
    return f"{high + (1 << 63):016x}{low + (1 << 63):016x}"
