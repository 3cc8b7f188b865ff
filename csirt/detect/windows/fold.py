"""Hits in order: sorting them, pairing them, and what runs of them hold. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.windows.alerts import SAID, Said, Summary
from csirt.detect.windows.codes import begins
from csirt.model.batch import Array

WANTED = ("event", *SAID)


def ranks(column: Any) -> Array:
    """The dense rank of every value in ascending order, from 0."""
    found = pc.rank(column, sort_keys="ascending", tiebreaker="dense")
    return np.asarray(found.to_numpy()).astype(np.int64) - 1


def ordered(hits: pa.Table, key: str) -> tuple[pa.RecordBatch, Array, Array, Array]:
    """The hits sorted by (key column, time, event id), with the key's codes, the times and the event codes."""
    keys, events = ranks(hits.column(key)), ranks(hits.column("event"))
    times = np.asarray(hits.column("time").to_numpy())
    order = np.lexsort((events, times, keys))
    batch = hits.combine_chunks().to_batches()[0].take(pa.array(order))
    return batch, keys[order], times[order], events[order]


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


def summaries(hits: pa.RecordBatch, times: Array, runs: Array, fresh: Array, samples: int) -> list[Summary]:
    """What each run holds. `hits` (`WANTED` of them) sorted by run, then (time, event id); `runs` 0 … n-1, each with
    rows."""
    if not len(runs):
        return []
    starts = begins(runs)
    ends = np.append(starts[1:], len(runs)) - 1
    numbers = zip(times[starts].tolist(), times[ends].tolist(), np.add.reduceat(fresh, starts, dtype=np.int64).tolist(),
                  strict=True)  # fmt: skip
    last_events = hits.column("event").take(pa.array(ends)).to_pylist()
    # One more than the sample: the first may be an event that was counted before.
    parts = told(hits, runs, fresh, samples + 1)
    return [
        Summary(*number, last, events, said)
        for number, last, (events, said) in zip(numbers, last_events, parts, strict=True)
    ]


def told(hits: pa.RecordBatch, runs: Array, fresh: Array, samples: int) -> Iterator[tuple[list[str], Said]]:
    """The ids of the first events of each run, and what its hits say."""
    starts = begins(runs)
    edges = [*starts.tolist(), len(runs)]
    said = [_texts(hits.column(name)) for name in SAID]
    events, cuts = hits.column("event"), edges
    if len(runs) > samples or not fresh.all():
        position = np.cumsum(fresh)
        nth = position - (position[starts] - fresh[starts])[runs]
        sampled = np.flatnonzero(fresh & (nth <= samples))
        events, cuts = events.take(pa.array(sampled)), np.searchsorted(runs[sampled], np.arange(len(edges))).tolist()
    names = events.to_pylist()
    for (start, end), (left, right) in zip(pairwise(edges), pairwise(cuts), strict=True):
        one, two, three, four, five, six = [texts and texts[start:end] for texts in said]
        yield names[left:right], (one, two, three, four, five, six)


def _texts(column: pa.StringArray) -> Sequence[str | None]:
    """The texts of a column, equal ones the same object; none where all are null."""
    if column.null_count == len(column):
        return ()
    coded = column.dictionary_encode()
    known = coded.dictionary.to_pylist()
    return [None if code is None else known[code] for code in coded.indices.to_pylist()]
