"""Weekly hours of local time as intervals of UTC, right across the changes of summer time.

A local time that a change skips stands for the moment of the change; one that occurs twice opens at its first and
closes at its second occurrence, so that a window never loses an hour that people read as inside it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from csirt.model.member import SupplierWindow, Weekly

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALWAYS = "always"
ZONE = "Europe/Oslo"
_HOURS = re.compile(r"([a-z,-]{3,40}) (\d\d):(\d\d)-(\d\d):(\d\d)(?: ([A-Za-z][A-Za-z0-9_+/-]{0,40}))?")
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


def written(weekly: Weekly | None) -> str:
    """Weekly hours as text: `mon,tue 08:00-15:30 Europe/Oslo`; `always` for None."""
    if weekly is None:
        return ALWAYS
    hours = "-".join(f"{minute // 60:02d}:{minute % 60:02d}" for minute in (weekly.start, weekly.end))
    return f"{','.join(DAYS[day] for day in weekly.days)} {hours} {weekly.timezone}"


@lru_cache(maxsize=4_096)
def parse(text: str) -> Weekly | None:
    """The hours of a text: `mon-fri 08:00-15:30`, `sat,sun 10:00-14:00 Europe/Oslo`; None for `always`. Raises
    ValueError."""
    if text.strip().lower() == ALWAYS:
        return None
    match = _HOURS.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text[:60]!r} are no hours: write them as 'mon-fri 08:00-15:30', or {ALWAYS!r}")
    start, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
    if start >= 1440 or end > 1440 or start == end or int(match[3]) > 59 or int(match[5]) > 59:
        raise ValueError(f"{text[:60]!r} are no hours; those of a whole day are 00:00-24:00")
    zone = match[6] or ZONE
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{zone!r} is not a time zone") from error
    return Weekly(_days(match[1]), start, end, zone)


def _days(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{part[:20]!r} are no days: {' '.join(DAYS)}")
        a, b = DAYS.index(first), DAYS.index(last or first)
        found.update(range(a, b + 1) if a <= b else [*range(a, 7), *range(b + 1)])
    return tuple(sorted(found))
