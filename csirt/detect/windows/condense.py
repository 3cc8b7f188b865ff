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

from csirt.detect.columns.columns import AddressColumn, Column, NumberColumn
from csirt.detect.columns.values import number_of
from csirt.detect.rule import Correlation
from csirt.detect.rules import buckets
from csirt.detect.windows.codes import dense, joined
from csirt.detect.windows.held import WHOLE
from csirt.detect.windows.speakers import speakers
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
    codes = dense(buckets.starts(times, item.timespan, settings.timezone))
    for column in group:
        codes = joined(codes, codes_of(column, rows))
    values = np.zeros(len(rows), np.int64)
    if item.numeric:
        numbers, kept = numbers_of(value[0], rows)
    else:
        for column in value:
            own = codes_of(column, rows)
            kept &= own > 0
            values = joined(values, own)
    places = np.flatnonzero(kept)
    codes, values = codes[places], values[places]
    chosen, counts, totals = condense(codes, numbers[places], times[places], lambda some: events(places[some]))
    members, offsets = np.empty(0, np.int64), np.zeros(1, np.int32)
    if value and not item.numeric:
        members, offsets = _distinct(codes, values)
    return Picked(places[chosen], counts, totals, places[members], offsets)


def _distinct(codes: Array, values: Array) -> tuple[Array, Array]:
    """A row of each distinct (code, value), by code, and where each code's begin and end."""
    pairs = joined(codes, values)
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
    order, firsts, chosen = speakers(codes, numbers, times, events)
    sizes = np.diff(np.append(firsts, len(order)))
    if not numbers.any():
        return chosen, sizes, np.zeros(len(firsts))
    whole = np.floor(np.clip(numbers, -WHOLE, WHOLE))
    parts = np.rint((numbers - whole) * 1e6)
    sums = [np.add.reduceat(item[order], firsts) for item in (whole, parts)]
    return chosen, sizes, sums[0] + sums[1] / 1e6


def codes_of(column: Column | None, rows: Array) -> Array:
    """A number per distinct value, 0 for none."""
    if column is None:
        return np.zeros(len(rows), np.int64)
    if isinstance(column, AddressColumn):
        family, high, low = column.family[rows], column.high[rows], column.low[rows]
        if len(rows) and not high.any() and (low < 1 << 32).all():  # as all of IPv4: the address itself is a number
            return np.where(family == 0, 0, low.astype(np.int64) * 2 + (family > 4) + 1)
        found = joined(joined(family.astype(np.int64), dense(high)), dense(low)) + 1
        return np.where(family == 0, 0, found)
    if isinstance(column, NumberColumn) and column.numbers.dtype.kind in "iu":
        numbers = column.numbers[rows]
        if column.numbers.dtype.itemsize > 4 or column.numbers.dtype.kind == "i":
            numbers = dense(numbers)
        return np.where(column.null()[rows], 0, numbers.astype(np.int64) + 1)
    indices = pc.fill_null(column.texts(rows).indices, -1)
    return np.asarray(indices.to_numpy(zero_copy_only=False)).astype(np.int64) + 1


def numbers_of(column: Column | None, rows: Array) -> tuple[Array, Array]:
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
