"""Times as people write them."""

from __future__ import annotations

import pytest

from csirt.clock import DAY, HOUR, parse_iso
from csirt.errors import Usage
from csirt.stores.hunt.when import moment

NOW = parse_iso("2026-11-23T08:00:00Z")
ZONE = "Europe/Oslo"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2h", "2026-11-23T06:00:00Z"),
        ("7d", "2026-11-16T08:00:00Z"),
        ("now", "2026-11-23T08:00:00Z"),
        ("today", "2026-11-22T23:00:00Z"),
        ("yesterday", "2026-11-21T23:00:00Z"),
        ("2026-11-23", "2026-11-22T23:00:00Z"),
        ("2026-07-01T12:00", "2026-07-01T10:00:00Z"),
        ("2026-11-23T04:00Z", "2026-11-23T04:00:00Z"),
        ("2026-11-23T04:00:00.000001+01:00", "2026-11-23T03:00:00.000001Z"),
    ],
)
def test_moments(text: str, wanted: str) -> None:
    """Ago, days, dates and times, with and without a zone."""
    assert moment(text, NOW, ZONE) == parse_iso(wanted)


def test_midnight_keeps_to_the_clock_on_the_wall() -> None:
    """The day of the change to winter time has 25 hours, the day after it 24."""
    now = parse_iso("2026-10-26T08:00:00Z")
    assert moment("yesterday", now, ZONE) == parse_iso("2026-10-24T22:00:00Z")
    assert moment("today", now, ZONE) - moment("yesterday", now, ZONE) == DAY + HOUR
    later = now + DAY
    assert moment("today", later, ZONE) - moment("yesterday", later, ZONE) == DAY


def test_nonsense_is_refused_with_what_is_accepted() -> None:
    """The sentence names the forms."""
    for text in ("", "soon", "2h30", "2026-13-01", "-2h"):
        with pytest.raises(Usage, match="yesterday"):
            moment(text, NOW, ZONE)
