"""Open time: holidays, summer time, and a clock that stands still."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.clock import DAY, HOUR, MINUTE
from csirt.model.calendar import LONGEST, due, easter, norway
from csirt.model.hours import covers, parse, written
from csirt.model.member import Weekly

OSLO = ZoneInfo("Europe/Oslo")
OFFICE = parse("mon-fri 08:00-15:30")


def at(text: str) -> int:
    """A local time of Oslo, in microseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=OSLO).timestamp() * 1e6)


def overdue(text: str, span: int, weekly: Weekly | None = OFFICE, holidays: str = "norway") -> str:
    """When, as local time of Oslo."""
    (found,) = due(np.array([at(text)]), span, weekly, holidays).tolist()
    return datetime.fromtimestamp(found / 1e6, OSLO).strftime("%Y-%m-%d %H:%M")


def test_easter_and_the_holidays_of_norway() -> None:
    """Against the almanac."""
    known = {2024: (3, 31), 2025: (4, 20), 2026: (4, 5), 2027: (3, 28), 2038: (4, 25), 2285: (3, 22)}
    assert {year: (easter(year).month, easter(year).day) for year in known} == known
    assert sorted(day.strftime("%m-%d") for day in norway(2026)) == [
        *("01-01", "04-02", "04-03", "04-05", "04-06", "05-01", "05-14", "05-17", "05-24", "05-25", "12-25", "12-26"),
    ]
    assert date(2027, 5, 17) in norway(2027) and len(norway(2027)) == 11  # Whit Monday is 17 May


@pytest.mark.parametrize(
    ("sent", "span", "known"),
    [
        ("2026-03-10 09:00", 4 * HOUR, "2026-03-10 13:00"),
        ("2026-03-10 14:00", 4 * HOUR, "2026-03-11 10:30"),
        ("2026-03-10 11:30", 4 * HOUR, "2026-03-10 15:30"),
        ("2026-03-10 15:30", 4 * HOUR, "2026-03-11 12:00"),
        ("2026-03-10 03:00", 4 * HOUR, "2026-03-10 12:00"),
        ("2026-03-13 15:00", 1 * HOUR, "2026-03-16 08:30"),  # over a weekend
        ("2026-03-27 15:00", 1 * HOUR, "2026-03-30 08:30"),  # and the change to summer time
        ("2026-10-23 15:00", 1 * HOUR, "2026-10-26 08:30"),  # and back
        ("2026-04-01 15:00", 1 * HOUR, "2026-04-07 08:30"),  # over Easter
        ("2026-12-24 15:00", 1 * HOUR, "2026-12-28 08:30"),  # over Christmas
        ("2026-05-13 15:00", 8 * HOUR, "2026-05-15 15:30"),  # over Ascension Day
        ("2026-03-10 09:00", 15 * HOUR, "2026-03-12 09:00"),  # two whole days
    ],
)
def test_only_open_time_counts(sent: str, span: int, known: str) -> None:
    """On the clock on the wall, over nights, weekends, holidays and both changes of summer time."""
    assert overdue(sent, span) == known


def test_without_holidays_or_hours() -> None:
    """Somebody else's holidays do not count; who is always open is due after the span."""
    assert overdue("2026-04-01 15:00", HOUR, holidays="") == "2026-04-02 08:30"
    assert overdue("2026-04-01 15:00", HOUR, None) == "2026-04-01 16:00"
    assert overdue("2026-04-01 15:00", HOUR, parse("mon-sun 00:00-24:00"), "") == "2026-04-01 16:00"


def test_a_night_across_the_lost_and_the_doubled_hour() -> None:
    """A watch from 22:00 to 06:00 has seven hours in the night summer time begins, nine when it ends."""
    night = parse("mon-sun 22:00-06:00")
    assert overdue("2026-03-28 21:00", 8 * HOUR, night, "") == "2026-03-29 23:00"
    assert overdue("2026-10-24 21:00", 8 * HOUR, night, "") == "2026-10-25 05:00"


def test_whoever_is_closed_for_long_is_due_all_the_same() -> None:
    """Sixty days after the span; nor do times outside the years people live in break anything."""
    rare = parse("thu 08:00-08:01")
    (found,) = due(np.array([at("2026-03-10 09:00")]), 30 * MINUTE, rare, "norway").tolist()
    assert found == at("2026-03-10 09:00") + 30 * MINUTE + LONGEST * DAY
    wild = np.array([-(1 << 62), -DAY, 0, 1 << 60, (1 << 62)])
    assert (due(wild, HOUR, OFFICE, "norway") >= wild).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(at("2026-01-01 00:00"), at("2027-01-01 00:00")), min_size=1, max_size=20),
    st.integers(1, 40).map(lambda hours: hours * HOUR),
    st.sampled_from(["mon-fri 08:00-15:30", "sat,sun 22:00-04:00", "tue 00:00-24:00", "fri-mon 10:00-11:00"]),
)
def test_it_never_goes_back_and_counts_minute_by_minute(times: list[int], span: int, text: str) -> None:
    """A later event is never due earlier; what lies between is `span` of open minutes, counted one by one."""
    weekly = parse(text)
    assert weekly is not None
    ordered = np.array(sorted(time // MINUTE * MINUTE for time in times))
    found = due(ordered, span, weekly, "norway")
    assert (np.diff(found) >= 0).all()
    first, end = int(ordered[0]), int(found[0])
    if end < first + span + LONGEST * DAY:
        minutes = range(first, end, MINUTE)
        open_ = sum(covers(weekly, minute) and not closed(minute, weekly) for minute in minutes)
        assert open_ * MINUTE == span


def closed(time: int, weekly: Weekly) -> bool:
    """Whether the hours that hold this moment began on a holiday."""
    local = datetime.fromtimestamp(time / 1e6, OSLO)
    minute = local.hour * 60 + local.minute
    began = local.date() - timedelta(days=1) if weekly.end <= weekly.start and minute < weekly.end else local.date()
    return began in norway(began.year)


def test_hours_as_text() -> None:
    """As they are written, so they are read; what is no hours is refused."""
    for text in ("mon,tue,wed,thu,fri 08:00-15:30 Europe/Oslo", "sat 22:00-04:00 UTC", "always"):
        assert written(parse(text)) == text
    assert parse("fri-mon 08:00-09:00") == Weekly((0, 4, 5, 6), 480, 540, "Europe/Oslo")
    wrong = ("", "mon", "mon 08:00", "mon 8-15", "man 08:00-15:00", "mon 08:00-08:00", "mon 08:70-09:00")
    for text in (
        *wrong,
        "mon 24:00-25:00",
        "mon 08:00-15:00 Nowhere/City",
        "mon 08:00-15:00 ../../etc/passwd",
        "x" * 500,
    ):
        with pytest.raises(ValueError, match=r"no hours|no days|time zone"):
            parse(text)
