"""Weekly windows across the changes of summer time in Norway (29 March and 25 October 2026)."""

from __future__ import annotations

import pytest

from csirt.clock import HOUR, MINUTE, parse_iso
from csirt.model.hours import covers, interval, intervals
from csirt.model.member import SupplierWindow, Weekly

SUNDAY = (6,)


def day(text: str) -> int:
    return parse_iso(text) // (24 * HOUR)


@pytest.mark.parametrize(
    ("date", "start", "end", "opens", "closes"),
    [
        # An ordinary Sunday in winter: 01:00 to 04:00 local is 00:00 to 03:00 UTC.
        ("2026-03-22", 60, 240, "2026-03-22T00:00:00Z", "2026-03-22T03:00:00Z"),
        # Spring: 02:00 to 03:00 does not exist, so the window is an hour shorter.
        ("2026-03-29", 60, 240, "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"),
        # It opens in the hour that is skipped: at the change.
        ("2026-03-29", 150, 240, "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        # It closes in the hour that is skipped: at the change.
        ("2026-03-29", 60, 150, "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
        # Autumn: 02:00 to 03:00 occurs twice; both are inside, an hour more.
        ("2026-10-25", 60, 240, "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z"),
        ("2026-10-25", 120, 180, "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"),
        ("2026-10-25", 150, 165, "2026-10-25T00:30:00Z", "2026-10-25T01:45:00Z"),
        # Over midnight into the change.
        ("2026-10-25", 1320, 240, "2026-10-25T21:00:00Z", "2026-10-26T03:00:00Z"),
    ],
)
def test_local_hours_over_the_changes(date: str, start: int, end: int, opens: str, closes: str) -> None:
    """A window is open for as long as the clock on the wall says so."""
    weekly = Weekly(SUNDAY, start, end, "Europe/Oslo")
    assert interval(weekly, day(date)) == (parse_iso(opens), parse_iso(closes))


def test_other_days_are_closed() -> None:
    """A window does not open on a day it does not name, but one over midnight lasts into the next day."""
    weekly = Weekly((1,), 22 * 60, 4 * 60, "Europe/Oslo")  # Tuesday 22:00 to Wednesday 04:00
    assert covers(weekly, parse_iso("2026-03-10T21:30:00Z"))
    assert covers(weekly, parse_iso("2026-03-11T02:59:59Z"))
    assert not covers(weekly, parse_iso("2026-03-11T03:00:00Z"))
    assert not covers(weekly, parse_iso("2026-03-11T22:00:00Z"))


def test_covers_agrees_with_intervals_minute_by_minute() -> None:
    """Around both changes, asking for a moment and listing the intervals give the same answer."""
    weekly = Weekly((5, 6), 23 * 60, 3 * 60, "Europe/Oslo")
    window = SupplierWindow("s", "m", weekly)
    for date in ("2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"):
        first = parse_iso(date)
        listed = intervals(window, first, first + 30 * HOUR)
        for moment in range(first, first + 30 * HOUR, 7 * MINUTE):
            assert covers(weekly, moment) == any(a <= moment < b for a, b in listed)


def test_bounds_cut_weekly_windows() -> None:
    """`from` and `to` bound a weekly window; without hours they are the window."""
    since, until = parse_iso("2026-03-10T20:00:00Z"), parse_iso("2026-03-10T21:00:00Z")
    weekly = Weekly((0, 1, 2, 3, 4, 5, 6), 0, 1440, "Europe/Oslo")
    assert intervals(SupplierWindow("s", "m", weekly, since, until), since - HOUR, until + HOUR) == [(since, until)]
    assert intervals(SupplierWindow("s", "m", None, since, until), 0, 0) == [(since, until)]
