"""The one page that moves a batch through the stages: sources, decode, enrich, detect, then, when the watermark
moves, correlate, cases, respond, notify. Every step ends in one commit (decision 4)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from csirt import config as settings
from csirt.clock import Clock
from csirt.decode.base import Decoder
from csirt.errors import Conflict
from csirt.logs import trace
from csirt.metrics import Metrics, RateLimited
from csirt.model.batch import Batch, Decoded
from csirt.model.chunk import Chunk, Position
from csirt.sources.base import Input, Source
from csirt.stores.base import Commit, Store
from csirt.tally import Tally, size
from csirt.watermark import Watermark

LOG = logging.getLogger("csirt.pipeline")
SETTLE = 0.1  # seconds between two looks at a file that may still be written


class Analysis(Protocol):
    """What the watermark sets free: pending hits become alerts, incidents, cases, plans, notifications."""

    def advance(self, store: Store, until: int, at: int) -> dict[str, int]:
        """Consume the hits up to `until` in one commit; counts of what came of it."""


@dataclass
class Feed:
    """One source with its decoder, and how many of its units make a full batch."""

    source: Source
    decoder: Decoder
    vrf: str = ""
    limit: int = 4_096
    # Rows, counts and positions of packets whose flows are still open: committed together at the next cut.
    batches: list[Batch] = field(default_factory=list)
    reading: dict[str, Position] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    # Input and end of a chunk the decoder failed on: until it is passed, no more is asked for at a time.
    failed: tuple[str, int] | None = None

    def tally(self, fingerprint: str) -> Tally:
        """The counters of an input since its last commit."""
        return self.tallies.setdefault(fingerprint, Tally(self.source.id))

    def forget(self) -> None:
        """Nothing of what was read since the last commit counts: it is read again."""
        self.batches = []
        self.reading.clear()
        self.tallies.clear()


class Pipeline:
    """Moves chunks of every feed to the store. Not thread-safe: one thread calls `turn` and `advance`."""

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
    ) -> None:
        self.store, self.feeds, self.enrich, self.match = store, feeds, enrich, match
        self.analysis, self.watermark, self.clock, self.metrics = analysis, watermark, clock, metrics
        self.batch_rows = stores.batch_rows
        self.warn = RateLimited(LOG)
        self.lag: dict[str, float] = {}
        self.spent: dict[str, float] = {}  # CPU seconds by stage
        for feed in feeds:
            feed.decoder.load(store.state(f"decoder:{feed.source.id}"))

    def turn(self) -> int:
        """One chunk of every input that has something; how many chunks were committed or read."""
        moved = 0
        for feed in self.feeds:
            for item in feed.source.inputs():
                moved += self.step(feed, item)
        return moved

    def drain(self) -> None:
        """Until nothing more is there: for replays and `run --once`."""
        for feed in self.feeds:
            while True:
                moved = 0
                for item in feed.source.inputs():
                    while self.step(feed, item):
                        moved += 1
                if feed.source.exhausted() and not moved:
                    break
                if not moved:
                    self.clock.sleep(SETTLE)
            self.finish(feed)
        self.advance(self.watermark.greatest())

    def step(self, feed: Feed, item: Input) -> int:
        """One chunk of one input, from bytes to a commit; 0 when there was none."""
        position = item.resolve(lambda content: self._position(feed, item.source, content))
        if item.finished(position):
            return 0
        limit = feed.limit
        with self._timed("sources"):
            chunk = item.read(position, limit)
        if chunk is None:
            return 0
        with self._timed("decode"):
            decoded = self._decode(feed, item, chunk)
        if decoded is None:
            return 1
        self._adapt(feed, chunk, decoded)
        self._count(feed, chunk, decoded)
        feed.batches += decoded.batches
        here = Position(item.source, item.fingerprint, chunk.end, chunk.end_of_input, dict(chunk.extra))
        if decoded.held and decoded.state is None and not chunk.end_of_input:
            feed.reading[item.fingerprint] = here  # the decoder waits for a cut; commit there
            return 1
        self._commit(feed, item, here, decoded)
        return 1

    def finish(self, feed: Feed) -> None:
        """End of input of a source: what its decoder still holds becomes rows or expires."""
        decoded = feed.decoder.finish()
        if not decoded.batches and decoded.state is None:
            return
        self._problems(feed.source.id, decoded)
        tally = Tally(feed.source.id)
        tally.decoded(decoded)
        try:
            change = self._rows(feed, decoded.batches, tally)
            change.states[f"decoder:{feed.source.id}"] = decoded.state
            change.counts = tally.counts
            self.store.commit(change)
        except BaseException:
            feed.decoder.load(self.store.state(f"decoder:{feed.source.id}"))
            raise
        self._committed(tally)

    def advance(self, until: int | None) -> dict[str, int]:
        """Let the analysis consume what the watermark sets free."""
        if until is None:
            return {}
        for attempt in range(5):
            try:
                with self._timed("correlate"):
                    counts = self.analysis.advance(self.store, until, self.clock.now())
                break
            except Conflict:  # an analyst changed a case meanwhile: read again
                if attempt == 4:
                    raise
        self.watermark.mark = max(until, self.watermark.mark or until)
        for name, value in counts.items():
            self.metrics.count(f"csirt_{name}_total", value)
        if counts:  # every alert is linked into an incident, every incident gets its answer
            self.metrics.stage("correlate", counts["alerts"], counts["alerts"])
            self.metrics.stage("respond", counts["incidents"], counts["incidents"])
        return counts

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begin = self.clock.cpu()
        try:
            yield
        finally:
            self.spent[stage] = self.spent.get(stage, 0.0) + self.clock.cpu() - begin

    def _position(self, feed: Feed, source: str, content: str) -> Position | None:
        return feed.reading.get(content) or self.store.position(source, content)

    def _decode(self, feed: Feed, item: Input, chunk: Chunk) -> Decoded | None:
        """Decode; should a decoder fail on some bytes, close in on the one unit that does it, drop and count that."""
        try:
            return feed.decoder.decode(chunk)
        except Exception as error:
            # The message of an exception may quote the bytes it is about (decision 15): only where it was raised.
            LOG.error("decoding %s failed at offset %d: %s", feed.source.id, chunk.start, trace(error))
            held = feed.tally(item.fingerprint).held
            feed.decoder.load(self.store.state(f"decoder:{feed.source.id}"))
            feed.forget()
            if size(chunk) > 1 and feed.limit > 1:
                feed.limit = max(1, min(feed.limit, size(chunk)) // 8)
                feed.failed = (item.fingerprint, chunk.end)
                return None
            feed.failed = None
            # What the decoder still held of this input goes with it: the position moves past both.
            skipped = Decoded(entered=size(chunk) + held, dropped={"internal_error": size(chunk) + held})
            self._count(feed, chunk, skipped)
            position = Position(item.source, item.fingerprint, chunk.end, chunk.end_of_input, dict(chunk.extra))
            self._commit(feed, item, position, skipped)
            return None

    def _adapt(self, feed: Feed, chunk: Chunk, decoded: Decoded) -> None:
        """Ask for as many units next time as fill one batch; identity does not depend on it."""
        if feed.failed is not None and feed.failed[0] == chunk.fingerprint:
            if chunk.end < feed.failed[1]:
                return
            feed.failed = None
        rows = sum(batch.rows for batch in decoded.batches)
        if chunk.units and rows:
            feed.limit = min(max(int(self.batch_rows * chunk.units / rows), 1), 1_000_000)
        elif chunk.units >= feed.limit:
            feed.limit = min(feed.limit * 4, self.batch_rows)

    def _rows(self, feed: Feed, batches: list[Batch], tally: Tally) -> Commit:
        """Enrich and match the batches: a commit with rows, hits, and how far event time has come."""
        change = Commit()
        hits: list[pa.Table] = []
        for batch in batches:
            with self._timed("enrich"):
                enriched = self.enrich(batch, feed.vrf)
            with self._timed("detect"):
                found = self.match(enriched)
            tally.hits += found.num_rows
            if found.num_rows:
                hits.append(found)
            seen = self.watermark.greatest_of(enriched, self.clock.now())
            tally.greatest = max((time for time in (seen, tally.greatest) if time is not None), default=None)
            change.batches.append(enriched)
        if hits:
            change.hits = pa.concat_tables(hits)
            if self.watermark.mark is not None:
                late = pc.sum(pc.less_equal(change.hits.column("time"), self.watermark.mark)).as_py()
                tally.late += int(late or 0)
        tally.rows(change.batches)
        change.states.update(self.watermark.state(feed.source.id, tally.greatest))
        return change

    def _committed(self, tally: Tally) -> None:
        """What came of a commit: only what is committed moves event time on and is counted."""
        self.watermark.saw(tally.source, tally.greatest, self.clock.monotonic())
        tally.publish(self.metrics)

    def _commit(self, feed: Feed, item: Input, position: Position, decoded: Decoded) -> None:
        tally = feed.tally(item.fingerprint)
        try:
            committed = self.store.position(item.source, item.fingerprint)
            change = self._rows(feed, feed.batches, tally)
            before = committed.extra.get("events", 0) if committed else 0
            position.extra["events"] = before + sum(batch.rows for batch in change.batches)
            change.position = position
            change.previous = committed.offset if committed else 0
            if decoded.state is not None:
                change.states[f"decoder:{feed.source.id}"] = decoded.state
            change.counts = tally.counts
            with self._timed("stores"):
                self.store.commit(change)
        except BaseException:
            feed.decoder.load(self.store.state(f"decoder:{feed.source.id}"))
            feed.forget()
            raise
        feed.batches = []
        feed.reading.pop(item.fingerprint, None)
        feed.tallies.pop(item.fingerprint, None)
        self._committed(tally)
        self._lag(change.batches)

    def _lag(self, batches: list[Batch]) -> None:
        for batch in batches:
            if batch.rows and "event.ingested" in batch.table.column_names:
                received = pc.max(pc.cast(batch.table.column("event.ingested"), pa.int64())).as_py()
                if received:
                    self.lag["stores"] = max(0.0, (self.clock.now() - received) / 1e6)

    def _count(self, feed: Feed, chunk: Chunk, decoded: Decoded) -> None:
        tally = feed.tally(chunk.fingerprint)
        tally.read(chunk)
        tally.decoded(decoded)
        for reason, number in chunk.lost.items():
            self.warn.warning(f"{chunk.source}:{reason}", f"source {chunk.source}: {number} lost: {reason}")
        self._problems(chunk.source, decoded)

    def _problems(self, source: str, decoded: Decoded) -> None:
        for problem in decoded.problems[:5]:
            self.warn.warning(f"{source}:{problem[:40]}", f"source {source}: {problem}")
