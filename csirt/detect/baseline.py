"""A `baseline`: a count, sum, number of distinct values or ratio per group and bucket of time, against its own history.

A bucket is judged when it is closed, against the buckets of the history that are alike (`season`), since its group was
first seen; a bucket without events counts as zero there. Judged last, it becomes history itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
import pyarrow as pa

from csirt.detect import buckets
from csirt.detect.alerts import Summary
from csirt.detect.bucket import NOTHING, Bucket, Part, Tally, current, from_ipc, ipc
from csirt.detect.rule import Correlation, Limit
from csirt.model.batch import Array

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


@dataclass(frozen=True, slots=True)
class Record:
    """A closed bucket: the groups (codes, ascending) that had something, and what."""

    start: int
    slot: int
    codes: Array
    values: Array


@dataclass(slots=True)
class Baseline:
    """The state of one baseline.

    `names`, `since` and `seen` per group: its text, the first bucket and the latest one in which it had something.
    `parents`: the same two of what groups belong to. `next`: the bucket that is closed next. `era`: how often the codes
    of groups were given anew. `row`: by code, how many buckets in a row were out of the ordinary, and where they began.
    """

    item: Correlation
    max_groups: int
    names: list[str] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    since: Array = field(default_factory=lambda: np.empty(0, np.int64))
    seen: Array = field(default_factory=lambda: np.empty(0, np.int64))
    parents: dict[str, list[int]] = field(default_factory=dict)
    open: dict[int, Bucket] = field(default_factory=dict)
    history: list[Record] = field(default_factory=list)
    next: int | None = None
    dropped: int = 0
    era: int = 0
    row: dict[int, tuple[int, int]] = field(default_factory=dict)
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
            self.open[start] = self._made()
        return self.open[start]

    def _made(self, parts: Sequence[Part] = ()) -> Bucket:
        assert self.item.baseline is not None
        return Bucket(self.item.baseline.measure, self.item.numeric, parts)

    def _code(self, names: list[str]) -> Array:
        """The codes of groups, new ones added."""
        fresh = [name for name in dict.fromkeys(names) if name not in self.codes]
        for name in fresh:
            self.codes[name] = len(self.names)
            self.names.append(name)
        if fresh:
            unknown = np.full(len(fresh), NEVER)
            self.since, self.seen = np.concatenate([self.since, unknown]), np.concatenate([self.seen, unknown])
        return np.array([self.codes[name] for name in names], np.int64)

    def learning(self) -> int:
        """Groups that are known too short a time to be judged."""
        settings, now = self.item.baseline, self.next
        if settings is None or now is None:
            return 0
        if settings.new:
            return sum(times[0] + settings.history > now for times in self.parents.values())
        return int(((self.since > NEVER) & (self.since + settings.history > now)).sum())

    def next_time(self) -> int | None:
        """When the next bucket is closed."""
        if self.next is None:
            return None
        return self._end(self.next)

    def _end(self, start: int) -> int:
        assert self.item.baseline is not None
        return buckets.end(start, self.item.timespan, self.item.baseline.timezone)

    def close(self, until: int) -> Iterator[Judged]:
        """Judge every bucket that has ended at `until`, in order."""
        while self.next is not None and self._end(self.next) <= until:
            start = self.next
            self.next = self._end(start)
            self.dirty = True
            yield from self._close(start)
            if not self.open and not (self.seen > NEVER).any():
                self.next, self.history, self.parents = None, [], {}

    def _close(self, start: int) -> Iterator[Judged]:
        settings = self.item.baseline
        assert settings is not None
        bucket = self.open.pop(start, None)
        tally = NOTHING if bucket is None else bucket.tally()
        values = np.zeros(len(self.names))
        values[tally.codes] = tally.values
        slot = buckets.slot(start, self.item.timespan, settings.timezone, settings.season)
        while self.history and self.history[0].start < start - settings.keep:
            self.history.pop(0)
        yield from self._in_a_row(self._judge(start, slot, values, tally), start, bucket, tally)
        had = tally.codes
        if settings.new:
            for code in had.tolist():
                self.parents.setdefault(_parent(self.names[code], settings.new), [start, start])[1] = start
        self.since[had] = np.where(self.since[had] == NEVER, start, self.since[had])
        self.seen[had] = start
        if settings.learns:
            self.history.append(Record(start, slot, had, tally.values))
        self._forget(start - settings.keep)

    def _judge(self, start: int, slot: int, values: Array, tally: Tally) -> Iterator[Found]:
        """The groups that are out of their ordinary."""
        settings = self.item.baseline
        assert settings is not None
        enough = tally.codes[tally.bases >= settings.enough]
        if settings.new:
            for code in enough.tolist():
                known = self.parents.get(_parent(self.names[code], settings.new))
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
            middle, limit = self._limits(codes, start, slot, settings.above)
            for place in np.flatnonzero(values[codes] > limit).tolist():
                yield int(codes[place]), values[codes[place]], middle[place], limit[place]
        if settings.below is not None:
            codes = enough if settings.below.value is not None else np.flatnonzero(learned)
            middle, limit = self._limits(codes, start, slot, settings.below)
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
        row = bucket.row(place) if has and bucket is not None else None
        count = int(tally.counts[place]) if has else 0
        value, expected, limit = map(float, numbers)
        return Judged(self.names[code], since, self._end(start), value, expected, limit, count, row)

    def _limits(self, codes: Array, start: int, slot: int, limit: Limit) -> tuple[Array, Array]:
        """The median and the limit of each group, over the buckets that are alike since it was first seen."""
        if limit.value is not None or not len(codes):
            fixed = np.full(len(codes), np.nan if limit.value is None else limit.value)
            return fixed, fixed
        alike = [record for record in self.history if record.slot == slot and record.start < start]
        nothing = np.full(len(codes), np.nan)
        if not alike:
            return nothing, nothing
        past = np.full((len(alike), len(codes)), np.nan)
        since = self.since[codes]
        for row, record in zip(past, alike, strict=True):
            found = np.zeros(len(codes))
            if len(record.codes):
                places = np.minimum(np.searchsorted(record.codes, codes), len(record.codes) - 1)
                found = np.where(record.codes[places] == codes, record.values[places], 0.0)
            row[:] = np.where(record.start >= since, found, np.nan)
        middle = _quantile(past, 0.5)
        if limit.deviations is None:
            return middle, _quantile(past, limit.quantile) * limit.times
        spread = _quantile(np.abs(past - middle), 0.5)
        return middle, (middle + limit.deviations * spread) * limit.times

    def _forget(self, before: int) -> None:
        """Groups that had nothing after `before` are unknown again, and the stalest above the bound."""
        stale = (self.seen > NEVER) & (self.seen <= before)
        alive = np.flatnonzero((self.seen > NEVER) & ~stale)
        if len(alive) > self.max_groups:
            excess = alive[np.argsort(self.seen[alive], kind="stable")][: len(alive) - self.max_groups]
            stale[excess] = True
            self.dropped += len(excess)
        self.since[stale] = self.seen[stale] = NEVER
        if np.count_nonzero(self.seen > NEVER) * 2 + 1000 < len(self.names):
            self._compact()
        self.parents = {name: times for name, times in self.parents.items() if times[1] > before}

    def _compact(self) -> None:
        """Codes for the groups alone that are known or in an open bucket."""
        keep = self.seen > NEVER
        for bucket in self.open.values():
            keep[bucket.codes()] = True
        new = np.cumsum(keep) - 1
        self.era += 1
        self.names = [name for name, kept in zip(self.names, keep.tolist(), strict=True) if kept]
        self.codes = {name: code for code, name in enumerate(self.names)}
        self.since, self.seen = self.since[keep], self.seen[keep]
        self.history = [
            Record(item.start, item.slot, new[item.codes[keep[item.codes]]], item.values[keep[item.codes]])
            for item in self.history
        ]
        for bucket in self.open.values():
            bucket.renumber(new)
        self.row = {int(new[code]): value for code, value in self.row.items() if keep[code]}

    # -- state ----------------------------------------------------------------------------------------------------

    def changes(self) -> dict[str, bytes | None]:
        """What a restart needs, by name, as far as it changed; None for what is gone. The part `""` names all."""
        result: dict[str, bytes | None] = {}
        now: set[str] = set()
        for start, bucket in sorted(self.open.items()):
            for part in bucket.parts:
                for name, table in zip(_names(start, part.number), (part.rows, part.pairs), strict=True):
                    now.add(name)
                    if name not in self.written:
                        result[name] = ipc(table)
        for record in self.history:
            name = f"past:{self.era}:{record.start}"
            now.add(name)
            if name not in self.written:
                table = pa.table({"code": pa.array(record.codes), "value": pa.array(record.values)})
                result[name] = ipc(table)
        result |= dict.fromkeys(sorted(self.written - now))
        self.written = now
        if not self.dirty:
            return result
        self.dirty = False
        result[""] = orjson.dumps(
            {
                "names": self.names,
                "since": self.since.tolist(),
                "seen": self.seen.tolist(),
                "parents": sorted(self.parents.items()),
                "next": self.next,
                "era": self.era,
                "row": sorted([code, *value] for code, value in self.row.items()),
                "open": [
                    [start, [part.number for part in bucket.parts]] for start, bucket in sorted(self.open.items())
                ],
                "past": [[record.start, record.slot] for record in self.history],
            }
        )
        return result

    def restore(self, read: Callable[[str], bytes]) -> None:
        """The state back from what was written."""
        known = orjson.loads(read(""))
        self.dirty = False
        self.names, self.next, self.era = known["names"], known["next"], known["era"]
        self.codes = {name: code for code, name in enumerate(self.names)}
        self.since, self.seen = np.array(known["since"], np.int64), np.array(known["seen"], np.int64)
        self.parents = dict(known["parents"])
        self.row = {code: (length, begin) for code, length, begin in known.get("row", [])}
        for item in known["open"]:
            # An older program wrote one part of each bucket, without a number.
            start, numbers = item if isinstance(item, list) else (item, [None])
            parts = []
            for number in numbers:
                names = _names(start, number)
                rows, pairs = (from_ipc(read(name)) for name in names)
                parts.append(Part(number or 0, current(rows), pairs))
                self.written.update(names)
            self.open[start] = self._made(parts)
        for start, slot in known["past"]:
            name = f"past:{self.era}:{start}"
            table = from_ipc(read(name))
            codes, values = (np.asarray(table.column(column).to_numpy()) for column in ("code", "value"))
            self.history.append(Record(start, slot, codes, values))
            self.written.add(name)


def _names(start: int, number: int | None) -> tuple[str, str]:
    """Under which the rows and the pairs of a part are written."""
    after = "" if number is None else f":{number}"
    return f"open:{start}{after}", f"pairs:{start}{after}"


def summary(judged: Judged) -> Summary:
    """What an alert takes from a bucket: its time, the hit that speaks for it, and the three numbers."""
    numbers = {"value": judged.value, "expected": judged.expected, "limit": judged.limit}
    facts = {f"csirt.baseline.{name}": f"{number:.10g}" for name, number in numbers.items()}
    part = Summary(judged.start, judged.end - 1, judged.count, "", [])
    if judged.row is not None:
        row = judged.row.to_pylist()[0]
        facts |= orjson.loads(row["facts"])
        part.events, part.last_event = [row["event"]], row["event"]
        part.sources, part.targets = [(row["source"], row["source_member"])], [(row["target"], row["target_member"])]
        part.links = [row["link"]] if row["link"] else []
    part.facts = [orjson.dumps(facts, option=orjson.OPT_SORT_KEYS).decode()]
    return part


def _quantile(past: Array, share: float) -> Array:
    """A quantile of each column, interpolated, the missing left out; NaN where all are."""
    ordered = np.sort(past, axis=0)
    counts = np.count_nonzero(~np.isnan(past), axis=0)
    place = share * np.maximum(counts - 1, 0)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(counts - 1, 0))
    columns = np.arange(past.shape[1])
    found: Array = ordered[low, columns] + (ordered[high, columns] - ordered[low, columns]) * (place - low)
    return found


def _parent(name: str, of: str) -> str:
    """What the group says of its parent."""
    return str(orjson.loads(name).get(of, ""))
