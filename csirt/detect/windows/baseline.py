"""A `baseline`: a count, sum, number of distinct values or ratio per group and bucket of time, against its own history.

A bucket is judged when it is closed, against the buckets of the history that are alike (`season`), since its group was
first seen; a bucket without events counts as zero there. Judged last, it becomes history itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from csirt.detect.rule import Correlation, Limit
from csirt.detect.rules import buckets
from csirt.detect.windows.alerts import SAID, Summary
from csirt.detect.windows.bucket import NOTHING, Bucket, Part, Tally
from csirt.detect.windows.interned import Interned
from csirt.detect.windows.past import Past, Record
from csirt.model.batch import Array
from csirt.model.hits import HITS

NEVER = -(1 << 62)
Found = tuple[int, float, float, float]  # a group's code, its value, what was expected, the limit


@dataclass(frozen=True, slots=True)
class Judged:
    """A bucket of a group that is out of its ordinary. `row`: the hit that speaks for it, None for silence."""

    group: str
    start: int
    end: int
    value: float
    expected: float
    limit: float
    count: int
    row: pa.Table | None


@dataclass(slots=True)
class Baseline:
    """The state of one baseline.

    `groups`, `since` and `seen` per group: its text, the first bucket and the latest one in which it had something.
    `parents`: the same two of what groups belong to. `next`: the bucket that is closed next. `era`: how often the codes
    of groups were given anew. `row`: by code, how many buckets in a row were out of the ordinary, and where they began.
    `known`: the number under which `since`, `seen` and `parents` are written, `named`: the codes whose names each
    part of those has.
    """

    item: Correlation
    max_groups: int
    groups: Interned = field(default_factory=Interned)
    since: Array = field(default_factory=lambda: np.empty(0, np.int64))
    seen: Array = field(default_factory=lambda: np.empty(0, np.int64))
    parents: dict[str, list[int]] = field(default_factory=dict)
    open: dict[int, Bucket] = field(default_factory=dict)
    past: Past = field(default_factory=Past)
    next: int | None = None
    dropped: int = 0
    era: int = 0
    row: dict[int, tuple[int, int]] = field(default_factory=dict)
    known: int = 0
    named: list[tuple[int, int]] = field(default_factory=list)
    dirty: bool = True
    written: set[str] = field(default_factory=set)

    def add(self, inputs: Sequence[pa.Table]) -> int:
        """Count the hits of each rule in their buckets; how many came after their bucket was closed (not counted)."""
        late = 0
        settings = self.item.baseline
        assert settings is not None
        for index, table in enumerate(inputs):
            if not table.num_rows:
                continue
            times = np.asarray(table.column("time").to_numpy())
            begins = buckets.starts(times, self.item.timespan, settings.timezone)
            early = begins < (NEVER if self.next is None else self.next)
            if early.any():
                late += int(early.sum())
                table, begins = table.filter(pa.array(~early)), begins[~early]
            self.dirty = True
            for start in np.unique(begins).tolist():
                which = begins == start
                mine = table if which.all() else table.filter(pa.array(which))
                self._bucket(start).add(mine, index, self._code)
        if self.next is None and self.open:
            self.next = min(self.open)
        return late

    def _bucket(self, start: int) -> Bucket:
        if start not in self.open:
            self.open[start] = self.made()
        return self.open[start]

    def made(self, parts: Sequence[Part] = ()) -> Bucket:
        """A bucket with these parts."""
        assert self.item.baseline is not None
        return Bucket(self.item.baseline.measure, self.item.numeric, parts)

    def _code(self, names: pa.ChunkedArray) -> Array:
        """The codes of groups, new ones added."""
        codes = self.groups.codes(names)
        unknown = np.full(len(self.groups) - len(self.since), NEVER)
        if len(unknown):
            self.since, self.seen = np.concatenate([self.since, unknown]), np.concatenate([self.seen, unknown])
        return codes

    def name(self, code: int) -> str:
        """The text of a group."""
        return self.groups.names(np.array([code]))[0]

    def learning(self) -> int:
        """Groups that are known too short a time to be judged."""
        settings, now = self.item.baseline, self.next
        if settings is None or now is None:
            return 0
        if settings.new:
            return sum(times[0] + settings.history > now for times in self.parents.values())
        return int(((self.since > NEVER) & (self.since + settings.history > now)).sum())

    def next_time(self) -> int | None:
        """When something may come of a bucket that is closed."""
        if self.next is None:
            return None
        if self._silence():
            return self._end(self.next)
        return self._end(min(self.open)) if self.open else None

    def _silence(self) -> bool:
        """Whether something may come of a bucket in which nothing happened."""
        settings = self.item.baseline
        return settings is not None and settings.below is not None and settings.below.value is None

    def _end(self, start: int) -> int:
        assert self.item.baseline is not None
        return buckets.end(start, self.item.timespan, self.item.baseline.timezone)

    def close(self, until: int) -> Iterator[Judged]:
        """Judge every bucket that has ended at `until`, in order."""
        while self.next is not None and self._end(self.next) <= until:
            start, self.dirty = self.next, True
            if start in self.open or self._silence():
                self.next = self._end(start)
                yield from self._close(start)
            else:
                self._skip(min([until, *self.open]))
            if not self.open and not (self.seen > NEVER).any():
                self.next, self.past, self.parents = None, Past(), {}
                self.known += 1

    def _skip(self, until: int) -> None:
        """Close the buckets up to there, in which nothing happened."""
        settings = self.item.baseline
        assert settings is not None and self.next is not None
        starts = buckets.ended(self.next, until, self.item.timespan, settings.timezone)
        last = int(starts[-1])
        self.next, self.row = self._end(last), {}
        self.learn(starts)
        self.past.forget(last - settings.keep)
        self._forget(last - settings.keep)

    def learn(self, starts: Array) -> None:
        """These buckets become history."""
        settings = self.item.baseline
        assert settings is not None
        if settings.learns:
            self.past.add(starts, buckets.slots(starts, self.item.timespan, settings.timezone, settings.season))

    def _close(self, start: int) -> Iterator[Judged]:
        settings = self.item.baseline
        assert settings is not None
        bucket = self.open.pop(start, None)
        tally = NOTHING if bucket is None else bucket.tally()
        values = np.zeros(len(self.groups))
        values[tally.codes] = tally.values
        slot = int(buckets.slots(np.array([start]), self.item.timespan, settings.timezone, settings.season)[0])
        self.past.forget(start - settings.keep)
        yield from self._in_a_row(self._judge(start, slot, values, tally), start, bucket, tally)
        had = tally.codes
        self.known += bool(len(had))
        if settings.new:
            for name in self.groups.names(had):
                self.parents.setdefault(_parent(name, settings.new), [start, start])[1] = start
        self.since[had] = np.where(self.since[had] == NEVER, start, self.since[had])
        self.seen[had] = start
        if settings.learns:
            self.learn(np.array([start]))
            if len(had):
                self.past.records.append(Record(start, slot, had, tally.values))
        self._forget(start - settings.keep)

    def _judge(self, start: int, slot: int, values: Array, tally: Tally) -> Iterator[Found]:
        """The groups that are out of their ordinary."""
        settings = self.item.baseline
        assert settings is not None
        enough = tally.codes[tally.bases >= settings.enough]
        if settings.new:
            for code, name in zip(enough.tolist(), self.groups.names(enough), strict=True):
                known = self.parents.get(_parent(name, settings.new))
                old = known is not None and known[0] + settings.history <= start
                fresh = self.since[code] == NEVER or self.since[code] + settings.new_for > start
                if old and fresh and values[code] >= settings.at_least:
                    yield code, values[code], 0.0, 0.0
            return
        learned = (self.since > NEVER) & (self.since + settings.history <= start)
        if settings.above is not None:
            codes = enough if settings.above.value is not None else np.flatnonzero(learned)
            codes = codes[(values[codes] >= settings.at_least) & (values[codes] > 0)]
            codes = codes[np.isin(codes, enough)] if settings.enough else codes
            middle, limit = self._limits(codes, slot, settings.above)
            for place in np.flatnonzero(values[codes] > limit).tolist():
                yield int(codes[place]), values[codes[place]], middle[place], limit[place]
        if settings.below is not None:
            codes = enough if settings.below.value is not None else np.flatnonzero(learned)
            middle, limit = self._limits(codes, slot, settings.below)
            low = (values[codes] < limit) & (middle >= settings.expected)
            for place in np.flatnonzero(low).tolist():
                yield int(codes[place]), values[codes[place]], middle[place], limit[place]

    def _in_a_row(self, found: Iterator[Found], start: int, bucket: Bucket | None, tally: Tally) -> Iterator[Judged]:
        """Those that were so in as many buckets in a row as are wanted, from the first of them on."""
        settings = self.item.baseline
        assert settings is not None
        row: dict[int, tuple[int, int]] = {}
        for code, value, expected, limit in found:
            length, begin = self.row.get(code, (0, start))
            row[code] = length + 1, begin
            if length + 1 >= settings.in_a_row:
                # What came before this bucket is in the alert already when the row is longer.
                since = begin if length + 1 == settings.in_a_row else start
                yield self._judged(code, start, since, (value, expected, limit), bucket, tally)
        self.row = row if settings.in_a_row > 1 else {}

    def _judged(
        self,
        code: int,
        start: int,
        since: int,
        numbers: tuple[float, float, float],
        bucket: Bucket | None,
        tally: Tally,
    ) -> Judged:
        place = int(np.searchsorted(tally.codes, code))
        has = place < len(tally.codes) and tally.codes[place] == code
        name = self.name(code)
        row = bucket.row(place, name) if has and bucket is not None else None
        count = int(tally.counts[place]) if has else 0
        value, expected, limit = map(float, numbers)
        return Judged(name, since, self._end(start), value, expected, limit, count, row)

    def _limits(self, codes: Array, slot: int, limit: Limit) -> tuple[Array, Array]:
        """What is ordinary for each group, and how far it may go."""
        if limit.value is not None:
            fixed = np.full(len(codes), limit.value)
            return fixed, fixed
        return self.past.limits(codes, self.since[codes], slot, limit)

    def _forget(self, before: int) -> None:
        """Groups that had nothing after `before` are unknown again, and the stalest above the bound."""
        gone = {name for name, times in self.parents.items() if times[1] <= before}
        self.parents = {name: times for name, times in self.parents.items() if name not in gone}
        stale = (self.seen > NEVER) & (self.seen <= before)
        alive = np.flatnonzero((self.seen > NEVER) & ~stale)
        if len(alive) > self.max_groups:
            excess = alive[np.argsort(self.seen[alive], kind="stable")][: len(alive) - self.max_groups]
            stale[excess] = True
            self.dropped += len(excess)
        if gone or stale.any():
            self.known += 1
        self.since[stale] = self.seen[stale] = NEVER
        if np.count_nonzero(self.seen > NEVER) * 2 + 1000 < len(self.groups):
            self._compact()

    def _compact(self) -> None:
        """Codes for the groups alone that are known or in an open bucket."""
        keep = self.seen > NEVER
        for bucket in self.open.values():
            keep[bucket.codes()] = True
        new = np.cumsum(keep) - 1
        self.era += 1
        self.named = []
        self.known += 1
        self.groups.keep(np.flatnonzero(keep))
        self.since, self.seen = self.since[keep], self.seen[keep]
        self.past.renumber(keep, new)
        for bucket in self.open.values():
            bucket.renumber(new)
        self.row = {int(new[code]): value for code, value in self.row.items() if keep[code]}


def summary(judged: Judged) -> Summary:
    """What an alert takes from a bucket: its time, the hit that speaks for it, and the three numbers."""
    numbers = {"value": judged.value, "expected": judged.expected, "limit": judged.limit}
    facts = {f"csirt.baseline.{name}": f"{number:.10g}" for name, number in numbers.items()}
    row: dict[str, Any] = judged.row.to_pylist()[0] if judged.row is not None else dict.fromkeys(HITS.names)
    facts |= orjson.loads(row["facts"] or "{}")
    said = row | {"link": row["link"] or None, "facts": orjson.dumps(facts, option=orjson.OPT_SORT_KEYS).decode()}
    event = row["event"] or ""
    events = [event] if judged.row is not None else []
    one, two, three, four, five, six = [(said[name],) for name in SAID]
    return Summary(judged.start, judged.end - 1, judged.count, event, events, (one, two, three, four, five, six))


def _parent(name: str, of: str) -> str:
    """What the group says of its parent."""
    return str(orjson.loads(name).get(of, ""))
