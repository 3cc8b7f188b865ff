"""What one bucket of a baseline has counted so far, per group; adding is exact in any order and any pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.held import WHOLE, event_keys
from csirt.model.batch import Array
from csirt.model.hits import HITS, conform

# Beside a hit that speaks for its group: the group, how many events, their sum in whole parts and millionths, and the
# events of the second rule of a ratio.
COUNTED = ("code", "events", "whole", "parts", "other")
KEPT = [name for name in HITS.names if name != "values"]
ROWS = pa.schema([*(HITS.field(name) for name in KEPT), *((name, pa.int64()) for name in COUNTED)])
PAIRS = pa.schema([("code", pa.int64()), ("value", pa.string())])


@dataclass(frozen=True, slots=True)
class Tally:
    """Per group that had something (codes, ascending) its measure and how many events it is of."""

    codes: Array
    values: Array
    counts: Array


class Bucket:
    """An open bucket. `rows`: one per group, the hit with the greatest number that came first, with what was counted.
    `pairs`: the distinct values of each group."""

    def __init__(self, measure: str, rows: pa.Table | None = None, pairs: pa.Table | None = None) -> None:
        self._measure = measure
        self.rows = ROWS.empty_table() if rows is None else rows
        self.pairs = PAIRS.empty_table() if pairs is None else pairs
        self.dirty = rows is None

    def add(self, hits: pa.Table, rule: int, code: Callable[[list[str]], Array]) -> None:
        """Count hits of the first rule (0) or the second (1)."""
        self.dirty = True
        groups = pc.dictionary_encode(hits.column("group").combine_chunks())
        codes = code(groups.dictionary.to_pylist())[np.asarray(groups.indices.to_numpy())]
        counts = np.asarray(pc.fill_null(hits.column("count"), 1).to_numpy())
        totals = pc.coalesce(hits.column("total"), hits.column("number"), pa.scalar(0.0))
        numbers = np.asarray(totals.to_numpy())
        clipped = np.clip(numbers, -WHOLE, WHOLE)
        whole = np.floor(clipped)
        counted = {
            "code": codes,
            "events": counts if rule == 0 else np.zeros_like(counts),
            "whole": whole.astype(np.int64),
            "parts": np.rint((clipped - whole) * 1e6).astype(np.int64),
            "other": counts if rule == 1 else np.zeros_like(counts),
        }
        if self._measure == "distinct":
            self._values(_pairs(hits, codes))
        fresh = hits.select(KEPT)
        for name, values in counted.items():
            fresh = fresh.append_column(name, pa.array(values))
        self.rows = _merged(pa.concat_tables([self.rows, fresh]))

    def _values(self, pairs: pa.Table) -> None:
        both = pa.concat_tables([self.pairs, pairs])
        self.pairs = both.group_by(["code", "value"], use_threads=False).aggregate([]).select(PAIRS.names)

    def tally(self) -> Tally:
        """What was counted."""
        columns = {name: np.asarray(self.rows.column(name).to_numpy()) for name in COUNTED}
        events = columns["events"]
        if self._measure == "sum":
            values = columns["whole"] + columns["parts"] / 1e6
        elif self._measure == "distinct":
            places = np.searchsorted(columns["code"], np.asarray(self.pairs.column("code").to_numpy()))
            values = np.bincount(places, minlength=len(events)).astype(float)
        elif self._measure == "ratio":
            values = np.where(columns["other"] > 0, events / np.maximum(columns["other"], 1), 0.0)
        else:
            values = events.astype(float)
        return Tally(columns["code"], values, events + columns["other"])

    def row(self, place: int) -> pa.Table:
        """The hit that speaks for a group of the tally."""
        return conform(self.rows.slice(place, 1).select(KEPT))

    def renumber(self, new: Array) -> None:
        """Give the groups the codes that `new` has at their old ones; their order stays."""
        for name in ("rows", "pairs"):
            table = getattr(self, name)
            codes = new[np.asarray(table.column("code").to_numpy())]
            place = table.schema.get_field_index("code")
            setattr(self, name, table.set_column(place, table.schema.field(place), pa.array(codes)))
        self.dirty = True


def ipc(table: pa.Table) -> bytes:
    """A table as bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_ipc(data: bytes) -> pa.Table:
    """A table from bytes."""
    return pa.ipc.open_stream(data).read_all()


def _pairs(hits: pa.Table, codes: Array) -> pa.Table:
    """Each hit's group with its value, or with each of its values."""
    lists = hits.column("values").combine_chunks()
    if lists.null_count == len(lists):
        return pa.table([pa.array(codes), hits.column("value")], schema=PAIRS)
    parents = np.asarray(pc.list_parent_indices(lists))
    many = pa.table([pa.array(codes[parents]), pc.list_flatten(lists)], schema=PAIRS)
    single = np.flatnonzero(np.asarray(pc.is_null(lists).to_numpy(zero_copy_only=False)))
    one = pa.table([pa.array(codes[single]), hits.column("value").take(pa.array(single))], schema=PAIRS)
    return pa.concat_tables([many, one])


def _merged(rows: pa.Table) -> pa.Table:
    """One row per group: the one with the greatest number, of those the first event; what was counted added up."""
    codes = np.asarray(rows.column("code").to_numpy())
    numbers = np.asarray(pc.fill_null(rows.column("number"), 0.0).to_numpy())
    high, low = event_keys(rows.column("event"))
    order = np.lexsort((low, high, np.asarray(rows.column("time").to_numpy()), -numbers, codes))
    firsts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    kept = rows.take(pa.array(order[firsts]))
    for name in COUNTED[1:]:
        added = np.add.reduceat(np.asarray(rows.column(name).to_numpy())[order], firsts)
        kept = kept.set_column(ROWS.names.index(name), ROWS.field(name), pa.array(added))
    return kept.combine_chunks()
