"""The one page that moves a batch through the stages: sources, decode, enrich, detect, then, when the watermark
moves, correlate, cases, respond, notify. Every step ends in one commit (decision 4)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from csirt import config as settings
from csirt.clock import Clock
from csirt.decode.base import Decoder
from csirt.errors import Conflict
from csirt.metrics import Metrics, RateLimited
from csirt.model.batch import Batch, Decoded
from csirt.model.chunk import Chunk, Position
from csirt.sources.base import Input, Source
from csirt.stores.base import Commit, Store
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
    # Rows, hits and units of packets whose flows are still open: committed together at the next cut.
    batches: list[Batch] = field(default_factory=list)
    reading: dict[str, Position] = field(default_factory=dict)


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
        self._count(chunk, decoded)
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
        change = self._rows(feed, decoded.batches)
        change.states[f"decoder:{feed.source.id}"] = decoded.state
        change.counts.update(_stage_counts(feed.source.id, None, decoded))
        self.store.commit(change)

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
        except Exception:
            LOG.exception("decoding %s failed at offset %d", feed.source.id, chunk.start)
            feed.decoder.load(self.store.state(f"decoder:{feed.source.id}"))
            feed.batches.clear()
            feed.reading.clear()
            if chunk.units > 1:
                feed.limit = max(1, chunk.units // 8)
                return None
            skipped = Decoded(entered=chunk.units, dropped={"internal_error": chunk.units})
            self._count(chunk, skipped)
            position = Position(item.source, item.fingerprint, chunk.end, chunk.end_of_input, dict(chunk.extra))
            self._commit(feed, item, position, skipped)
            return None

    def _adapt(self, feed: Feed, chunk: Chunk, decoded: Decoded) -> None:
        """Ask for as many units next time as fill one batch; identity does not depend on it."""
        rows = sum(batch.rows for batch in decoded.batches)
        if chunk.units and rows:
            feed.limit = min(max(int(self.batch_rows * chunk.units / rows), 1), 1_000_000)
        elif chunk.units >= feed.limit:
            feed.limit = min(feed.limit * 4, self.batch_rows)

    def _rows(self, feed: Feed, batches: list[Batch]) -> Commit:
        """Enrich and match the batches: a commit with rows, hits, and how far event time has come."""
        change = Commit()
        hits: list[pa.Table] = []
        greatest: int | None = None
        for batch in batches:
            with self._timed("enrich"):
                enriched = self.enrich(batch, feed.vrf)
            self.metrics.stage("enrich", batch.rows, enriched.rows)
            with self._timed("detect"):
                found = self.match(enriched)
            self.metrics.stage("detect", enriched.rows, enriched.rows)
            self.metrics.count("csirt_hits_total", found.num_rows)
            if found.num_rows:
                hits.append(found)
            seen = self.watermark.greatest_of(enriched, self.clock.now())
            greatest = seen if greatest is None or (seen is not None and seen > greatest) else greatest
            change.batches.append(enriched)
        if hits:
            change.hits = pa.concat_tables(hits)
            if self.watermark.mark is not None:
                late = pc.sum(pc.less_equal(change.hits.column("time"), self.watermark.mark)).as_py()
                self.metrics.count("csirt_late_hits_total", int(late or 0))
        self.watermark.saw(feed.source.id, greatest, self.clock.monotonic())
        change.states.update(self.watermark.state(feed.source.id))
        return change

    def _commit(self, feed: Feed, item: Input, position: Position, decoded: Decoded) -> None:
        committed = self.store.position(item.source, item.fingerprint)
        change = self._rows(feed, feed.batches)
        events = sum(batch.rows for batch in change.batches)
        before = committed.extra.get("events", 0) if committed else 0
        position.extra["events"] = before + events
        change.position = position
        change.previous = committed.offset if committed else 0
        if decoded.state is not None:
            change.states[f"decoder:{feed.source.id}"] = decoded.state
        change.counts = _stage_counts(feed.source.id, decoded, decoded)
        try:
            with self._timed("stores"):
                self.store.commit(change)
        except BaseException:
            feed.decoder.load(self.store.state(f"decoder:{feed.source.id}"))
            feed.reading.clear()
            raise
        finally:
            feed.batches = []
        feed.reading.pop(item.fingerprint, None)
        self.metrics.stage("stores", events, events)
        self._lag(change.batches)

    def _lag(self, batches: list[Batch]) -> None:
        for batch in batches:
            if batch.rows and "event.ingested" in batch.table.column_names:
                received = pc.max(pc.cast(batch.table.column("event.ingested"), pa.int64())).as_py()
                if received:
                    self.lag["stores"] = max(0.0, (self.clock.now() - received) / 1e6)

    def _count(self, chunk: Chunk, decoded: Decoded) -> None:
        lost = sum(chunk.lost.values())
        self.metrics.stage("sources", chunk.units + lost, chunk.units, chunk.lost)
        self.metrics.stage("decode", decoded.entered, decoded.left, decoded.dropped)
        for reason, number in chunk.lost.items():
            self.warn.warning(f"{chunk.source}:{reason}", f"source {chunk.source}: {number} lost: {reason}")
        self._problems(chunk.source, decoded)

    def _problems(self, source: str, decoded: Decoded) -> None:
        for problem in decoded.problems[:5]:
            self.warn.warning(f"{source}:{problem[:40]}", f"source {source}: {problem}")


def _stage_counts(source: str, entered: Decoded | None, decoded: Decoded) -> dict[str, int]:
    """The counters a commit accumulates, so that they survive restarts."""
    counts: dict[str, Any] = {}
    if entered is not None:
        counts[f"decode.in.{source}"] = entered.entered
        counts[f"decode.out.{source}"] = entered.left
    for reason, number in decoded.dropped.items():
        counts[f"decode.dropped.{source}.{reason}"] = number
    for exporter in decoded.exporters:
        where = f"{exporter.get('address')}|{exporter.get('version')}|{exporter.get('domain')}"
        for key, value in exporter.items():
            if key not in ("address", "version", "domain") and value:
                counts[f"exporter.{where}.{key}"] = int(value)
    for batch in decoded.batches:
        key = f"events.{batch.dataset}"
        counts[key] = counts.get(key, 0) + batch.rows
    return counts
