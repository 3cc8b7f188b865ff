"""A batch's matches of a baseline, a row per group and bucket: a baseline over all traffic hands on few rows, not all.

Condensing is exact: counts and sums add up the same in any pieces, and the row that speaks for a bucket is the one with
the greatest number, of those the first, whichever pieces it comes through. Distinct values stay a row each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect import buckets
from csirt.detect.columns import Column, NumberColumn
from csirt.detect.held import WHOLE, event_keys
from csirt.detect.rule import Correlation
from csirt.detect.values import number_of
from csirt.model.batch import Array

Picked = tuple[Array, Array, Array]


def picked(
    item: Correlation,
    group: Sequence[Column | None],
    value: Sequence[Column | None],
    rows: Array,
    times: Array,
    events: Callable[[Array], pa.Array],
) -> Picked | None:
    """Which of the rows speak for the others, of how many each, and the sum of their numbers; None where a field is a
    list. `events`: the ids of some of the rows, by their place."""
    settings = item.baseline
    assert settings is not None
    if any(column is not None and column.distinct().parents is not None for column in (*group, *value)):
        return None
    kept, numbers = np.ones(len(rows), bool), np.zeros(len(rows))
    codes = np.unique(buckets.starts(times, item.timespan, settings.timezone), return_inverse=True)[1].reshape(-1)
    for column in group:
        codes = _joined(codes, _codes(column, rows))
    if item.numeric:
        numbers, kept = _numbers(value[0], rows)
    elif value:
        for column in value:
            own = _codes(column, rows)
            kept &= own > 0
            codes = _joined(codes, own)
    places = np.flatnonzero(kept)
    chosen, counts, totals = condense(codes[places], numbers[places], times[places], lambda some: events(places[some]))
    return places[chosen], counts, totals


def condense(codes: Array, numbers: Array, times: Array, events: Callable[[Array], pa.Array]) -> Picked:
    """Per code the place of the greatest number, of those the first by (time, event); how many, and their sum."""
    if not len(codes):
        empty = np.empty(0, np.int64)
        return empty, empty, np.empty(0)
    order = np.lexsort((times, -numbers, codes))
    firsts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    sizes = np.diff(np.append(firsts, len(order)))
    best = np.repeat(order[firsts], sizes)
    tied = order[(numbers[order] == numbers[best]) & (times[order] == times[best])]
    if len(tied) > len(firsts):
        found = events(tied)
        high, low = event_keys(pa.chunked_array([found]) if isinstance(found, pa.Array) else found)
        tied = tied[np.lexsort((low, high, codes[tied]))]
        tied = tied[np.flatnonzero(np.diff(codes[tied], prepend=-1))]
    whole = np.floor(np.clip(numbers, -WHOLE, WHOLE))
    parts = np.rint((numbers - whole) * 1e6)
    sums = [np.add.reduceat(item[order], firsts) for item in (whole, parts)]
    return tied, sizes, sums[0] + sums[1] / 1e6


def _codes(column: Column | None, rows: Array) -> Array:
    """A number per distinct text, 0 for none."""
    if column is None:
        return np.zeros(len(rows), np.int64)
    indices = pc.fill_null(column.texts(rows).indices, -1)
    return np.asarray(indices.to_numpy(zero_copy_only=False)).astype(np.int64) + 1


def _joined(codes: Array, own: Array) -> Array:
    """A number per combination, dense again so that it never overflows."""
    both = codes * (int(own.max(initial=0)) + 1) + own
    found: Array = np.unique(both, return_inverse=True)[1].reshape(-1)
    return found


def _numbers(column: Column | None, rows: Array) -> tuple[Array, Array]:
    """The numbers of the rows, and which have one."""
    if column is None:
        return np.zeros(len(rows)), np.zeros(len(rows), bool)
    if isinstance(column, NumberColumn):
        return column.numbers[rows].astype(np.float64), ~column.null()[rows]
    texts = column.texts(rows)
    known = pa.array([number_of(text) for text in texts.dictionary.to_pylist()], pa.float64()).take(texts.indices)
    return np.asarray(pc.fill_null(known, 0.0).to_numpy()), np.asarray(
        pc.is_valid(known).to_numpy(zero_copy_only=False)
    )
