"""Bulk requests: several in flight, of adaptive size, each item judged by its own result.

An item is done when the cluster has it: written, or refused as old (409) because a newer or the same version is there.
It is sent again when that may help (429, 5xx, a blocked or missing index), and given up singly when it cannot.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from csirt.config import ElasticCluster
from csirt.errors import Unreachable
from csirt.stores.elastic import layout
from csirt.stores.elastic.connect import explain
from csirt.stores.elastic.fresh import Parcel
from csirt.stores.elastic.outbox import Refused, Waiting

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

LEAST, MOST = 16 * 1024, 4 * 1024 * 1024  # octets of one request
START = 1024 * 1024
SHORT, LONG = 0.1, 5.0  # seconds before items that were turned away are sent again
_WANTED = "errors,items.*.status,items.*.error"
PATIENCE = 6  # times that nothing of what is left was taken, before that is a failure to tell


@dataclass(frozen=True, slots=True)
class _Item:
    """One action; the lines of a document that waits are made whenever it is sent, and not kept."""

    waiting: Waiting
    lines: bytes = b""


@dataclass(slots=True)
class _Chunk:
    """What is asked with one request: the lines of its actions, and what they are, where it comes to each of them."""

    lines: Sequence[bytes]
    items: Callable[[], list[_Item]]
    parcel: Parcel | None = None
    last: bool = False  # of its parcel


@dataclass(slots=True)
class _Outcome:
    """What came of one request."""

    again: list[_Item]
    refused: list[Refused]
    slower: bool = False
    failed: Unreachable | None = None
    why: str = ""  # the last reason to send again

    @property
    def clean(self) -> bool:
        """The cluster has all of it."""
        return not (self.again or self.refused or self.failed)

    def add(self, other: _Outcome) -> None:
        """What came of another."""
        self.again += other.again
        self.refused += other.refused
        self.slower |= other.slower
        self.failed = self.failed or other.failed
        self.why = self.why or other.why


class Bulk:
    """Sends documents until the cluster has each of them or has refused it. `stop` ends it early."""

    def __init__(self, client: Elasticsearch, config: ElasticCluster, stop: threading.Event) -> None:
        self.client, self.config, self.stop = client, config, stop
        self.size = START
        self._pool = ThreadPoolExecutor(config.in_flight, thread_name_prefix="elastic")

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def send(
        self,
        documents: list[Waiting],
        parcels: Iterable[Parcel] = (),
        done: Callable[[Parcel], None] = lambda parcel: None,
    ) -> list[Refused]:
        """Send all; what was refused. `done` hears of each parcel as soon as the cluster has all of it; of one with
        anything that is refused or sent again it does not. Raises Unreachable when the cluster is away, or when it is
        stopped: then some were sent and some not, and sending all of them again changes nothing."""
        items = [_Item(one) for one in documents]
        return self._deliver(chain(self._parts(parcels), self._chunks(items)), done)

    def deliver(self, actions: list[tuple[Waiting, bytes]]) -> list[Refused]:
        """As `send`, of actions whose lines are made already."""
        return self._deliver(self._chunks([_Item(*one) for one in actions]))

    def _deliver(self, chunks: Iterator[_Chunk], done: Callable[[Parcel], None] = lambda parcel: None) -> list[Refused]:
        refused: list[Refused] = []
        pause, idle = SHORT, 0
        while True:
            count, outcome = self._asked(chunks, done)
            left = outcome.again
            refused += outcome.refused
            if count:
                self._adapt(outcome.slower)
            if outcome.failed is not None:
                raise outcome.failed
            if not left:
                return refused
            idle = idle + 1 if len(left) == count else 0
            pause = min(pause * 2, LONG) if idle else SHORT
            if idle >= PATIENCE:
                raise Unreachable(f"the cluster turns documents away ({outcome.why}); see its log and its load")
            if self.stop.wait(pause):
                raise Unreachable("stopped before the cluster had everything")
            chunks = self._chunks(left)

    def _asked(self, chunks: Iterator[_Chunk], done: Callable[[Parcel], None]) -> tuple[int, _Outcome]:
        """How many documents were sent, and what came of them; no more are when a request has failed."""
        count, whole = 0, _Outcome([], [])
        spoilt: Parcel | None = None
        for chunk, outcome in self._requests(chunks, lambda: whole.failed is None):
            count += len(chunk.lines)
            whole.add(outcome)
            if not outcome.clean:
                spoilt = chunk.parcel
            elif chunk.parcel is not None and chunk.last and chunk.parcel is not spoilt:
                done(chunk.parcel)
        return count, whole

    def _requests(self, chunks: Iterator[_Chunk], wanted: Callable[[], bool]) -> Iterator[tuple[_Chunk, _Outcome]]:
        """What came of each, in their order. A request is made when its turn is near: all of them at once are as large
        as everything that is sent."""
        under_way: deque[tuple[_Chunk, Future[_Outcome]]] = deque()
        while wanted() and (chunk := next(chunks, None)) is not None:
            under_way.append((chunk, self._pool.submit(self._request, chunk)))
            if len(under_way) > self.config.in_flight:
                first, future = under_way.popleft()
                yield first, future.result()
        while under_way:
            first, future = under_way.popleft()
            yield first, future.result()

    def _parts(self, parcels: Iterable[Parcel]) -> Iterator[_Chunk]:
        """Parcels cut into requests, document by document only where one goes wrong."""
        for parcel in parcels:
            ends = list(accumulate(map(len, parcel.lines)))
            start = sent = 0
            while start < len(ends):
                end = max(start + 1, bisect_right(ends, sent + self.size))
                part = parcel.lines[start:end]
                yield _Chunk(part, partial(_named, parcel, part, start), parcel, end == len(ends))
                start, sent = end, ends[end - 1]

    def _chunks(self, items: list[_Item]) -> Iterator[_Chunk]:
        chunk: list[_Item] = []
        made: list[bytes] = []
        size = 0
        for item in items:
            one = item.waiting
            lines = item.lines or layout.action(self.config, one.kind, one.key, one.last, one.text)
            if chunk and size + len(lines) > self.size:
                yield _chunk(chunk, made)
                chunk, made, size = [], [], 0
            chunk.append(item)
            made.append(lines)
            size += len(lines)
        if chunk:
            yield _chunk(chunk, made)

    def _adapt(self, slower: bool) -> None:
        self.size = max(LEAST, self.size // 2) if slower else min(MOST, self.size * 5 // 4)

    def _request(self, chunk: _Chunk) -> _Outcome:
        import elasticsearch as es

        if self.stop.is_set():
            return _Outcome([], [], failed=Unreachable("stopped before the cluster had everything"))
        try:
            lines: Any = b"\n".join([*chunk.lines, b""])
            answer = self.client.bulk(operations=lines, filter_path=_WANTED).body
        except es.ApiError as error:
            return self._turned_away(chunk, error)
        except Exception as error:
            return _Outcome([], [], slower=True, failed=explain(error, self.config))
        results = list(answer.get("items", []))
        if answer.get("errors") is False and len(results) == len(chunk.lines):
            return _Outcome([], [])
        return _judged(chunk.items(), results)

    def _turned_away(self, chunk: _Chunk, error: Any) -> _Outcome:
        """The whole request was refused: too much at once, or the cluster is not well."""
        status = int(error.meta.status)
        items = chunk.items()
        if status in (400, 413):
            if len(items) == 1:
                return _Outcome([], [_refused(items[0], status, {"type": "request", "reason": "too large"})])
            step = (len(items) + 1) // 2 if status == 413 else 1
            starts = range(0, len(items), step)
            return _joined([self._request(_chunk(items[n : n + step], chunk.lines[n : n + step])) for n in starts])
        if status == 429:
            return _Outcome(items, [], slower=True, why="429 too many requests")
        return _Outcome([], [], slower=True, failed=explain(error, self.config))


def _chunk(items: list[_Item], lines: Sequence[bytes]) -> _Chunk:
    return _Chunk(lines, lambda: items)


def _named(parcel: Parcel, lines: Sequence[bytes], start: int) -> list[_Item]:
    """A part of a parcel, from that place, document by document."""
    some = zip(parcel.names[start : start + len(lines)], lines, strict=True)
    return [_Item(Waiting(kind, key, step, step, ""), line) for (kind, key, step), line in some]


def _joined(parts: Iterable[_Outcome]) -> _Outcome:
    whole = _Outcome([], [], slower=True)
    for part in parts:
        whole.add(part)
    return whole


def _judged(items: list[_Item], results: list[dict[str, Any]]) -> _Outcome:
    """Each item by its own result; without a result of its own it is sent again."""
    outcome = _Outcome([], [])
    for place, item in enumerate(items):
        result = next(iter(results[place].values())) if place < len(results) else {}
        status, error = int(result.get("status", 503)), result.get("error") or {}
        if status < 300 or status == 409 or (status == 404 and not error):
            continue
        if status in (400, 413) and error:
            outcome.refused.append(_refused(item, status, error))
        else:
            outcome.again.append(item)
            outcome.slower |= status == 429 or status >= 500
            outcome.why = f"{status} {_kind(error)}".strip()
    return outcome


def _refused(item: _Item, status: int, error: dict[str, Any]) -> Refused:
    """Why, in the cluster's words as far as they do not repeat what is in the document."""
    kind = _kind(error)
    field = re.search(r"field \[([\w.@]{1,80})\]", str(error.get("reason", "")))
    reason = kind + (f" in field {field[1]}" if field else "")
    one = item.waiting
    return Refused(one.kind, one.key, one.last, status, reason or "refused")


def _kind(error: dict[str, Any]) -> str:
    """The cluster's name for the error: a word, whatever it sends."""
    return re.sub(r"[^a-z_]", "", str(error.get("type", "")))[:80]
