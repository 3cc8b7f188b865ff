"""What a ratio divides by: events of which only their time and group are asked for, many to a row of hits.

They may be every event there is. A row is of one step of event time and has, for each of its events, the time and the
place of the group in the row's `values`: eight octets, and each group's text once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.clock import TICK
from csirt.detect.columns.columns import Column
from csirt.detect.rule import Correlation
from csirt.detect.windows.codes import begins, dense, joined
from csirt.detect.windows.condense import codes_of
from csirt.detect.windows.payload import Payload
from csirt.detect.windows.sliding import NEVER
from csirt.model.batch import Array
from csirt.model.hits import HITS, sizes

_EVENT: pa.StructType = HITS.field("counted").type.value_type
_MEMBERS = [_EVENT.field(number) for number in range(_EVENT.num_fields)]


def packed(
    group: Sequence[Column | None], rows: Array, times: Array, texts: Callable[[Array], pa.StringArray]
) -> dict[str, pa.Array] | None:
    """The events as columns of hits, a row for each step of event time: when its last one was, the groups, and which
    event was when and of which of them. `texts`: the groups of some of the rows, by their place. None where a field of
    the group is a list: then an event is in several groups."""
    if any(column is not None and column.many for column in group):
        return None
    codes = [codes_of(column, rows) for column in group] or [np.zeros(len(rows), np.int64)]
    steps = _steps(times)
    order = np.argsort(steps, kind="stable")
    steps, times = steps[order], times[order]
    # Numbered as they come, so those of a step are side by side.
    pairs = joined(steps.astype(np.int64), reduce(joined, codes)[order])
    edges, firsts = begins(steps), np.flatnonzero(np.diff(np.maximum.accumulate(pairs), prepend=-1))
    groups, counts = pairs[edges], np.diff(np.append(edges, len(pairs)))  # how many groups the rows before have
    places, last = pairs - np.repeat(groups, counts), np.maximum.reduceat(times, edges)
    members = [pa.array(part.astype(np.int32)) for part in (places, np.repeat(last, counts) - times)]
    events = pa.StructArray.from_arrays(members, fields=_MEMBERS)
    return {
        "time": pa.array(last),
        "values": pa.ListArray.from_arrays(_ends(groups, len(firsts)), texts(order[firsts])),
        "counted": pa.ListArray.from_arrays(_ends(edges, len(pairs)), events),
    }


def _steps(times: Array) -> Array:
    """The step of event time of each, by a number; a step has its end and not its beginning."""
    steps = (times + TICK - 1) // TICK
    steps -= steps[:1] if len(steps) < 2 else steps.min()
    # Few are numbers that sort in one pass.
    return steps.astype(np.int16) if steps.max(initial=0) < 1 << 15 else dense(steps)


def _ends(begin: Array, count: int) -> pa.Int32Array:
    return pa.array(np.append(begin, count).astype(np.int32))


class Divisor:
    """The events a ratio's windows still reach, at most `most` or so."""

    def __init__(self, most: int) -> None:
        self.payload = Payload()
        self._most = most

    def add(self, hits: pa.Table, cut: int) -> int:
        """Take in events, as rows of their own or many to a row; how many left for the bound: the oldest. What is at or
        before `cut` is out of reach."""
        self.payload.expire(cut)
        if hits.num_rows:
            self.payload.append(hits.combine_chunks())
        held = [int(sizes(piece.batch).sum()) for piece in self.payload.pieces]
        lost = 0
        for piece, size in sorted(zip(self.payload.pieces, held, strict=True), key=lambda item: item[0].last):
            if sum(held) - lost <= self._most:
                break
            self.payload.pieces.remove(piece)
            lost += size
        return lost

    def count(self, names: Sequence[str], whose: Array, times: Array, span: int) -> Array:
        """How many events each of these moments has in its window: `times`, each of the group `names[whose]`."""
        least, found = int(times.min()) - span, [(np.empty(0, np.int64), np.empty(0, np.int64))]
        wanted = pa.array(names, pa.string())
        for piece in self.payload.pieces:
            if piece.last >= least:
                found += [_events(piece.batch, wanted), _plain(piece.batch, wanted)]
        groups, moments = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return _between(groups, moments, whose, times - span, times)


class Divisors:
    """What all ratios divide by, by the name of the stream: one of all that divide by the same."""

    def __init__(self, correlations: Iterable[Correlation], most: int) -> None:
        self._most = most
        self._held: dict[str, Divisor] = {}
        self._spans: dict[str, int] = {}
        for item in correlations:
            for name in (item.stream(rule) for rule in item.rules if item.divides_by(rule)):
                self._spans[name] = max(item.timespan, self._spans.get(name, 0))

    def __contains__(self, name: str) -> bool:
        return name in self._spans

    def of(self, item: Correlation) -> Divisor | None:
        """What a ratio divides by."""
        return self[item.stream(item.rules[1])] if item.type == "ratio" else None

    def __getitem__(self, name: str) -> Divisor:
        return self._held.setdefault(name, Divisor(self._most))

    def take(self, by_stream: dict[str, pa.Table], until: int | None) -> int:
        """Take in, and take away, their streams of some hits; how many events left for the bound."""
        cut = NEVER if until is None else until
        mine = sorted(self._spans.keys() & by_stream.keys())
        return sum(self[name].add(by_stream.pop(name), cut - self._spans[name]) for name in mine)

    def close(self, until: int) -> None:
        """Let go of what is out of reach once `until` is closed."""
        for name, divisor in self._held.items():
            divisor.payload.expire(until - self._spans[name])

    def payloads(self) -> dict[str, Payload]:
        """Those that hold something."""
        return {name: divisor.payload for name, divisor in self._held.items() if divisor.payload.pieces}


def _between(groups: Array, moments: Array, whose: Array, since: Array, until: Array) -> Array:
    """How many of the moments, each of a group, are of that group and between those two."""
    start = min(int(since.min()), int(moments.min(initial=since.min())))
    width = max(int(until.max()), int(moments.max(initial=0))) - start + 2
    if (int(whose.max()) + 1) * width >= 1 << 62:  # a far stray time: by rank
        known = np.unique(np.concatenate([moments, since, until]))
        return _between(
            groups,
            np.searchsorted(known, moments),
            whose,
            np.searchsorted(known, since),
            np.searchsorted(known, until),
        )
    placed = np.sort(groups * width + (moments - start))
    base = whose * width - start
    after: Array = np.searchsorted(placed, base + until, side="right") - np.searchsorted(placed, base + since)
    return after


def _events(batch: pa.RecordBatch, wanted: pa.StringArray) -> tuple[Array, Array]:
    """The group, by its number in `wanted`, and the time of the events of those groups in rows that have many."""
    if batch.column("counted").null_count == len(batch):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = batch.filter(pc.is_valid(batch.column("counted")))
    values, counted = rows.column("values"), rows.column("counted")
    named = pc.fill_null(pc.index_in(pc.list_flatten(values), value_set=wanted), -1)
    events = pc.list_flatten(counted)
    offsets = np.asarray(values.offsets.to_numpy()).astype(np.int64)
    counts = np.asarray(pc.list_value_length(counted).to_numpy())
    places = np.repeat(offsets[:-1] - offsets[0], counts)
    places += np.asarray(events.field(0).to_numpy())
    groups = np.asarray(named.to_numpy())[places].astype(np.int64)
    kept = np.flatnonzero(groups >= 0)
    last = np.repeat(np.asarray(rows.column("time").to_numpy()), counts)
    return groups[kept], last[kept] - np.asarray(events.field(1).to_numpy())[kept]


def _plain(batch: pa.RecordBatch, wanted: pa.StringArray) -> tuple[Array, Array]:
    """The same of rows that are an event each."""
    named = pc.fill_null(pc.index_in(batch.column("group"), value_set=wanted), -1)
    groups = np.asarray(named.to_numpy()).astype(np.int64)
    kept = groups >= 0
    return groups[kept], np.asarray(batch.column("time").to_numpy())[kept]
