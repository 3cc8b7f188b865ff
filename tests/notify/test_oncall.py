"""Who is on call: days, hours, midnight, the change of clocks, and what is wrong with a plan."""

from __future__ import annotations

import pytest

from csirt.clock import iso, parse_iso
from csirt.notify import oncall
from tests.notify import fakes

DAY_NIGHT = [
    {"route": "all", "contacts": ["first"], "hours": "08:00-16:00", "days": ["mon", "tue", "wed", "thu", "fri"]},
    {"route": "all", "contacts": ["second"], "hours": "22:00-06:00", "days": ["fri"]},
]


def at(text: str) -> int:
    """A time with its zone."""
    return parse_iso(text)


@pytest.mark.parametrize(
    ("when", "people"),
    [
        ("2026-11-23T08:00+01:00", ["first"]),
        ("2026-11-23T15:59+01:00", ["first"]),
        ("2026-11-23T16:00+01:00", []),
        ("2026-11-22T12:00+01:00", []),
        ("2026-11-27T22:00+01:00", ["second"]),
        ("2026-11-28T05:59+01:00", ["second"]),
        ("2026-11-28T06:00+01:00", []),
        ("2026-11-28T23:00+01:00", []),
        ("2026-07-01T06:00+00:00", ["first"]),
    ],
)
def test_shifts_are_in_local_time(when: str, people: list[str]) -> None:
    """Hours are the configuration's zone, summer and winter; a night belongs to the day it starts on."""
    config = fakes.config(shifts=DAY_NIGHT, routes=[{"name": "all"}])
    assert oncall.on_call(config, "all", at(when)) == people


def test_the_routes_own_contacts_stand_behind_a_shift() -> None:
    """The shift is told first, then whoever the route names, nobody twice; other routes are not mixed in."""
    config = fakes.config(
        shifts=[{"route": "all", "contacts": ["second"]}, {"route": "other", "contacts": ["first"]}],
        routes=[{"name": "all", "contacts": ["first", "second"]}, {"name": "other"}],
    )
    assert oncall.on_call(config, "all", fakes.START) == ["second", "first"]
    assert oncall.on_call(config, "other", fakes.START) == ["first"]
    assert oncall.on_call(config, "gone", fakes.START) == []


def test_next_change() -> None:
    """The next hand-over, with who comes; None when nothing changes within the horizon."""
    config = fakes.config(shifts=DAY_NIGHT, routes=[{"name": "all"}])
    change = oncall.next_change(config, "all", at("2026-11-27T15:00+01:00"))
    assert change == (at("2026-11-27T16:00+01:00"), [])
    assert oncall.next_change(config, "all", change[0]) == (at("2026-11-27T22:00+01:00"), ["second"])
    assert oncall.next_change(fakes.config(), "all", fakes.START) is None


def test_the_doubled_and_the_missing_hour() -> None:
    """A shift that ends at 02:30 covers both of autumn's 02:15, and ends in spring though 02:30 does not exist."""
    config = fakes.config(
        shifts=[{"route": "all", "contacts": ["first"], "hours": "00:00-02:30"}], routes=[{"name": "all"}]
    )
    for when in ("2026-10-25T00:15Z", "2026-10-25T01:15Z"):
        assert oncall.on_call(config, "all", at(when)) == ["first"]
    assert oncall.on_call(config, "all", at("2026-10-25T00:45Z")) == []
    assert oncall.on_call(config, "all", at("2026-03-29T01:00Z")) == []
    change = oncall.next_change(config, "all", at("2026-10-25T00:45Z"))
    assert change is not None and iso(change[0]) == "2026-10-25T01:00:00Z"


@pytest.mark.parametrize("hours", ["8-16", "08:00-25:00", "08:00-08:00", "24:00-08:00", "08:60-09:00", ""])
def test_bad_hours_are_refused_with_an_example(hours: str) -> None:
    """Every slip in `hours` is said, with how to write it."""
    config = fakes.config(shifts=[{"route": "all", "contacts": ["first"], "hours": hours}])
    (problem,) = oncall.check(config)
    assert "all" in problem and "hours" in problem


def test_check_finds_unknown_days_and_empty_hours() -> None:
    """A day that does not exist, a shift of nobody, and the first hour of the week that nobody covers are said."""
    config = fakes.config(shifts=[{"route": "all", "contacts": ["first"], "days": ["fredag"]}])
    assert "fredag" in oncall.check(config)[0]
    assert "no contact" in oncall.check(fakes.config(shifts=[{"route": "all", "contacts": []}]))[0]
    gaps = oncall.check(fakes.config(shifts=DAY_NIGHT, routes=[{"name": "all"}]))
    assert len(gaps) == 1 and "nobody is on call mon 00:00" in gaps[0]
    assert oncall.check(fakes.config(shifts=DAY_NIGHT)) == []


def test_hours_wrap() -> None:
    """24:00 is the end of the day; an end before the start is the next morning."""
    assert oncall.hours("00:00-24:00") == (0, 1440)
    assert oncall.hours("22:30-06:00") == (1350, 360)
