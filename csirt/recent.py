"""How counters moved lately: the difference between "has ever lost something" and "is losing now"."""

from __future__ import annotations

import threading
from collections import deque

WINDOW = 15 * 60.0  # seconds: what counts as now for losses
RATE = 60.0  # seconds over which rates are taken


class Recent:
    """Samples of counters over the last quarter of an hour. Thread-safe; times are of the monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, dict[str, int]]] = deque()

    def sample(self, now: float, counters: dict[str, int]) -> None:
        """Keep the counters as they are now."""
        with self._lock:
            self._samples.append((now, dict(counters)))
            # The newest sample that is older than the window stays: it is what the window starts from.
            while len(self._samples) > 1 and self._samples[1][0] <= now - WINDOW:
                self._samples.popleft()

    def since(self, now: float, counters: dict[str, int], seconds: float = WINDOW) -> dict[str, int]:
        """By how much each counter has grown over the last `seconds`, or since the first sample."""
        _, before = self._before(now, seconds)
        return {name: value - before.get(name, 0) for name, value in counters.items()}

    def rates(self, now: float, counters: dict[str, int]) -> dict[str, float]:
        """Growth per second over the last minute; nothing before two samples are apart."""
        then, before = self._before(now, RATE)
        if now - then < 1.0:
            return {}
        return {name: round((value - before.get(name, 0)) / (now - then), 1) for name, value in counters.items()}

    def _before(self, now: float, seconds: float) -> tuple[float, dict[str, int]]:
        with self._lock:
            if not self._samples:
                return now, {}
            found = self._samples[0]
            for sample in self._samples:
                if sample[0] > now - seconds:
                    break
                found = sample
            return found
