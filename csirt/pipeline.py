"""The one page that moves a batch through the stages: sources, decode, enrich, detect (`ingest.py`, in one thread or in
several), then the commit (decision 4) and, when the watermark moves, correlate, cases, respond, notify. One thread, the
coordinator, commits and moves the watermark (decision 11)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from csirt import config as settings
from csirt.clock import SECOND, Clock
from csirt.errors import Conflict
from csirt.feed import Feed, HandOver
from csirt.ingest import Ingest
from csirt.metrics import Metrics
from csirt.model.batch import Batch
from csirt.settle import Pairing, Settler
from csirt.stores.base import Commit, Store
from csirt.tally import Tally
from csirt.watermark import Watermark, tick
from csirt.workers import Workers

SELF = "self"  # what has no input counts, and moves event time, under this name
STEPS = 8  # of settling at a time, while there is input to look after
PACE = 5 * SECOND  # of event time between two steps; less where the lateness is short


class Analysis(Protocol):
    """What the watermark sets free: pending hits become alerts, incidents, cases, plans, notifications."""

    def advance(self, store: Store, until: int | None, at: int) -> dict[str, int]:
        """Consume the hits up to `until`, None when nothing has come yet; counts of what came of it."""


class Pipeline:
    """Moves chunks of every feed to the store. Not thread-safe: one thread calls `turn`, `advance` and `drain`.

    `workers`: threads beside it that read, decode, enrich, match and write files; with one it does that itself.
    """

    def __init__(
        self,
        *,
        store: Store,
        feeds: list[Feed],
        enrich: Callable[[Batch, str], Batch],
        match: Callable[[Batch], pa.Table],
        analysis: Analysis,
        watermark: Watermark,
        clock: Clock,
        metrics: Metrics,
        stores: settings.Stores,
        pairing: Pairing,
        workers: int = 1,
    ) -> None:
        self.store, self.feeds = store, feeds
        self.analysis, self.watermark, self.clock, self.metrics = analysis, watermark, clock, metrics
        self.lag: dict[str, float] = {}
        self.workers = Workers(clock, metrics, workers) if workers > 1 else None
        self.ingest = Ingest(
            store=store, enrich=enrich, match=match, watermark=watermark, clock=clock, metrics=metrics,
            batch_rows=stores.batch_rows, hand_over=self.workers.hand_over if self.workers else self.take,
        )  # fmt: skip
        self.settler = Settler(
            store=store, pairing=pairing, match=match, late=self._late, clock=clock, metrics=metrics,
            spent=self.ingest.spent,
        )  # fmt: skip
        self.pace = min(PACE, watermark.lateness // 10)
        self._settled: int | None = None  # nothing waits that is due up to here
        for feed in feeds:
            self.ingest.load(feed)

    @property
    def spent(self) -> dict[str, float]:
        """CPU seconds by stage."""
        return self.ingest.spent

    def add(self, feed: Feed) -> None:
        """Another feed: a lane that was not there before. Event time waits until it was looked at."""
        self.ingest.load(feed)
        self.watermark.follow(self.store, feed.key)
        self.feeds.append(feed)

    def turn(self) -> int:
        """One chunk of every input that has something, or what the workers made ready; how many."""
        if self.workers:
            self.workers.start(self.feeds, self.ingest)
            return self.workers.collect(self.take)
        return sum(self.ingest.look(feed) for feed in self.feeds)

    def drain(self) -> None:
        """Until nothing more is there: for replays and `run --once`."""
        if self.workers:
            self.workers.drain(self.feeds, self.ingest, self.take)
        else:
            for feed in self.feeds:
                self.ingest.drain(feed)
        self.settler.begin()
        self.advance(self.watermark.greatest(), ended=True)

    def take(self, step: HandOver) -> None:
        """Commit what a worker prepared. Raises Conflict when it does not begin where the last commit ended."""
        change, tally = step.change, step.tally
        if change.hits is not None:
            tally.late = self._late(change.hits)
        with self.ingest.timed("stores"):
            self.store.commit(change)
        # Only what is committed moves event time on and is counted.
        self.watermark.saw(step.feed.key, tally.greatest, self.clock.monotonic(), tally.due)
        tally.publish(self.metrics)
        self._lag([*change.batches, *change.fresh])

    def tell(self, batch: Batch, until: int) -> None:
        """Commit rows that come from no input: what the daemon knows of itself. They move event time on to `until`."""
        tally = Tally(SELF)
        tally.rows([batch], [])
        hits = self.ingest.match(batch)
        tally.hits, tally.greatest = hits.num_rows, until
        change = Commit(batches=[batch], hits=hits if hits.num_rows else None, counts=tally.counts)
        change.states.update(self.watermark.state(SELF, until))
        self.store.commit(change)
        self.watermark.saw(SELF, until, self.clock.monotonic())
        tally.publish(self.metrics)

    def until(self) -> int | None:
        """Event time up to which nothing more is expected. A source with more to read is not idle, however long a
        worker takes over it, and before every source was looked at once nothing moves: its backlog may be old."""
        if not all(feed.looked for feed in self.feeds):
            return self.watermark.mark
        now = self.clock.monotonic()
        for feed in self.feeds:
            if feed.moving:
                self.watermark.saw(feed.key, None, now)
        return self.watermark.until(now)

    def advance(self, until: int | None, *, ended: bool = False) -> dict[str, int]:
        """Settle what waits and is due, and let the analysis consume what that and the watermark set free. `ended`: no
        more input will come."""
        if until is None and not all(feed.looked for feed in self.feeds):
            return {}
        if until is not None:
            until = self._settle(until, ended)
        for attempt in range(5):
            try:
                with self.ingest.timed("correlate"):
                    counts = self.analysis.advance(self.store, until, self.clock.now())
                break
            except Conflict:  # an analyst changed a case meanwhile: read again
                if attempt == 4:
                    raise
        if until is not None:
            self.watermark.mark = max(until, self.watermark.mark or until)
        self.came(counts)
        return counts

    def came(self, counts: dict[str, int]) -> None:
        """Count what came of hits."""
        for name, value in counts.items():
            self.metrics.count(f"csirt_{name}_total", value)
        if counts:  # every alert is linked into an incident, every incident gets its answer
            self.metrics.stage("correlate", counts["alerts"], counts["alerts"])
            self.metrics.stage("respond", counts["incidents"], counts["incidents"])

    def _settle(self, until: int, ended: bool) -> int:
        """Settle what is due; how far the analysis may go then."""
        due, idle = self.watermark.due(self.clock.monotonic())
        latest = self.watermark.latest_due()
        if due is None or latest is None or not (ended or all(feed.looked for feed in self.feeds)):
            return until
        if ended or idle:
            self._settled = self.settler.settle(latest, steps=None if ended else STEPS)
            if self._settled >= latest:
                return until
        elif self._settled is None or due - self.settler.pairing.ahead - self._settled >= self.pace:
            self._settled = self.settler.settle(due - self.settler.pairing.ahead, steps=STEPS)
        # Hits have the exporters' times: a clock that is behind brings them that much later.
        return min(until, tick(self._settled - self.watermark.behind()))

    def _late(self, hits: pa.Table) -> int:
        """How many hits come after their time was judged."""
        if self.watermark.mark is None:
            return 0
        return int(pc.sum(pc.less_equal(hits.column("time"), self.watermark.mark)).as_py() or 0)

    def worked(self) -> float:
        """When the slowest thread last made progress (monotonic seconds)."""
        return self.workers.worked() if self.workers else self.clock.monotonic()

    def rest(self, seconds: float, stop: threading.Event) -> None:
        """Wait for work or the end, for so long at most."""
        if self.workers:
            self.workers.wait(seconds)
        else:
            stop.wait(seconds)

    def close(self) -> None:
        """End the workers; what they did not hand over is read again."""
        if self.workers:
            self.workers.stop()

    def _lag(self, batches: list[Batch]) -> None:
        for batch in batches:
            if batch.rows and "event.ingested" in batch.table.column_names:
                received = pc.max(pc.cast(batch.table.column("event.ingested"), pa.int64())).as_py()
                if received:
                    self.lag["stores"] = max(0.0, (self.clock.now() - received) / 1e6)
