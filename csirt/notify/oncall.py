"""Who is on call for a route at a time: shifts in the configuration's time zone, the route's own contacts behind."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from csirt.clock import DAY, SECOND
from csirt.config import Config, Contact, Route, Shift

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HORIZON = 8  # days that `next_change` looks ahead: every weekly shift has come round
_HOURS = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


def hours(text: str) -> tuple[int, int]:
    """`"22:00-06:00"` as minutes of the day (start, end); an end at or before the start is on the next day.

    Raises ValueError.
    """
    match = _HOURS.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a span of hours: write one such as '08:00-16:00' or '22:00-06:00'")
    first, first_minute, last, last_minute = map(int, match.groups())
    start, end = first * 60 + first_minute, last * 60 + last_minute
    if max(first_minute, last_minute) > 59 or start >= 1440 or end > 1440 or start == end:
        raise ValueError(f"{text!r} is not a span of hours within 00:00-24:00")
    return start, end


def covers(shift: Shift, moment: datetime) -> bool:
    """Whether a shift covers a local time; a shift over midnight belongs to the day it starts on."""
    start, end = hours(shift.hours)
    minute = moment.hour * 60 + moment.minute
    today, yesterday = DAYS[moment.weekday()], DAYS[moment.weekday() - 1]
    if start < end:
        return today in shift.days and start <= minute < end
    return (today in shift.days and minute >= start) or (yesterday in shift.days and minute < end)


def on_call(config: Config, route: str, at: int) -> list[str]:
    """Names of contacts in the order of escalation at a time (microseconds UTC).

    Those of every shift that covers it come first, then the route's own: somebody stands behind a shift of one.
    """
    names: list[str] = []
    shifts = [shift for shift in config.notify.shifts if shift.route == route]
    if shifts:
        moment = datetime.fromtimestamp(at // SECOND, ZoneInfo(config.timezone))
        names += [name for shift in shifts if covers(shift, moment) for name in shift.contacts]
    for item in config.notify.routes:
        if item.name == route:
            names += item.contacts
    return list(dict.fromkeys(names))


def next_change(config: Config, route: str, at: int) -> tuple[int, list[str]] | None:
    """(time, contacts) of the next change of who is on call; None when none comes within the horizon."""
    zone = ZoneInfo(config.timezone)
    now = on_call(config, route, at)
    today = datetime.fromtimestamp(at // SECOND, zone).date()
    minutes = {0}
    for shift in config.notify.shifts:
        if shift.route == route:
            minutes.update(minute % 1440 for minute in hours(shift.hours))
    days = [today + timedelta(days=day) for day in range(HORIZON + 2)]
    moments: set[int] = set()
    for day, following in pairwise(days):
        long = _instant(following, 0, zone, 0) - _instant(day, 0, zone, 0) != DAY  # the clocks change: every half hour
        for minute in minutes | set(range(0, 1440, 30)) if long else minutes:
            moments |= {_instant(day, minute, zone, fold) for fold in (0, 1)}
    for moment in sorted(item for item in moments if item > at):
        then = on_call(config, route, moment)
        if then != now:
            return moment, then
    return None


def _instant(day: date, minute: int, zone: ZoneInfo, fold: int) -> int:
    local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone, fold=fold)
    return int(local.timestamp()) * SECOND


def contact(config: Config, name: str) -> Contact | None:
    """The contact of that name."""
    return next((item for item in config.notify.contacts if item.name == name), None)


def check(config: Config) -> list[str]:
    """Problems of the shifts, and routes that leave hours of the week without anybody."""
    problems: list[str] = []
    for shift in config.notify.shifts:
        try:
            hours(shift.hours)
        except ValueError as error:
            problems.append(f"notify.shifts {shift.route}: {error}")
        problems += [
            f"notify.shifts {shift.route}: unknown day {day!r}; days: {', '.join(DAYS)}"
            for day in shift.days
            if day not in DAYS
        ]
        if not shift.contacts:
            problems.append(f"notify.shifts {shift.route}: names no contact")
    if not problems:
        problems += [sentence for route in config.notify.routes for sentence in _gaps(config, route)]
    return problems


def _gaps(config: Config, route: Route) -> list[str]:
    """Whether every hour of a week (one without a change of clocks) has somebody."""
    if route.contacts:
        return []
    monday = datetime(2026, 1, 5, tzinfo=ZoneInfo(config.timezone))
    begin = int(monday.timestamp()) * SECOND
    for quarter in range(7 * 96):
        at = begin + quarter * 900 * SECOND
        if not on_call(config, route.name, at):
            when = datetime.fromtimestamp(at // SECOND, monday.tzinfo)
            name = DAYS[when.weekday()]
            return [
                f"notify.routes {route.name}: nobody is on call {name} {when:%H:%M}; add a shift, or `contacts` to the "
                "route for the hours no shift covers"
            ]
    return []
