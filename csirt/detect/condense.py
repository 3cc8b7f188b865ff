"""A batch's matches of a baseline, a row per group and bucket: a baseline over all traffic hands on few rows, not all.

Condensing is exact: counts and sums add up the same in any pieces, and the row that speaks for a bucket is the one with
the greatest number, of those the first, whichever pieces it comes through; distinct values are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect import buckets
from csirt.detect.columns import AddressColumn, Column, NumberColumn
from csirt.detect.held import WHOLE, event_keys
from csirt.detect.rule import Correlation
from csirt.detect.values import number_of
from csirt.model.batch import Array


@dataclass(frozen=True, slots=True)
class Picked:
    """Which rows (`places`) speak for the others, of how many each, and the sum of their numbers. Where distinct values
    are counted, `members` are places of rows that have them, each group's from one of `offsets` to the next."""

    places: Array
    counts: Array
    totals: Array
    members: Array
    offsets: Array


def picked(
    item: Correlation,
    group: Sequence[Column | None],
    value: Sequence[Column | None],
    rows: Array,
    times: Array,
    events: Callable[[Array], pa.Array],
) -> Picked | None:
    """The rows of each group and bucket as one; None where a field is a list. `events`: the ids of some of the rows, by
    their place."""
    settings = item.baseline
    assert settings is not None
    if any(column is not None and column.many for column in (*group, *value)):
        return None
    kept, numbers = np.ones(len(rows), bool), np.zeros(len(rows))
    codes = _dense(buckets.starts(times, item.timespan, settings.timezone))
    for column in group:
        codes = _joined(codes, _codes(column, rows))
    values = np.zeros(len(rows), np.int64)
    if item.numeric:
        numbers, kept = _numbers(value[0], rows)
    else:
        for column in value:
            own = _codes(column, rows)
            kept &= own > 0
            values = _joined(values, own)
    places = np.flatnonzero(kept)
    codes, values = codes[places], values[places]
    chosen, counts, totals = condense(codes, numbers[places], times[places], lambda some: events(places[some]))
    members, offsets = np.empty(0, np.int64), np.zeros(1, np.int32)
    if value and not item.numeric:
        members, offsets = _distinct(codes, values)
    return Picked(places[chosen], counts, totals, places[members], offsets)


def _distinct(codes: Array, values: Array) -> tuple[Array, Array]:
    """A row of each distinct (code, value), by code, and where each code's begin and end."""
    pairs = _joined(codes, values)
    firsts = np.empty(int(pairs.max(initial=-1)) + 1, np.int64)
    firsts[pairs] = np.arange(len(pairs))
    owners = codes[firsts]
    order = np.argsort(owners, kind="stable")
    edges = np.flatnonzero(np.diff(owners[order], prepend=-1, append=-1)) if len(order) else np.zeros(1, np.int64)
    return firsts[order], edges.astype(np.int32)


def condense(
    codes: Array, numbers: Array, times: Array, events: Callable[[Array], pa.Array]
) -> tuple[Array, Array, Array]:
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
    """A number per distinct value, 0 for none."""
    if column is None:
        return np.zeros(len(rows), np.int64)
    if isinstance(column, AddressColumn):
        family = column.family[rows]
        found = _joined(_joined(family.astype(np.int64), _dense(column.high[rows])), _dense(column.low[rows])) + 1
        return np.where(family == 0, 0, found)
    if isinstance(column, NumberColumn) and column.numbers.dtype.kind in "iu":
        return np.where(column.null()[rows], 0, _dense(column.numbers[rows]) + 1)
    indices = pc.fill_null(column.texts(rows).indices, -1)
    return np.asarray(indices.to_numpy(zero_copy_only=False)).astype(np.int64) + 1


def _dense(values: Array) -> Array:
    """A number per distinct value, from 0 without gaps."""
    found: Array = np.asarray(pa.array(values).dictionary_encode().indices).astype(np.int64)
    return found


def _joined(codes: Array, own: Array) -> Array:
    """A number per combination, dense again so that it never overflows."""
    return _dense(codes * (int(own.max(initial=0)) + 1) + own)


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
