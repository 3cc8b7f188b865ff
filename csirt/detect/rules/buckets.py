"""Buckets of time for baselines, and which of them are alike: the same hour of the week, in local time.

Buckets of an hour or less lie on the grid of UTC, which is that of every zone but a few with odd minutes; longer ones
on the local day. Where summer time changes, a local hour that comes twice is two buckets of the same hour of the week,
one that is skipped is none, and a day has 23 or 25 hours.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from csirt.model.batch import Array

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
MANY = 1 << 20
SEASONS = {"week": 7 * DAY, "day": DAY, "none": 1}


@lru_cache(maxsize=65_536)
def _offset(hour: int, zone: str) -> int:
    """Local time less UTC in an hour since 1970, microseconds."""
    moment = datetime.fromtimestamp(hour * 3600, ZoneInfo(zone))
    offset = moment.utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) * SECOND


@lru_cache(maxsize=65_536)
def _utc(local: int, zone: str) -> int:
    """The first moment that a local time names."""
    wall = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=local)
    return int(wall.replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def starts(times: Array, span: int, zone: str) -> Array:
    """The beginning of the bucket each time lies in."""
    if span <= HOUR:
        found: Array = times - times % span
        return found
    local = times + _each(times // HOUR, lambda hour: _offset(hour, zone))
    return _each(local // span, lambda number: _utc(number * span, zone))


def _each(numbers: Array, of: Callable[[int], int]) -> Array:
    """What each number gives; asked once for each that there is."""
    if not len(numbers):
        return numbers
    least, most = int(numbers.min()), int(numbers.max())
    if most - least >= MANY:
        known, places = np.unique(numbers, return_inverse=True)
        every: Array = np.array([of(number) for number in known.tolist()], np.int64)[places.reshape(-1)]
        return every
    table = np.zeros(most - least + 1, np.int64)
    table[numbers - least] = 1
    for place in np.flatnonzero(table).tolist():
        table[place] = of(place + least)
    found: Array = table[numbers - least]
    return found


def end(start: int, span: int, zone: str) -> int:
    """Where the bucket that begins there ends, and the next one begins."""
    if span <= HOUR:
        return start + span
    local = start + _offset(start // HOUR, zone)
    return _utc(local - local % span + span, zone)  # where summer time begins, a bucket may begin late


def ended(start: int, until: int, span: int, zone: str) -> Array:
    """The beginnings of the buckets from that one on that have ended at `until`."""
    if span <= HOUR:
        return np.arange(start, until - span + 1, span, dtype=np.int64)
    found: list[int] = []
    following = end(start, span, zone)
    while following <= until:
        found.append(start)
        start, following = following, end(following, span, zone)
    return np.array(found, np.int64)


def slots(begins: Array, span: int, zone: str, season: str) -> Array:
    """Which buckets each is like: those with the same number."""
    local = begins + _each(begins // HOUR, lambda hour: _offset(hour, zone))
    found: Array = (local % SEASONS[season]) // span
    return found
