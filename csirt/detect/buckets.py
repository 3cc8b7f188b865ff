"""Buckets of time for baselines, and which of them are alike: the same hour of the week, in local time.

Buckets of an hour or less lie on the grid of UTC, which is that of every zone but a few with odd minutes; longer ones
on the local day. Where summer time changes, a local hour that comes twice is two buckets of the same hour of the week,
one that is skipped is none, and a day has 23 or 25 hours.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from csirt.model.batch import Array

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
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
    hours, codes = np.unique(times // HOUR, return_inverse=True)
    local = times + np.array([_offset(hour, zone) for hour in hours.tolist()], np.int64)[codes.reshape(-1)]
    edges, places = np.unique(local - local % span, return_inverse=True)
    begins: Array = np.array([_utc(edge, zone) for edge in edges.tolist()], np.int64)[places.reshape(-1)]
    return begins


def end(start: int, span: int, zone: str) -> int:
    """Where the bucket that begins there ends, and the next one begins."""
    if span <= HOUR:
        return start + span
    local = start + _offset(start // HOUR, zone)
    return _utc(local - local % span + span, zone)  # where summer time begins, a bucket may begin late


def slot(start: int, span: int, zone: str, season: str) -> int:
    """Which buckets it is like: those with the same number."""
    local = start + _offset(start // HOUR, zone)
    return int((local % SEASONS[season]) // span)
