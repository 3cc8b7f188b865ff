"""How far event time has come (decision 10): what may still arrive, and what no longer will."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from csirt.clock import MINUTE, TICK
from csirt.model import ecs
from csirt.model.batch import Batch
from csirt.stores.base import Store

# An event this far ahead of its receipt (after declared clock offsets) does not move the watermark: times are forged.
AHEAD = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class Due:
    """Of some flows, by this machine's clock: when the latest is due, and how far exporters' clocks are behind it."""

    latest: int
    behind: int

    def joined(self, other: Due | None) -> Due:
        """Of both."""
        if other is None:
            return self
        return Due(max(self.latest, other.latest), max(self.behind, other.behind))


class Watermark:
    """Least event time of the active sources, less the lateness. A source without input for `idle_after` seconds is
    idle and holds nothing back; that decision is committed with the source's time. `since`: when looking began, where
    a source that has sent before counts as active then: others would not wait for what it sends next."""

    def __init__(
        self,
        store: Store,
        sources: list[str],
        *,
        lateness_us: int,
        idle_after_s: float,
        ahead_us: int = 0,
        since: float | None = None,
    ):
        self.lateness = lateness_us
        self._idle_after = idle_after_s
        self._ahead = AHEAD + ahead_us
        self._greatest: dict[str, int] = {}
        self._due: dict[str, Due] = {}
        self._active: dict[str, float] = {}
        for source in sources:
            self.follow(store, source)
        if since is not None:
            self._active = dict.fromkeys(self._greatest, since)
        saved = store.state("watermark")
        self.mark: int | None = int(saved) if saved else None

    def follow(self, store: Store, source: str) -> None:
        """Go on from what is committed of a source."""
        state = store.state(f"time:{source}")
        if state:
            known = json.loads(state)
            self._greatest[source] = int(known["greatest"])
            if "due" in known:
                self._due[source] = Due(int(known["due"]), int(known["behind"]))

    def greatest_of(self, batch: Batch, now: int) -> int | None:
        """The greatest believable event time of a batch, in microseconds."""
        if not batch.rows or batch.dataset == "self":  # of our clock: it says nothing of how far events have come
            return None
        times = batch.table.column("@timestamp").cast(pa.int64()).to_numpy()
        received = now
        if "event.ingested" in batch.table.column_names:
            ingested = batch.table.column("event.ingested").cast(pa.int64()).to_numpy(zero_copy_only=False)
            ingested = ingested[~np.isnan(ingested)] if ingested.dtype.kind == "f" else ingested
            received = int(ingested.max()) if len(ingested) else now
        believable = times[times <= received + self._ahead]
        return int(believable.max()) if len(believable) else None

    def due_of(self, batch: Batch, now: int) -> Due | None:
        """When the latest believable of some flows is due, and how far their exporters' clocks are behind."""
        table = batch.table
        if ecs.DUE not in table.column_names:
            latest = self.greatest_of(batch, now)
            return None if latest is None else Due(latest, 0)
        due, time = (table.column(name).cast(pa.int64()).to_numpy() for name in (ecs.DUE, "@timestamp"))
        return Due(int(due.max()), max(0, int((due - time).max()))) if len(due) else None

    def saw(self, source: str, greatest: int | None, now_s: float, due: Due | None = None) -> None:
        """Input came from a source."""
        self._active[source] = now_s
        if due is not None:
            self._due[source] = self._further(source, due)
        if greatest is not None:
            self._greatest[source] = max(greatest, self._greatest.get(source, greatest))

    def state(self, source: str, greatest: int | None, due: Due | None = None) -> dict[str, bytes | None]:
        """What to commit with that source's batch; `saw` it once it is committed."""
        known = [time for time in (greatest, self._greatest.get(source)) if time is not None]
        if not known:
            return {}
        said = {"greatest": max(known)}
        further = self._due.get(source) if due is None else self._further(source, due)
        if further is not None:
            said |= {"due": further.latest, "behind": further.behind}
        return {f"time:{source}": json.dumps(said).encode()}

    def _further(self, source: str, due: Due) -> Due:
        """As far as flows of a source have come. That a clock was behind is forgotten as fast as time passes."""
        before = self._due.get(source)
        if before is None:
            return due
        latest = max(before.latest, due.latest)
        return Due(latest, max(due.behind, before.behind - (latest - before.latest)))

    def due(self, now_s: float) -> tuple[int | None, bool]:
        """Up to when no flow that is due is expected any more, by this machine's clock, and whether none is expected
        at all: every source of flows is idle."""
        active = [
            self._due[source].latest
            for source, last in list(self._active.items())
            if source in self._due and now_s - last < self._idle_after
        ]
        return (min(active) - self.lateness, False) if active else (self.latest_due(), True)

    def latest_due(self) -> int | None:
        """When the latest flow of all sources is due."""
        return max((due.latest for due in self._due.values()), default=None)

    def behind(self) -> int:
        """How far the clock of an exporter is behind at most."""
        return max((due.behind for due in self._due.values()), default=0)

    def slowest(self, now_s: float) -> tuple[str, int] | None:
        """The active source that event time waits for, and how far that one has come."""
        active = [
            (self._greatest[source], source)
            for source, last in list(self._active.items())
            if source in self._greatest and now_s - last < self._idle_after
        ]
        time, source = min(active, default=(0, ""))
        return (source, time) if source else None

    def greatest(self) -> int | None:
        """The greatest event time of all sources: the end of a replay's input."""
        return max(self._greatest.values(), default=None)

    def until(self, now_s: float) -> int | None:
        """Event time up to which nothing more is expected, or None when nothing has come yet. It never goes back, and
        while any source is active it is the end of a step."""
        slowest = self.slowest(now_s)
        mark = tick(slowest[1] - self.lateness) if slowest else self.greatest()
        if mark is None:
            return self.mark
        return mark if self.mark is None else max(mark, self.mark)


def tick(time: int) -> int:
    """The end of the last whole step of event time at `time`."""
    return time - time % TICK
