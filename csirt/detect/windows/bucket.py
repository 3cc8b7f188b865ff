"""What one bucket of a baseline has counted so far, per group; adding is exact in any order and any pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.windows.held import WHOLE
from csirt.detect.windows.speakers import speakers
from csirt.model.batch import Array
from csirt.model.hits import HITS, conform

# Beside a hit that speaks for its group: the group, how many events, their sum in whole parts and millionths, and the
# same of the second rule of a ratio.
COUNTED = ("code", "events", "whole", "parts", "other", "other_whole", "other_parts")
KEPT = [name for name in HITS.names if name != "values"]
_KNOWN = ("stream", "rule", "group")
ROWS = pa.schema([*(HITS.field(name) for name in KEPT), *((name, pa.int64()) for name in COUNTED)])
PAIRS = pa.schema([("code", pa.int64()), ("value", pa.string())])


@dataclass(frozen=True, slots=True)
class Tally:
    """Per group that had something (codes, ascending) its measure and how many events it is of; `bases`: what a ratio
    divides."""

    codes: Array
    values: Array
    counts: Array
    bases: Array


NOTHING = Tally(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True, slots=True)
class Part:
    """Some of what a bucket has counted; it never changes, and its number is given once. `rows`: one per group, the hit
    with the greatest number that came first, with what was counted. `pairs`: the distinct values of each group."""

    number: int
    rows: pa.Table
    pairs: pa.Table

    @property
    def size(self) -> int:
        """How much there is to merge."""
        return int(self.rows.num_rows + self.pairs.num_rows)


class Bucket:
    """An open bucket. `parts`: what was counted, each part more than twice as large as the next, so that however often
    a little is added, it is merged, and written, a few times and no more."""

    def __init__(self, measure: str, numeric: bool, parts: Sequence[Part] = ()) -> None:
        self._measure, self._numeric = measure, numeric
        self.parts = list(parts)
        self._next = max((part.number for part in parts), default=-1) + 1

    def add(self, hits: pa.Table, rule: int, code: Callable[[pa.ChunkedArray], Array]) -> None:
        """Count hits of the first rule (0) or the second (1)."""
        codes = code(hits.column("group"))
        counts = np.asarray(pc.fill_null(hits.column("count"), 1).to_numpy())
        totals = pc.coalesce(hits.column("total"), hits.column("number"), pa.scalar(0.0))
        numbers = np.asarray(totals.to_numpy())
        clipped = np.clip(numbers, -WHOLE, WHOLE)
        whole = np.floor(clipped)
        parts = np.rint((clipped - whole) * 1e6).astype(np.int64)
        names = ("events", "whole", "parts"), ("other", "other_whole", "other_parts")
        counted = dict(zip(names[rule], (counts, whole.astype(np.int64), parts), strict=True))
        counted |= dict.fromkeys(names[1 - rule], np.zeros_like(parts)) | {"code": codes}
        nothing = pa.nulls(hits.num_rows, pa.string())  # each of them is known by whose bucket it is, and the code
        columns = [nothing if name in _KNOWN else hits.column(name) for name in KEPT]
        fresh = pa.table([*columns, *(pa.array(counted[name]) for name in COUNTED)], schema=ROWS)
        pairs = _pairs(hits, codes) if self._measure == "distinct" else PAIRS.empty_table()
        self._put([fresh], [pairs])

    def _put(self, rows: list[pa.Table], pairs: list[pa.Table], *, whole: bool = False) -> None:
        """Add a part, merged with those that are not more than twice its size, and in itself; `whole`: with all."""
        size = sum(table.num_rows for table in (*rows, *pairs))
        while self.parts and (whole or self.parts[-1].size <= 2 * size):
            part = self.parts.pop()
            rows, pairs, size = [part.rows, *rows], [part.pairs, *pairs], size + part.size
        merged = _merged(pa.concat_tables(rows)), _distinct(pa.concat_tables(pairs))
        self.parts.append(Part(self._next, *merged))
        self._next += 1

    def codes(self) -> Array:
        """The groups that have something, some more than once."""
        found = [np.asarray(part.rows.column("code").to_numpy()) for part in self.parts]
        return np.concatenate([np.empty(0, np.int64), *found])

    def tally(self) -> Tally:
        """What was counted."""
        if len(self.parts) != 1:
            self._put([ROWS.empty_table()], [PAIRS.empty_table()], whole=True)
        rows, pairs = self.parts[0].rows, self.parts[0].pairs
        columns = {name: np.asarray(rows.column(name).to_numpy()) for name in COUNTED}
        events = columns["events"]
        if self._measure == "sum":
            values = columns["whole"] + columns["parts"] / 1e6
        elif self._measure == "distinct":
            places = np.searchsorted(columns["code"], np.asarray(pairs.column("code").to_numpy()))
            values = np.bincount(places, minlength=len(events)).astype(float)
        elif self._measure == "ratio":
            base, divisor = events.astype(float), columns["other"].astype(float)
            if self._numeric:
                base = columns["whole"] + columns["parts"] / 1e6
                divisor = columns["other_whole"] + columns["other_parts"] / 1e6
            values = np.divide(base, divisor, out=np.zeros(len(base)), where=divisor > 0)
            return Tally(columns["code"], values, events + columns["other"], base)
        else:
            values = events.astype(float)
        return Tally(columns["code"], values, events + columns["other"], values)

    def row(self, place: int, group: str) -> pa.Table:
        """The hit that speaks for a group of the tally."""
        row = conform(self.parts[0].rows.slice(place, 1).select(KEPT))
        return row.set_column(HITS.names.index("group"), HITS.field("group"), pa.array([group]))

    def renumber(self, new: Array) -> None:
        """Give the groups the codes that `new` has at their old ones; their order stays."""
        for at, part in enumerate(self.parts):
            self.parts[at] = Part(self._next, _renumbered(part.rows, new), _renumbered(part.pairs, new))
            self._next += 1


def _renumbered(table: pa.Table, new: Array) -> pa.Table:
    place = table.schema.get_field_index("code")
    codes = new[np.asarray(table.column("code").to_numpy())]
    return table.set_column(place, table.schema.field(place), pa.array(codes))


def current(rows: pa.Table) -> pa.Table:
    """Rows as this program writes them, from those of one that knew no sums of the second rule."""
    for name in COUNTED:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.array(np.zeros(rows.num_rows, np.int64)))
    return rows.select(ROWS.names)


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


def _distinct(pairs: pa.Table) -> pa.Table:
    """Each pair once, by code."""
    if not pairs.num_rows:
        return pairs
    values = pc.dictionary_encode(pairs.column("value").combine_chunks(), null_encoding="encode")
    width = len(values.dictionary)
    keys = np.asarray(pairs.column("code").to_numpy()) * width + np.asarray(values.indices.to_numpy())
    keys.sort()
    keys = keys[np.diff(keys, prepend=-1) > 0]
    return pa.table([pa.array(keys // width), values.dictionary.take(pa.array(keys % width))], schema=PAIRS)


def _merged(rows: pa.Table) -> pa.Table:
    """One row per group: the one that speaks for it; what was counted added up."""
    if not rows.num_rows:
        return rows
    codes = np.asarray(rows.column("code").to_numpy())
    numbers = np.asarray(pc.fill_null(rows.column("number"), 0.0).to_numpy())
    times = np.asarray(rows.column("time").to_numpy())
    order, firsts, chosen = speakers(codes, numbers, times, lambda some: rows.column("event").take(pa.array(some)))
    kept = rows.take(pa.array(chosen))
    for name in COUNTED[1:]:
        counted = np.asarray(rows.column(name).to_numpy())
        if len(firsts) < len(codes) and counted.any():
            added = np.add.reduceat(counted[order], firsts)
            kept = kept.set_column(ROWS.names.index(name), ROWS.field(name), pa.array(added))
    return kept.combine_chunks()
