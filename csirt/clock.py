"""The only place that reads a clock. Times are integers: microseconds since 1970 UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# Event time moves on in these steps while events come. What an alert gained within one is one change to correlate,
# however often the analysis looked, so that incidents do not depend on when it did (decision 10).
TICK = 10 * SECOND


class Clock:
    """Wall and monotonic time; tests replace the whole object."""

    def now(self) -> int:
        """Wall-clock time in microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds that never jump, for timers."""
        return time.monotonic()

    def cpu(self) -> float:
        """CPU seconds of all threads of this process."""
        return time.process_time()

    def thread_cpu(self) -> float:
        """CPU seconds of the calling thread."""
        return time.thread_time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


SYSTEM = Clock()


class Frozen(Clock):
    """A clock that stands still until it is moved, for tests and deterministic replays."""

    def __init__(self, now: int = 0) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / SECOND

    def sleep(self, seconds: float) -> None:
        self.time += int(seconds * SECOND)


def iso(us: int) -> str:
    """Microseconds as ISO 8601 UTC with `Z`; the fraction is left out when it is zero."""
    fraction = us % SECOND
    text = _to_the_second(us // SECOND)
    return f"{text}.{fraction:06d}Z" if fraction else f"{text}Z"


@lru_cache(4_096)
def _to_the_second(seconds: int) -> str:
    """What is written at once is of the same few seconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def parse_iso(text: str) -> int:
    """ISO 8601 to microseconds; a time without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds
