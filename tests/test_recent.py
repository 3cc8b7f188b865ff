"""How counters moved lately."""

from __future__ import annotations

from csirt.recent import RATE, WINDOW, Recent


def test_only_what_is_recent_counts() -> None:
    """A loss of an hour ago is none of now; one within the window is."""
    recent = Recent()
    for second, lost in ((0, 5), (60, 9), (3600, 9), (3660, 12)):
        recent.sample(float(second), {"lost": lost})
    assert recent.since(3670.0, {"lost": 12}) == {"lost": 3}
    assert recent.since(3660.0 + WINDOW + 1, {"lost": 12}) == {"lost": 0}


def test_what_a_restart_finds_is_not_of_now() -> None:
    """Counters that go on over a restart begin with what they were then; a new counter counts whole."""
    recent = Recent()
    recent.sample(0.0, {"lost": 1_000})
    assert recent.since(5.0, {"lost": 1_000, "new": 2}) == {"lost": 0, "new": 2}


def test_rates_are_of_the_last_minute() -> None:
    """Growth per second; none before there is something to compare."""
    recent = Recent()
    assert recent.rates(0.0, {"in": 0}) == {}
    for second in range(0, 301, 5):
        recent.sample(float(second), {"in": second * 10 if second < 240 else 2_400 + (second - 240) * 100})
    assert recent.rates(300.0, {"in": 2_400 + int(RATE) * 100}) == {"in": 100.0}


def test_samples_are_forgotten() -> None:
    """Memory does not grow with time: what is older than the window goes, but for the sample it begins with."""
    recent = Recent()
    for second in range(0, 10_000, 5):
        recent.sample(float(second), {"in": second})
    assert len(recent._samples) <= WINDOW / 5 + 2
