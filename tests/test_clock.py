"""Time as text and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from csirt.clock import Frozen, iso, parse_iso


@given(st.integers(-10_000_000_000_000_000, 100_000_000_000_000_000))
def test_iso_text_reads_back_exactly(us: int) -> None:
    """No microsecond is lost between number and text."""
    assert parse_iso(iso(us)) == us


def test_text_is_utc_with_z_and_no_empty_fraction() -> None:
    """One form for every output."""
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert iso(1_500_000) == "1970-01-01T00:00:01.500000Z"
    assert parse_iso("1970-01-01T01:00:00+01:00") == 0


def test_a_frozen_clock_moves_only_when_told() -> None:
    """Tests and replays can hold time still."""
    clock = Frozen(5)
    assert clock.now() == 5
    clock.sleep(2)
    assert clock.now() == 2_000_005
