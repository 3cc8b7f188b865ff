"""Data that came before its template: held within bounds of octets and age, released or counted as expired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from csirt.decode.netflow import scan
from csirt.decode.netflow.spans import gather
from csirt.decode.netflow.state import HELD, OVERHEAD, Held, State
from csirt.model.batch import Array

if TYPE_CHECKING:
    from csirt.decode.netflow.counts import Deltas


@dataclass(slots=True)
class Entries:
    """Sets of this chunk that found no template. `slot`: which template they wait for; `rows` as `state.HELD`; `at`:
    their set numbers; `offset`: in the chunk's buffer."""

    slot: Array
    rows: dict[str, Array]
    at: Array
    offset: Array


@dataclass(slots=True)
class Outcome:
    """Fates (-1 held, -2 expired, else released) of older and of new entries; `decoded`: whether an older one gave
    records."""

    old: Array
    new: Array
    decoded: Array


def settle(
    held: Held, held_slot: Array, new: Entries, at: Array, slots: Array, clock: Array, limit: int, age: int, end: int,
    listed: Array,
) -> Array:  # fmt: skip
    """The fate of every held set, older ones first. Bounds are applied in order of arrival, never per chunk.

    `listed`: by exporter number; listed exporters and all others have room for `limit` octets each. `end`: the receive
    clock at the end of the chunk.
    """
    slot = np.concatenate([held_slot, new.slot])
    length = np.concatenate([held.rows["length"], new.rows["length"]]) + OVERHEAD
    now = np.concatenate([held.rows["clock"], new.rows["clock"]])
    number = np.concatenate([np.full(held.sets, -1, np.int64), new.at])
    fate = np.full(len(slot), -1, np.int64)
    if not len(slot):
        return fate
    ours = listed[np.concatenate([held.rows["exporter"], new.rows["exporter"]])]
    for which in (np.flatnonzero(ours), np.flatnonzero(~ours)):
        if len(which):
            mine = np.flatnonzero(np.isin(slots, slot[which]))
            part = np.full(len(which), -1, np.int64)
            parts = slot[which], length[which], now[which], number[which]
            scan.hold(*parts, at[mine], slots[mine], clock[mine], limit, age, end, part)
            released = part >= 0
            part[released] = mine[part[released]]
            fate[which] = part
    return fate


def keep(
    state: State, buffer: Array, new: Entries, outcome: Outcome, segments: list[str], good: Array, deltas: Deltas
) -> tuple[int, int]:
    """Make the next `state.held`. Returns how many datagrams held before are now decoded, and how many expired.

    `good`: of this chunk's datagrams, whether any set of theirs was decoded.
    """
    held = state.held
    if not held.sets and not len(new.at):
        state.segments = []
        return 0, 0
    before = held.datagrams
    rows = held.rows["datagram"]
    decoded = held.decoded.copy()
    decoded[rows[outcome.decoded]] = True
    pending = np.zeros(before, bool)
    pending[rows[outcome.old == -1]] = True
    owner = np.full(before, -1, np.int64)
    owner[rows] = held.rows["exporter"]
    done, gone = ~pending & decoded, ~pending & ~decoded
    deltas.add("decoded", owner[done])
    deltas.add("expired", owner[gone])
    deltas.add("held", owner[~pending], np.full(int((~pending).sum()), -1, np.int64))
    old, fresh = np.flatnonzero(outcome.old == -1), np.flatnonzero(outcome.new == -1)
    joined = {name: np.concatenate([held.rows[name][old], new.rows[name][fresh]]) for name in HELD}
    start = np.cumsum(held.rows["length"]) - held.rows["length"]
    data = np.empty(int(joined["length"].sum()), np.uint8)
    split = int(held.rows["length"][old].sum())
    gather(_view(held.data), start[old], held.rows["length"][old], data[:split])
    gather(buffer, new.offset[fresh], new.rows["length"][fresh], data[split:])
    flags = np.concatenate([decoded, good])
    datagrams, joined["datagram"] = np.unique(joined["datagram"], return_inverse=True)
    used, joined["segment"] = np.unique(joined["segment"], return_inverse=True)
    state.segments = [segments[i] for i in used.tolist()]
    state.held = Held(joined, data, flags[datagrams])
    return int(done.sum()), int(gone.sum())


def _view(values: Array) -> Array:
    view = values.view()
    view.flags.writeable = False
    return view
