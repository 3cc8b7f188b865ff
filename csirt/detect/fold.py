"""Kernels over hits in order: ordering, sliding windows, runs and what they hold. Arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.alerts import Summary
from csirt.model.batch import Array

# Below this many rows the interpreter is done before numba has loaded.
COMPILE_FROM = 50_000


def ranks(column: Any) -> Array:
    """The dense rank of every value in ascending order, from 0."""
    found = pc.rank(column, sort_keys="ascending", tiebreaker="dense")
    return np.asarray(found.to_numpy()).astype(np.int64) - 1


def ordered(hits: pa.Table, key: str) -> tuple[pa.Table, Array, Array, Array]:
    """The hits sorted by (key column, time, event id), with the key's codes, the times and the event codes."""
    keys, events = ranks(hits.column(key)), ranks(hits.column("event"))
    times = np.asarray(hits.column("time").to_numpy())
    order = np.lexsort((events, times, keys))
    return hits.take(pa.array(order)).combine_chunks(), keys[order], times[order], events[order]


def window_starts(groups: Array, times: Array, span: int) -> Array:
    """Per row (sorted by group, time) the first row of its group within [time - span, time]."""
    moments, codes = np.unique(times, return_inverse=True)
    lower = np.searchsorted(moments, times - span)
    width = len(moments) + 1
    starts: Array = np.searchsorted(groups * width + codes.reshape(-1), groups * width + lower)
    return starts


def fresh_events(groups: Array, events: Array) -> Array:
    """Rows that begin another event than the row before them (a list field makes several rows of one event)."""
    fresh = np.ones(len(groups), bool)
    fresh[1:] = (groups[1:] != groups[:-1]) | (events[1:] != events[:-1])
    return fresh


def event_counts(starts: Array, fresh: Array) -> Array:
    """How many events the window of each row holds, the row included."""
    total = np.cumsum(fresh)
    counts: Array = total - total[starts] + 1
    return counts


def distinct_counts(starts: Array, values: Array) -> Array:
    """How many distinct values the window of each row holds; `values` are dense codes."""
    out = np.zeros(len(starts), np.int64)
    seen = np.zeros(int(values.max(initial=-1)) + 1, np.int64)
    kernel = _compiled() if len(starts) >= COMPILE_FROM else _distinct
    kernel(starts.astype(np.int64), values.astype(np.int64), seen, out)
    return out


def _distinct(starts: Array, values: Array, seen: Array, out: Array) -> None:
    """Two pointers: a row enters on the right, rows before its window leave on the left."""
    left = 0
    distinct = 0
    for row in range(len(starts)):
        if seen[values[row]] == 0:
            distinct += 1
        seen[values[row]] += 1
        while left < starts[row]:
            seen[values[left]] -= 1
            if seen[values[left]] == 0:
                distinct -= 1
            left += 1
        out[row] = distinct


_KERNEL: list[Any] = []


def _compiled() -> Any:
    if not _KERNEL:
        import numba

        _KERNEL.append(numba.njit(cache=True)(_distinct))
    return _KERNEL[0]


def settled(keys: Array, times: Array, other_keys: Array, other_times: Array, span: int) -> Array:
    """Which (key, time) are followed by an (other key, other time) of the same key in [time, time + span]."""
    moments, codes = np.unique(np.concatenate([times, other_times]), return_inverse=True)
    codes = codes.reshape(-1)
    width = len(moments) + 1
    packed = other_keys * width + codes[len(times) :]
    order = np.argsort(packed, kind="stable")
    packed, sorted_times = packed[order], other_times[order]
    wanted = keys * width + codes[: len(times)]
    place = np.searchsorted(packed, wanted)
    inside = place < len(packed)
    place = np.minimum(place, max(len(packed) - 1, 0))
    if not len(packed):
        return inside
    same = packed[place] // width == keys
    answer: Array = inside & same & (sorted_times[place] <= times + span)
    return answer


def summaries(hits: pa.Table, runs: Array, fresh: Array, samples: int) -> list[Summary]:
    """What each run holds. `hits` sorted by run, then (time, event id); `runs` 0 … n-1, each with rows."""
    if not hits.num_rows:
        return []
    times = np.asarray(hits.column("time").to_numpy())
    starts = np.flatnonzero(np.diff(runs, prepend=-1))
    ends = np.append(starts[1:], len(runs)) - 1
    counts = np.add.reduceat(fresh.astype(np.int64), starts)
    # One more than the sample: the first may be an event that was counted before.
    position = np.cumsum(fresh) - 1
    nth = position - position[starts][runs]
    sampled = np.flatnonzero(fresh & (nth <= samples))
    events = hits.column("event")
    taken = events.take(pa.array(sampled)).to_pylist()
    cuts = np.searchsorted(runs[sampled], np.arange(len(starts) + 1)).tolist()
    last_events = events.take(pa.array(ends)).to_pylist()
    result = [
        Summary(first, last, count, last_event, taken[left:right])
        for first, last, count, last_event, left, right in zip(
            times[starts].tolist(), times[ends].tolist(), counts.tolist(), last_events, cuts[:-1], cuts[1:], strict=True
        )
    ]
    numbered = hits.append_column("run", pa.array(runs))
    for column, member, name in (("source", "source_member", "sources"), ("target", "target_member", "targets")):
        for run, value, owner in _distinct_rows(numbered, ["run", column, member]):
            if value is not None or owner is not None:
                getattr(result[run], name).append((value, owner))
    for column, name in (("link", "links"), ("facts", "facts")):
        for run, value in _distinct_rows(numbered, ["run", column]):
            if value is not None:
                getattr(result[run], name).append(value)
    return result


def _distinct_rows(table: pa.Table, columns: list[str]) -> Any:
    """Distinct combinations in order of first appearance."""
    found = table.select(columns).group_by(columns, use_threads=False).aggregate([])
    return zip(*(found.column(name).to_pylist() for name in columns), strict=True)
