"""Deciding records, with the state that one step leaves to the next."""

from __future__ import annotations

import secrets

import numpy as np
import pyarrow as pa

from csirt.biflow import kernel
from csirt.biflow.layout import FLOW, KEY, LAST, NEVER, Limits, Marks, Open, Rows
from csirt.errors import CsirtError
from csirt.model.batch import Array

VERSION = 1
# Numbers of pairs of ends must not be made to collide by who chooses addresses and ports; results do not depend on it.
_SEED = np.uint64(secrets.randbits(64))


def decide(rows: Rows, decided: int, before: Open, limits: Limits) -> tuple[Marks, Open, int]:
    """Marks of the first `decided` of the rows, which are in the order (due, segment, ordinal); what is open after
    them; how many pairs of ends the bound closed. The other rows are only looked at."""
    marks = Marks.blank(decided)
    room = len(before.key) + rows.count
    key = np.empty((room, KEY), np.uint64)
    key[: len(before.key)] = before.key
    slots = np.full(1 << max(4, (2 * room).bit_length()), -1, np.int32)
    pair = np.empty(rows.count, np.int32)
    pairs = kernel.number(key, len(before.key), rows.key, _SEED, slots, pair)
    behind = np.empty(rows.count, np.int32)
    kernel.chain(pair, pairs, behind)
    # Pairs are numbered as they come: those of rows that are only looked at are the last, and need no flows.
    pairs = max(len(before.key), int(pair[:decided].max(initial=-1)) + 1)
    flows = np.zeros((2 * pairs, FLOW), np.int64)
    flows[:, LAST] = NEVER
    flows[: len(before.flows)] = before.flows
    opener = np.zeros(pairs, np.uint8)
    opener[: len(before.opener)] = before.opener
    points, place = _places(before.points, rows.point)
    sees = np.zeros((len(points), 2), np.int64)
    sees[: len(before.sight)] = before.sight
    tick, lost = kernel.decide(
        decided, pair, behind, rows.way, rows.due, rows.begin, rows.slow, rows.point, rows.rank, rows.segment,
        rows.ordinal, rows.bytes, rows.packets, rows.bits, rows.fixed, rows.ports, flows, opener, pairs, before.tick,
        place, sees,
        np.array([limits.ahead, limits.touch, limits.gap, limits.pairs], np.int64),
        marks.duplicate, marks.segment, marks.ordinal, marks.begin, marks.paired, marks.bytes, marks.packets,
        marks.answered, marks.opener,
    )  # fmt: skip
    now = int(rows.due[decided - 1]) if decided else NEVER
    key, opener, flows = _kept(key, opener, flows, pairs, now, limits)
    return marks, Open(key, opener, flows, points, sees, int(tick)), lost


def _places(known: Array, points: Array) -> tuple[Array, Array]:
    """The observation points known before and now, and where each record's is among them."""
    every = pa.concat_arrays([pa.array(known), pa.array(points)]).dictionary_encode()
    return np.asarray(every.dictionary), np.asarray(every.indices)[len(known) :]


def _kept(key: Array, opener: Array, flows: Array, pairs: int, now: int, limits: Limits) -> tuple[Array, Array, Array]:
    """What records due after `now` can still belong to."""
    keep = np.empty(pairs, np.bool_)
    kernel.still_open(flows, pairs, now, limits.touch, limits.gap, keep)
    which = np.flatnonzero(keep)
    both = np.stack([2 * which, 2 * which + 1], axis=1).reshape(-1)
    return key[which], opener[which], flows[both]


def to_bytes(state: Open) -> bytes:
    """The state, for the store."""
    columns = [state.key[:, word] for word in range(KEY)]
    columns += [state.flows[way::2, word] for way in (0, 1) for word in range(FLOW)]
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
    flows = np.empty((2 * table.num_rows, FLOW), np.int64)
    for word in range(FLOW):
        flows[0::2, word], flows[1::2, word] = columns[KEY + word], columns[KEY + FLOW + word]
    points = np.frombuffer(bytes.fromhex(metadata["points"]), np.uint64)
    sight = np.frombuffer(bytes.fromhex(metadata["sight"]), np.int64).reshape(-1, 2)
    return Open(state.key, columns[-1].astype(np.uint8), flows, points, sight, int(metadata["tick"]))
