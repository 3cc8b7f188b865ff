"""Bulk requests: several in flight, of adaptive size, each item judged by its own result.

An item is done when the cluster has it: written, or refused as old (409) because a newer or the same version is there.
It is sent again when that may help (429, 5xx, a blocked or missing index), and given up singly when it cannot.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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


@dataclass(slots=True)
class _Outcome:
    """What came of one request."""

    again: list[_Item]
    refused: list[Refused]
    slower: bool = False
    failed: Unreachable | None = None
    why: str = ""  # the last reason to send again


class Bulk:
    """Sends documents until the cluster has each of them or has refused it. `stop` ends it early."""

    def __init__(self, client: Elasticsearch, config: ElasticCluster, stop: threading.Event) -> None:
        self.client, self.config, self.stop = client, config, stop
        self.size = START
        self.sent = self.retried = 0
        self._pool = ThreadPoolExecutor(config.in_flight, thread_name_prefix="elastic")

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def send(self, documents: list[Waiting], parcels: Sequence[Parcel] = ()) -> list[Refused]:
        """Send all; what was refused. Raises Unreachable when the cluster is away, or when it is stopped: then some
        were sent and some not, and sending all of them again changes nothing."""
        return self._deliver([_Item(one) for one in documents], parcels)

    def deliver(self, actions: list[tuple[Waiting, bytes]]) -> list[Refused]:
        """As `send`, of actions whose lines are made already."""
        return self._deliver([_Item(*one) for one in actions])

    def _deliver(self, items: list[_Item], parcels: Sequence[Parcel] = ()) -> list[Refused]:
        left = items
        refused: list[Refused] = []
        pause, idle = SHORT, 0
        count = before = len(items) + sum(len(parcel.lines) for parcel in parcels)
        while before:
            outcomes = list(self._asked(chain(self._parts(parcels), self._chunks(left))))
            parcels = ()
            left = [item for outcome in outcomes for item in outcome.again]
            refused += [item for outcome in outcomes for item in outcome.refused]
            self._adapt(any(outcome.slower for outcome in outcomes))
            failed = next((outcome.failed for outcome in outcomes if outcome.failed), None)
            if failed is not None:
                raise failed
            if left:
                self.retried += len(left)
                idle = idle + 1 if len(left) == before else 0
                pause = min(pause * 2, LONG) if idle else SHORT
                if idle >= PATIENCE:
                    why = next((outcome.why for outcome in outcomes if outcome.why), "")
                    raise Unreachable(f"the cluster turns documents away ({why}); see its log and its load")
                if self.stop.wait(pause):
                    raise Unreachable("stopped before the cluster had everything")
            before = len(left)
        self.sent += count - len(refused)
        return refused

    def _asked(self, chunks: Iterator[_Chunk]) -> Iterator[_Outcome]:
        """What came of each, in their order. A request is made when its turn is near: all of them at once are as large
        as everything that is sent."""
        under_way: deque[Future[_Outcome]] = deque()
        for chunk in chunks:
            under_way.append(self._pool.submit(self._request, chunk))
            if len(under_way) > self.config.in_flight:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def _parts(self, parcels: Sequence[Parcel]) -> Iterator[_Chunk]:
        """Parcels cut into requests, document by document only where one goes wrong."""
        for parcel in parcels:
            ends = list(accumulate(map(len, parcel.lines)))
            start = sent = 0
            while start < len(ends):
                end = max(start + 1, bisect_right(ends, sent + self.size))
                yield _Chunk(parcel.lines[start:end], partial(_named, parcel, start, end))
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


def _named(parcel: Parcel, start: int, end: int) -> list[_Item]:
    """A part of a parcel, document by document."""
    some = zip(parcel.names[start:end], parcel.lines[start:end], strict=True)
    return [_Item(Waiting(kind, key, step, step, ""), line) for (kind, key, step), line in some]


def _joined(parts: list[_Outcome]) -> _Outcome:
    return _Outcome(
        [item for part in parts for item in part.again],
        [item for part in parts for item in part.refused],
        slower=True,
        failed=next((part.failed for part in parts if part.failed), None),
    )


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
