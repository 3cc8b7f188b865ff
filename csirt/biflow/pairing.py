"""Deciding records, with the state that one step leaves to the next."""

from __future__ import annotations

import secrets

import numpy as np
import pyarrow as pa

from csirt.biflow import ends, kernel, lives
from csirt.biflow.layout import FLOW, KEY, MARK, UNMARKED, Limits, Open, Rows
from csirt.biflow.room import Room
from csirt.errors import CsirtError
from csirt.model.batch import Array

VERSION = 1
WORDS = FLOW.names or ()
SLICE = 1 << 17  # records decided at a time: what is needed for them stays near the processor
# Numbers of pairs of ends must not be made to collide by who chooses addresses and ports; results do not depend on it.
_SEED = np.uint64(secrets.randbits(64))


def decide(rows: Rows, order: Array, decided: int, before: Open, limits: Limits, room: Room) -> tuple[Array, Open, int]:
    """Marks, at the rows' own places, of the first `decided` in `order`, which is by (due, segment, ordinal); what is
    open after them; how many pairs of ends the bound closed. The other rows in `order` are only looked at. `room`:
    where the marks, what is open and what else is needed are made; what was open before is no more."""
    marks = _unmarked(room, len(rows.records))
    due, lost, start = rows.records["due"][order], 0, 0
    while start < decided:
        end = min(start + SLICE, decided)
        sight = int(np.searchsorted(due, due[end - 1] + limits.ahead, side="right"))
        before, cost = _decide(rows, order[start:sight], end - start, before, limits, room, marks)
        lost += cost
        start = end
    return marks, before, lost


def _decide(
    rows: Rows, order: Array, decided: int, before: Open, limits: Limits, room: Room, marks: Array
) -> tuple[Open, int]:
    """Mark some rows; what is open after them, and what the bound cost."""
    most = len(before.key) + len(order)
    key = _with(before.key, room.array("ends", (most, KEY), np.uint64))
    slots = room.array("slots", 1 << max(4, (2 * most).bit_length()), np.int32)
    records = rows.records
    pairs = ends.number(key, len(before.key), rows.key, order, _SEED, slots, records["pair"])
    ends.chain(records["pair"], order, room.array("last", pairs, np.int32), records["behind"])
    # Pairs are numbered as they come: those of rows that are only looked at are the last, and need no flows.
    pairs = max(len(before.key), int(records["pair"][order[:decided]].max(initial=-1)) + 1)
    flows = _with(before.flows, room.array("flows", 2 * pairs, FLOW))
    opener = _with(before.opener, room.array("opener", pairs, np.uint8))
    lives.blank(flows, opener, len(before.key))
    points, records["place"][order] = _places(before.points, records["point"][order])
    sees = np.zeros((len(points), 2), np.int64)
    sees[: len(before.sight)] = before.sight
    tick, lost = kernel.decide(order[:decided], records, flows, opener, pairs, sees, before.tick, limits, marks)
    left = lives.keep(key, opener, flows, pairs, int(records["due"][order[decided - 1]]), limits)
    return Open(key[:left], opener[:left], flows[: 2 * left], points, sees, int(tick)), lost


def _unmarked(room: Room, count: int) -> Array:
    """Marks that say nothing; written by words, which numpy does five times as quickly as by fields."""
    found = room.array("marks", count, MARK)
    found.view(np.uint64).reshape(count, MARK.itemsize // 8)[:] = UNMARKED.view(np.uint64)
    return found


def _with(before: Array, room: Array) -> Array:
    """The room with what there was in front; it is there already when the room is still where it was."""
    if before.ctypes.data != room.ctypes.data:
        room[: len(before)] = before
    return room


def _places(known: Array, points: Array) -> tuple[Array, Array]:
    """The observation points known before and now, and where each record's is among them."""
    every = pa.concat_arrays([pa.array(known), pa.array(points)]).dictionary_encode()
    return np.asarray(every.dictionary), np.asarray(every.indices)[len(known) :]


def to_bytes(state: Open) -> bytes:
    """The state, for the store."""
    columns = [state.key[:, word] for word in range(KEY)]
    columns += [state.flows[name][way::2].view(np.int64) for way in (0, 1) for name in WORDS]
    arrays = [pa.array(np.ascontiguousarray(column)) for column in [*columns, state.opener]]
    schema = pa.schema(
        [(str(index), array.type) for index, array in enumerate(arrays)],
        metadata={
            "version": str(VERSION),
            "tick": str(state.tick),
            "points": state.points.tobytes().hex(),
            "sight": state.sight.tobytes().hex(),
        },
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return bytes(sink.getvalue())


def from_bytes(data: bytes | None) -> Open:
    """The state that `to_bytes` wrote; nothing open for None. Raises CsirtError for another version's."""
    if data is None:
        return Open.none()
    try:
        table = pa.ipc.open_stream(pa.py_buffer(data)).read_all()
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    except (OSError, pa.ArrowException) as error:
        raise CsirtError(f"the state of open flows cannot be read ({error}); restore the store") from error
    if metadata.get("version") != str(VERSION):
        found = metadata.get("version")
        raise CsirtError(f"the state of open flows is of version {found}, this program's is {VERSION}")
    columns = [np.asarray(column.to_numpy()) for column in table.columns]
    state = Open.none()
    state.key = np.stack(columns[:KEY], axis=1) if table.num_rows else state.key
    flows = np.empty(2 * table.num_rows, FLOW)
    for word, name in enumerate(WORDS):
        for way in (0, 1):
            flows[name].view(np.int64)[way::2] = columns[KEY + way * len(WORDS) + word]
    points = np.frombuffer(bytes.fromhex(metadata["points"]), np.uint64)
    sight = np.frombuffer(bytes.fromhex(metadata["sight"]), np.int64).reshape(-1, 2)
    return Open(state.key, columns[-1].astype(np.uint8), flows, points, sight, int(metadata["tick"]))
