"""One rule or correlation over a stretch of event time: what the stream would find there, from the events that may
matter.

A stretch ends where event time was closed. The next begins there, with the alerts that were open and the hits of the
timespan before, so that how time is cut into stretches changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from csirt.detect.match import Detector
from csirt.detect.rule import Meta
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.windows.windows import Windows
from csirt.model.batch import Batch
from csirt.model.hits import none


class Stretch:
    """`loaded`: the rule or correlation and what it is built on, nothing else. (`after`, `until`]: the event times,
    microseconds. `opened`: what `windows.opened` said after the stretch before, or empty."""

    def __init__(
        self,
        loaded: Ruleset,
        after: int,
        until: int,
        opened: bytes = b"",
        *,
        budget: float | None = None,
        overrun: Callable[[Meta], None] | None = None,
        exempted: Callable[[str, int], None] | None = None,
    ) -> None:
        self._detector = Detector(loaded, budget=budget, overrun=overrun, exempted=exempted)
        self._after, self._until, self._opened = after, until, opened
        self._span = max((item.timespan for item in loaded.correlations), default=0)
        self._loaded = loaded
        self._before: list[pa.Table] = [none()]
        self._now: list[pa.Table] = [none()]
        self.matched = 0  # hits within the stretch

    def take(self, batches: Iterable[Batch]) -> None:
        """Match events, each of which is given once, in any order; those of the timespan before too."""
        for batch in batches:
            hits = self._detector.match(batch)
            times = np.asarray(hits.column("time").to_numpy())
            now = (times > self._after) & (times <= self._until)
            before = (times > self._after - self._span) & (times <= self._after)
            self._now.append(hits.filter(pa.array(now)))
            self._before.append(hits.filter(pa.array(before)))
            self.matched += int(now.sum())

    def windows(self) -> tuple[Windows, pa.Table]:
        """The windows at the beginning of the stretch, and the hits to fold in up to its end."""
        windows = Windows(self._loaded)
        windows.begin(self._opened, pa.concat_tables(self._before), self._after)
        return windows, pa.concat_tables(self._now)
