"""Hits in order: sorting them, pairing them, and what runs of them hold. Arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.windows.alerts import Summary
from csirt.model.batch import Array


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


def fresh_events(groups: Array, events: Array) -> Array:
    """Rows that begin another event than the row before them (a list field makes several rows of one event)."""
    fresh = np.ones(len(groups), bool)
    fresh[1:] = (groups[1:] != groups[:-1]) | (events[1:] != events[:-1])
    return fresh


def settled(keys: Array, times: Array, other_keys: Array, other_times: Array, due: Array) -> Array:
    """Which (key, time) are followed by an (other key, other time) of the same key in [time, due]."""
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
    answer: Array = inside & same & (sorted_times[place] <= due)
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
    for column, member, name in (("source", "source_member", "sources"), ("target", "target_member", "targets")):
        for run, value, owner in _distinct_rows(hits, runs, [column, member]):
            if value is not None or owner is not None:
                getattr(result[run], name).append((value, owner))
    for column, name in (("link", "links"), ("facts", "facts")):
        for run, value in _distinct_rows(hits, runs, [column]):
            if value is not None:
                getattr(result[run], name).append(value)
    return result


def _distinct_rows(table: pa.Table, runs: Array, columns: list[str]) -> Any:
    """(run, values) of each distinct combination of a run, in order of first appearance."""
    packed = runs
    coded: list[Any] = []
    for name in columns:
        array = pc.dictionary_encode(table.column(name).combine_chunks(), null_encoding="encode")
        coded.append(array)
        packed = packed * (len(array.dictionary) + 1) + np.asarray(array.indices.to_numpy())
    firsts = np.sort(np.unique(packed, return_index=True)[1])
    rows = pa.array(firsts)
    values = [array.indices.take(rows).to_numpy() for array in coded]
    texts = [array.dictionary.to_pylist() for array in coded]
    chosen = [[known[code] for code in codes.tolist()] for known, codes in zip(texts, values, strict=True)]
    return zip(runs[firsts].tolist(), *chosen, strict=True)
