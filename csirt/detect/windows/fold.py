"""Hits in order: sorting them, pairing them, and what runs of them hold. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.windows.alerts import SAID, Said, Summary
from csirt.detect.windows.codes import begins, joined
from csirt.model.batch import Array

WANTED = ("event", *SAID)
FEW = 64  # rows of a run: what they say twice costs less than finding it would


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


def told(hits: pa.RecordBatch, runs: Array, fresh: Array, samples: int) -> Iterator[tuple[list[str], list[Said]]]:
    """The ids of the first events of each run, and what its hits say: each once, where they are many."""
    starts = begins(runs)
    if len(runs) <= FEW * len(starts) and fresh.all():
        every, said = hits.column("event").to_pylist(), _every(hits)
        for start, end in pairwise([*starts.tolist(), len(runs)]):
            yield every[start : min(end, start + samples)], said[start:end]
        return
    position = np.cumsum(fresh)
    nth = position - (position[starts] - fresh[starts])[runs]
    sampled = np.flatnonzero(fresh & (nth <= samples))
    taken = hits.column("event").take(pa.array(sampled)).to_pylist()
    cuts = np.searchsorted(runs[sampled], np.arange(len(starts) + 1)).tolist()
    rows, said = _said(hits, runs)
    parts = np.searchsorted(runs[rows], np.arange(len(starts) + 1)).tolist()
    for cut, part in zip(pairwise(cuts), pairwise(parts), strict=True):
        yield taken[slice(*cut)], said[slice(*part)]


def stretches(starts: Array, sizes: Array) -> Array:
    """The numbers of stretches that begin there and are so long, one after the other."""
    found: Array = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
    return found


def _every(hits: pa.RecordBatch) -> list[Said]:
    """What each hit says."""
    return list(zip(*(hits.column(name).to_pylist() for name in SAID), strict=True))


def _said(hits: pa.RecordBatch, runs: Array) -> tuple[Array, list[Said]]:
    """What hits say that none before them in their run does, and their rows."""
    codes = runs
    columns: list[tuple[list[str | None], Array] | None] = []
    for name in SAID:
        column = hits.column(name)
        if column.null_count == len(column):
            columns.append(None)
            continue
        coded = pc.dictionary_encode(column, null_encoding="encode")
        indices = np.asarray(coded.indices.to_numpy())
        codes = joined(codes, indices)
        columns.append((coded.dictionary.to_pylist(), indices))
    firsts = np.empty(int(codes.max()) + 1, np.int64)
    firsts[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # ascending, for codes are given in order of appearance
    nothing = [None] * len(firsts)
    texts = [nothing if known is None else [known[0][code] for code in known[1][firsts].tolist()] for known in columns]
    return firsts, list(zip(*texts, strict=True))
