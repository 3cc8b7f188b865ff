"""Marks as columns of the schema."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from csirt.biflow.layout import DESTINATION, NEVER, OWN, SOURCE, UNKNOWN
from csirt.model import ecs
from csirt.model.batch import Array, codes

_ENDS: list[str | None] = [None, "source", "destination"]
assert (UNKNOWN, SOURCE, DESTINATION) == (0, 1, 2)


def columns(marks: Array, bits: Array) -> dict[str, pa.Array]:
    """The columns of `ecs.PAIRED` in which marks (of MARK) say anything. Records with reverse counters of their own
    (`bits`) keep them."""
    found: dict[str, pa.Array] = {}
    if marks["duplicate"].any():
        found["csirt.flow.duplicate_of"] = _ids(marks)
    continued = marks["begin"] != NEVER
    if continued.any():
        found["csirt.flow.start"] = pa.array(marks["begin"], pa.int64(), mask=~continued).cast(ecs.TIME)
    answered = marks["answered"] >= 0
    if answered.any():
        found["csirt.flow.answered"] = pa.array(marks["answered"] == 1, mask=None if answered.all() else ~answered)
    if (marks["opener"] != UNKNOWN).any():
        found["csirt.flow.client"] = codes(marks["opener"].astype(np.int64), _ENDS)
    given = marks["paired"] & (bits & OWN == 0)
    if given.any():
        mask = None if given.all() else ~given
        found["csirt.flow.reverse.bytes"] = pa.array(marks["bytes"], mask=mask)
        found["csirt.flow.reverse.packets"] = pa.array(marks["packets"], mask=mask)
    return found


def _ids(marks: Array) -> pa.Array:
    """The ids of the records that count, for the duplicates."""
    words = np.stack([marks["segment"], marks["ordinal"]], axis=1)[marks["duplicate"]].astype(">u8")
    text = pa.py_buffer(words.tobytes().hex().encode())
    ends = np.zeros(len(marks["duplicate"]) + 1, np.int32)
    np.cumsum(marks["duplicate"] * 32, out=ends[1:])
    valid = pa.array(marks["duplicate"]).buffers()[1]
    return pa.Array.from_buffers(pa.string(), len(marks["duplicate"]), [valid, pa.py_buffer(ends), text])
