"""Open hours as a clock that stands still while a place is closed: weekly hours of local time, less public holidays."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from csirt.model.batch import Array
from csirt.model.hours import interval
from csirt.model.member import Weekly

HOLIDAYS = ("", "norway")
_EPOCH = date(1970, 1, 1)
_DAY = 86_400_000_000
# Whoever is closed longer than this is overdue all the same.
LONGEST = 60
# Days that are looked at together; times outside the years people live in are taken as they are.
_PIECE = 64
_FIRST, _LAST = 0, 84_000


def easter(year: int) -> date:
    """Easter Sunday (the anonymous Gregorian computus)."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * k) // 451
    return date(year, (h + k - 7 * m + 114) // 31, (h + k - 7 * m + 114) % 31 + 1)


@lru_cache(maxsize=512)
def norway(year: int) -> frozenset[date]:
    """The public holidays of Norway."""
    around = (-3, -2, 0, 1, 39, 49, 50)  # Maundy Thursday to Easter Monday, Ascension Day, Whit Sunday and Monday
    fixed = ((1, 1), (5, 1), (5, 17), (12, 25), (12, 26))
    sunday = easter(year)
    return frozenset([*(sunday + timedelta(days=days) for days in around), *(date(year, *day) for day in fixed)])


def due(times: Array, span: int, weekly: Weekly | None, holidays: str) -> Array:
    """When `span` microseconds of open time have passed since each of these times (microseconds), at the latest
    `LONGEST` days after the span. Never earlier for a later time."""
    found: Array = times + span
    if weekly is None or not len(times):
        return found
    days = times // _DAY
    inside = (days >= _FIRST) & (days <= _LAST)
    for piece in np.unique(days[inside] // _PIECE).tolist():
        rows = np.flatnonzero(inside & (days // _PIECE == piece))
        latest = times[rows] + span + LONGEST * _DAY
        found[rows] = np.minimum(_passed(times[rows], span, weekly, holidays, piece * _PIECE), latest)
    return found


def _passed(times: Array, span: int, weekly: Weekly, holidays: str, first: int) -> Array:
    """When the span has passed; all times lie in the piece that begins on the day `first`."""
    starts, ends = _open(weekly, holidays, first - 2, first + _PIECE + span // _DAY + LONGEST + 1)
    if not len(starts):
        return times + span + LONGEST * _DAY
    passed = np.concatenate([[0], np.cumsum(ends - starts)])
    at = np.maximum(np.searchsorted(starts, times, "right") - 1, 0)
    target = passed[at] + np.clip(times - starts[at], 0, ends[at] - starts[at]) + span
    where = np.searchsorted(passed, target, "left") - 1
    enough = where < len(starts)
    where = np.minimum(where, len(starts) - 1)
    found: Array = np.where(enough, starts[where] + target - passed[where], times + span + LONGEST * _DAY)
    return found


@lru_cache(maxsize=1_024)
def _open(weekly: Weekly, holidays: str, first: int, last: int) -> tuple[Array, Array]:
    """The open intervals that begin on these local days (since 1970), joined where they touch or overlap."""
    found: list[list[int]] = []
    for day in range(first, last + 1):
        hours = interval(weekly, day)
        if hours is None or _closed(day, holidays):
            continue
        if found and hours[0] <= found[-1][1]:
            found[-1][1] = max(found[-1][1], hours[1])
        else:
            found.append(list(hours))
    array = np.array(found, np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _closed(day: int, holidays: str) -> bool:
    if not holidays:
        return False
    local = _EPOCH + timedelta(days=day)
    return local in norway(local.year)
