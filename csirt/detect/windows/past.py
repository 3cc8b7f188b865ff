"""The closed buckets of a baseline, and what is ordinary by them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from csirt.detect.rule import Limit
from csirt.model.batch import Array

MOST = 4_000_000  # values looked at together


@dataclass(frozen=True, slots=True)
class Record:
    """A closed bucket: the groups (codes, ascending) that had something, and what."""

    start: int
    slot: int
    codes: Array
    values: Array


@dataclass(slots=True)
class Past:
    """`starts` and `slots` of all buckets, ascending, those included in which nothing happened; `records` of the
    others."""

    starts: Array = field(default_factory=lambda: np.empty(0, np.int64))
    slots: Array = field(default_factory=lambda: np.empty(0, np.int64))
    records: list[Record] = field(default_factory=list)

    def add(self, starts: Array, slots: Array) -> None:
        """Buckets that were closed, in order."""
        self.starts, self.slots = np.concatenate([self.starts, starts]), np.concatenate([self.slots, slots])

    def forget(self, before: int) -> None:
        """Let go of what began before that."""
        gone = int(np.searchsorted(self.starts, before))
        if gone:
            self.starts, self.slots = self.starts[gone:], self.slots[gone:]
        while self.records and self.records[0].start < before:
            self.records.pop(0)

    def renumber(self, keep: Array, new: Array) -> None:
        """Only groups to keep, by the codes that `new` has at their old ones."""
        self.records = [
            Record(item.start, item.slot, new[item.codes[keep[item.codes]]], item.values[keep[item.codes]])
            for item in self.records
        ]

    def limits(self, codes: Array, since: Array, slot: int, limit: Limit) -> tuple[Array, Array]:
        """The median and the limit of each group, over the buckets that are alike since it was first seen; NaN where
        there are none."""
        alike = [record for record in self.records if record.slot == slot]
        starts = self.starts[self.slots == slot]
        size = max(1, MOST // (len(alike) + 1))
        pieces = [
            _limits(codes[at : at + size], since[at : at + size], alike, starts, limit)
            for at in range(0, len(codes), size)
        ]
        if not pieces:
            return np.empty(0), np.empty(0)
        middles, limits = zip(*pieces, strict=True)
        return np.concatenate(middles), np.concatenate(limits)


def _limits(codes: Array, since: Array, alike: list[Record], starts: Array, limit: Limit) -> tuple[Array, Array]:
    past = np.full((len(alike) + 1, len(codes)), np.nan)
    silent = len(starts) - np.searchsorted(starts, since)
    for row, record in zip(past, alike, strict=False):
        places = np.minimum(np.searchsorted(record.codes, codes), len(record.codes) - 1)
        found = (record.codes[places] == codes) & (record.start >= since)
        row[found] = record.values[places[found]]
        silent -= found
    middle = _quantile(past, silent, np.zeros(len(codes)), 0.5)
    if limit.deviations is None:
        return middle, _quantile(past, silent, np.zeros(len(codes)), limit.quantile) * limit.times
    spread = _quantile(np.abs(past - middle), silent, np.abs(middle), 0.5)
    return middle, (middle + limit.deviations * spread) * limit.times


def _quantile(past: Array, others: Array, constant: Array, share: float) -> Array:
    """A quantile of each column, interpolated, the missing left out, with as many more values `constant` as `others`
    says; NaN where there are none at all. The last row of `past` is missing."""
    ordered = np.sort(past, axis=0)
    counts = np.count_nonzero(~np.isnan(past), axis=0) + others
    before = np.count_nonzero(past < constant, axis=0)
    columns = np.arange(past.shape[1])

    def at(place: Array) -> Array:
        own = ordered[np.where(place < before, place, np.maximum(place - others, 0)), columns]
        return np.where((place >= before) & (place < before + others), constant, own)

    place = share * np.maximum(counts - 1, 0)
    low = np.floor(place).astype(np.int64)
    one, other = at(low), at(np.minimum(low + 1, np.maximum(counts - 1, 0)))
    found: Array = one + (other - one) * (place - low)
    return found
