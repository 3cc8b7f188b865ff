"""Weekly hours of local time as intervals of UTC, right across the changes of summer time.

A local time that a change skips stands for the moment of the change; one that occurs twice opens at its first and
closes at its second occurrence, so that a window never loses an hour that people read as inside it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from csirt.model.member import SupplierWindow, Weekly

_MINUTE = 60 * 1_000_000
_DAY = 1440 * _MINUTE
_EPOCH = date(1970, 1, 1)


@lru_cache(maxsize=65_536)
def _moment(day: int, minute: int, zone: str, last: bool) -> int:
    """Microseconds of a minute of a local day (days since 1970); the second of two occurrences when `last`."""
    where = ZoneInfo(zone)
    extra, minute = divmod(minute, 1440)
    local = datetime.combine(_EPOCH + timedelta(days=day + extra), datetime.min.time()) + timedelta(minutes=minute)
    earlier = local.replace(tzinfo=where, fold=0).astimezone(UTC)
    later = local.replace(tzinfo=where, fold=1).astimezone(UTC)
    if later < earlier:  # PEP 495: in a gap the fold-1 reading comes first; the change lies between them
        return _change(int(later.timestamp()), int(earlier.timestamp()), where) * 1_000_000
    return int((later if last else earlier).timestamp()) * 1_000_000


def _change(low: int, high: int, zone: ZoneInfo) -> int:
    """The second at which the offset changes between two moments."""
    before = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=65_536)
def interval(weekly: Weekly, day: int) -> tuple[int, int] | None:
    """The hours that begin on a local day (days since 1970), as microseconds [start, end); None on other days."""
    if (day + 3) % 7 not in weekly.days:  # 1970-01-01 was a Thursday
        return None
    end = weekly.end if weekly.end > weekly.start else weekly.end + 1440
    return _moment(day, weekly.start, weekly.timezone, False), _moment(day, end, weekly.timezone, True)


def covers(weekly: Weekly, time: int) -> bool:
    """Whether the moment lies inside the hours."""
    day = time // _DAY
    for candidate in (day - 2, day - 1, day, day + 1):
        found = interval(weekly, candidate)
        if found is not None and found[0] <= time < found[1]:
            return True
    return False


def intervals(window: SupplierWindow, first: int, last: int) -> list[tuple[int, int]]:
    """The window's intervals [start, end) that touch the moments from `first` to `last`, in microseconds."""
    since = window.since or -(1 << 62)
    until = window.until or 1 << 62
    if window.weekly is None:
        return [(since, until)]
    found: list[tuple[int, int]] = []
    for day in range(first // _DAY - 2, last // _DAY + 2):
        hours = interval(window.weekly, day)
        if hours is not None and max(hours[0], since) < min(hours[1], until):
            found.append((max(hours[0], since), min(hours[1], until)))
    return found
