"""Counters of every stage, rate-limited log lines, and the text Prometheus reads.

Every stage counts with the same four names: `in`, `out`, `dropped` (by reason) and gauges; in = out + dropped at rest.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict

from csirt.clock import SYSTEM
from csirt.safety import log as clean

STAGES = (
    "collect",
    "sources",
    "decode",
    "enrich",
    "biflow",
    "detect",
    "correlate",
    "respond",
    "notify",
    "report",
    "stores",
)

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Thread-safe counters and gauges, keyed by name and labels."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, Labels], int] = defaultdict(int)
        self._gauges: dict[tuple[str, Labels], float] = {}

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add to a counter; zero creates it, so that a counter is seen before it first moves."""
        with self._lock:
            self._counters[name, tuple(sorted(labels.items()))] += value

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._gauges[name, tuple(sorted(labels.items()))] = value

    def stage(self, name: str, entered: int, left: int, dropped: dict[str, int] | None = None) -> None:
        """Count one step of a stage: units in, units out, units dropped by reason."""
        self.count("csirt_stage_in_total", entered, stage=name)
        self.count("csirt_stage_out_total", left, stage=name)
        for reason, number in (dropped or {}).items():
            self.count("csirt_stage_dropped_total", number, stage=name, reason=reason)

    def value(self, name: str, **labels: str) -> float:
        """The value of one counter or gauge; 0 when it does not exist."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            return self._gauges[key] if key in self._gauges else self._counters.get(key, 0)

    def stages(self) -> list[dict[str, object]]:
        """`[{name, in, out, dropped: {reason: n}}]` in the order of the data flow."""
        with self._lock:
            counters = dict(self._counters)
        result: list[dict[str, object]] = []
        for stage in STAGES:
            label = ("stage", stage)
            dropped = {
                dict(labels)["reason"]: value
                for (name, labels), value in counters.items()
                if name == "csirt_stage_dropped_total" and label in labels and value
            }
            result.append(
                {
                    "name": stage,
                    "in": counters.get(("csirt_stage_in_total", (label,)), 0),
                    "out": counters.get(("csirt_stage_out_total", (label,)), 0),
                    "dropped": dropped,
                }
            )
        return result

    def prometheus(self) -> str:
        """Everything in Prometheus' text exposition format 0.0.4."""
        with self._lock:
            rows: list[tuple[str, Labels, float, str]]
            rows = [(n, lab, v, "counter") for (n, lab), v in self._counters.items()]
            rows += [(n, lab, v, "gauge") for (n, lab), v in self._gauges.items()]
        lines: list[str] = []
        last = ""
        for name, labels, value, kind in sorted(rows, key=lambda row: (row[0], row[1])):
            if name != last:
                lines.append(f"# TYPE {name} {kind}")
                last = name
            inner = ",".join(f'{k}="{_label(v)}"' for k, v in labels)
            lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")
        return "\n".join(lines) + "\n"


def _label(value: str) -> str:
    return clean(value).replace("\\", "\\\\").replace('"', '\\"')


class RateLimited:
    """Log lines that repeat are written once per `seconds` and key, with the number left out in between."""

    def __init__(self, logger: logging.Logger, seconds: float = 30.0) -> None:
        self._logger = logger
        self._seconds = seconds
        self._seen: dict[str, tuple[float, int]] = {}

    def warning(self, key: str, message: str) -> None:
        """Log `message` unless `key` was logged within the interval; then only count it."""
        now = SYSTEM.monotonic()
        last, hidden = self._seen.get(key, (-self._seconds, 0))
        if now - last < self._seconds:
            self._seen[key] = (last, hidden + 1)
            return
        if len(self._seen) > 10_000:
            self._seen.clear()
        self._seen[key] = (now, 0)
        tail = f" ({hidden} more like it)" if hidden else ""
        self._logger.warning("%s%s", clean(message), tail)
