"""A worker's part of the pipeline: one chunk of one input is read, decoded, enriched, matched and prepared for the
store, then handed over. Several threads may work at once, each on feeds of its own (decision 11)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from csirt.clock import Clock
from csirt.feed import Feed, HandOver
from csirt.logs import trace
from csirt.metrics import Metrics, RateLimited
from csirt.model import ecs
from csirt.model.batch import Batch, Decoded
from csirt.model.chunk import Chunk, Position
from csirt.sources.base import Input
from csirt.stores.base import Commit, Store
from csirt.tally import Tally, size
from csirt.watermark import Watermark

LOG = logging.getLogger("csirt.pipeline")
SETTLE = 0.1  # seconds between two looks at a file that may still be written


class Ingest:
    """Moves chunks of feeds into commits. `hand_over` returns once the commit is made, or raises what kept it from
    being made: then the feed goes on from what is committed."""

    def __init__(
        self,
        *,
        store: Store,
        enrich: Callable[[Batch, str], Batch],
        match: Callable[[Batch], pa.Table],
        watermark: Watermark,
        clock: Clock,
        metrics: Metrics,
        batch_rows: int,
        hand_over: Callable[[HandOver], None],
    ) -> None:
        self.store, self.enrich, self.match, self.watermark = store, enrich, match, watermark
        self.clock, self.metrics, self.batch_rows, self.hand_over = clock, metrics, batch_rows, hand_over
        self.warn = RateLimited(LOG)
        self.spent: dict[str, float] = {}  # CPU seconds by stage

    def look(self, feed: Feed) -> int:
        """One chunk of every input of a feed that has something; how many were read."""
        moved = sum(self.step(feed, item) for item in feed.source.inputs())
        feed.moving, feed.looked = moved > 0, True
        return moved

    def drain(self, feed: Feed, ended: Callable[[], None] = lambda: None) -> None:
        """Everything of a feed, until nothing more is there, and the end of its input. `ended` raises to give up."""
        while True:
            ended()
            moved = 0
            for item in feed.source.inputs():
                while self.step(feed, item):
                    moved += 1
            if feed.source.exhausted() and not moved:
                break
            if not moved:
                self.clock.sleep(SETTLE)
        self.finish(feed)

    def step(self, feed: Feed, item: Input) -> int:
        """One chunk of one input, from bytes to a commit; 0 when there was none."""
        position = item.resolve(lambda content: self._position(feed, item.source, content))
        if item.finished(position):
            return 0
        with self.timed("sources"):
            chunk = item.read(position, feed.limit)
        if chunk is None:
            return 0
        feed.moving = True
        with self.timed("decode"):
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
        self._give(feed, item, here, decoded)
        return 1

    def finish(self, feed: Feed) -> None:
        """End of input of a source: what its decoder still holds becomes rows or expires."""
        decoded = feed.decoder.finish()
        if not decoded.batches and decoded.state is None:
            return
        self._problems(feed.source.id, decoded)
        tally = Tally(feed.source.id)
        tally.decoded(decoded)
        with self._all_or_nothing(feed):
            change = self._rows(feed, decoded.batches, tally)
            change.states[f"decoder:{feed.key}"] = decoded.state
            self._prepare(feed, change, tally)

    def load(self, feed: Feed) -> None:
        """The feed goes on from what is committed."""
        feed.decoder.load(self.store.state(f"decoder:{feed.key}"))
        feed.forget()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the CPU seconds of the block; with several workers they include what the others did meanwhile."""
        begin = self.clock.cpu()
        try:
            yield
        finally:
            self.spent[stage] = self.spent.get(stage, 0.0) + self.clock.cpu() - begin

    @contextmanager
    def _all_or_nothing(self, feed: Feed) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.load(feed)
            raise

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
            self.load(feed)
            if size(chunk) > 1 and feed.limit > 1:
                feed.limit = max(1, min(feed.limit, size(chunk)) // 8)
                feed.failed = (item.fingerprint, chunk.end)
                return None
            feed.failed = None
            # What the decoder still held of this input goes with it: the position moves past both.
            skipped = Decoded(entered=size(chunk) + held, dropped={"internal_error": size(chunk) + held})
            self._count(feed, chunk, skipped)
            position = Position(item.source, item.fingerprint, chunk.end, chunk.end_of_input, dict(chunk.extra))
            self._give(feed, item, position, skipped)
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
        """Enrich the batches, and match those that need not wait: a commit with rows, hits, and how far event time has
        come."""
        change = Commit()
        hits: list[pa.Table] = []
        for batch in batches:
            with self.timed("enrich"):
                enriched = self.enrich(batch, feed.vrf)
            seen = self.watermark.greatest_of(enriched, self.clock.now())
            tally.greatest = max((time for time in (seen, tally.greatest) if time is not None), default=None)
            if batch.dataset == "flow":  # matched once its other direction is known
                due = self.watermark.due_of(enriched, self.clock.now())
                tally.due = tally.due if due is None else due.joined(tally.due)
                change.fresh.append(_waiting(enriched))
                continue
            with self.timed("detect"):
                found = self.match(enriched)
            tally.hits += found.num_rows
            if found.num_rows:
                hits.append(found)
            change.batches.append(enriched)
        if hits:
            change.hits = pa.concat_tables(hits)
        tally.rows(change.batches, change.fresh)
        change.states.update(self.watermark.state(feed.key, tally.greatest, tally.due))
        return change

    def _give(self, feed: Feed, item: Input, position: Position, decoded: Decoded) -> None:
        """Hand over what was read since the last commit, up to `position`."""
        tally = feed.tally(item.fingerprint)
        with self._all_or_nothing(feed):
            committed = self.store.position(item.source, item.fingerprint)
            change = self._rows(feed, feed.batches, tally)
            before = committed.extra.get("events", 0) if committed else 0
            # What was in the input: what we say of ourselves was not.
            given = [batch for batch in [*change.batches, *change.fresh] if batch.dataset != "self"]
            position.extra["events"] = before + sum(batch.rows for batch in given)
            change.position = position
            change.previous = committed.offset if committed else 0
            if decoded.state is not None:
                change.states[f"decoder:{feed.key}"] = decoded.state
            self._prepare(feed, change, tally)
        feed.batches = []
        feed.reading.pop(item.fingerprint, None)
        feed.tallies.pop(item.fingerprint, None)

    def _prepare(self, feed: Feed, change: Commit, tally: Tally) -> None:
        """Encode, write and sync; then the coordinator's turn."""
        change.counts = tally.counts
        with self.timed("stores"):
            self.store.prepare(change)
        try:
            self.hand_over(HandOver(feed, change, tally))
        finally:
            self.store.discard(change)  # nothing, when it was committed

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


def _waiting(batch: Batch) -> Batch:
    """Flows that wait to be settled; those that no exporter's clock timed are due at their event time."""
    if ecs.DUE in batch.table.column_names:
        return batch
    return Batch(batch.dataset, batch.table.append_column(ecs.DUE, batch.table.column("@timestamp")))
