"""Hits to alerts over event time: exact, independent of how the time axis was cut, with bounded state.

Semantics, all in (time, event id) order per group:
- A rule alone: its first hit opens an alert; every hit within the rule's `timespan` of the alert's last hit extends
  it; the first one after a longer pause opens the next alert.
- `event_count`, `value_count`: after each event the window [time - timespan, time] is counted. Where the condition
  holds it *fires*. Fires that follow each other within the timespan are one alert; it holds every event from the
  first fire's window to the last fire. The condition is looked at when an event comes: `lt` sees no empty window.
- `absence`: an event of the first rule without one of the second rule, same key, in [time, time + timespan] is overdue
  at time + timespan. Overdue events of a group within the rule's own `timespan` of each other are one alert.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect import fold
from csirt.detect.alerts import Growing, Summary
from csirt.detect.load import Ruleset
from csirt.detect.rule import Correlation, Meta, stream
from csirt.errors import CsirtError
from csirt.model.batch import Array
from csirt.model.hits import HITS, AlertChange, none
from csirt.model.records import SAMPLE_EVENTS

VERSION = 2
MAX_GROUPS = 100_000
MAX_HELD = 2_000_000
MAX_CHUNKS = 64  # pieces a table of held hits may lie in

_OPERATORS: dict[str, Callable[[Array, float], Array]] = {
    "lt": np.less,
    "lte": np.less_equal,
    "gt": np.greater,
    "gte": np.greater_equal,
    "eq": np.equal,
    "neq": np.not_equal,
}


class Windows:
    """The open alerts and the hits that windows still need. `samples`: event ids an alert keeps. `dropped` counts what
    the bounds cost: `groups` and `hits` that left too early, `late` hits that came after their time was closed (they
    count where they still can)."""

    def __init__(
        self,
        ruleset: Ruleset,
        state: bytes | None = None,
        *,
        samples: int = SAMPLE_EVENTS,
        max_groups: int = MAX_GROUPS,
        max_held: int = MAX_HELD,
    ) -> None:
        self._rules = {rule.id: rule for rule in ruleset.rules}
        self._correlations = {item.id: item for item in ruleset.correlations}
        self._samples, self._max_groups, self._max_held = samples, max_groups, max_held
        self._open: dict[tuple[str, str], Growing] = {}
        self._held: dict[str, pa.Table] = {}
        self._until: int | None = None
        self.dropped: dict[str, int] = {"groups": 0, "hits": 0, "late": 0, "gone": 0}
        if state is not None:
            self._restore(state)

    def advance(self, hits: pa.Table, until: int) -> list[AlertChange]:
        """Fold in the hits, all at or before `until`, which is then closed; the alerts that opened or were extended,
        one change per alert, ordered by (at, alert id). Raises ValueError for a hit after `until`."""
        if hits.num_rows and pc.max(hits.column("time")).as_py() > until:
            raise ValueError("a hit after the time that is to be closed")
        if self._until is not None and hits.num_rows:
            late = pc.less_equal(hits.column("time"), self._until)
            self.dropped["late"] += int(pc.sum(late).as_py() or 0)
        changes: dict[str, AlertChange] = {}
        by_stream = _split(hits)
        for name in sorted(by_stream):
            rule = self._rules.get(name)
            if rule is not None:
                self._chain(rule.meta, rule.meta.custom.timespan, by_stream.pop(name), 0, changes)
        for item in self._correlations.values():
            inputs = [by_stream.pop(stream(item.id, rule), none()) for rule in item.rules]
            if item.type == "absence":
                self._absence(item, inputs, until, changes)
            else:
                self._count(item, pa.concat_tables(inputs), until, changes)
        self.dropped["gone"] += sum(table.num_rows for table in by_stream.values())
        self._until = until if self._until is None else max(until, self._until)
        self._close(self._until)
        return sorted(changes.values(), key=lambda change: (change.at, change.alert.id))

    def next_time(self) -> int | None:
        """The earliest time at which an advance without new hits would find something (an overdue event), or None."""
        waiting = [
            pc.min(table.column("time")).as_py() + self._correlations[name].timespan
            for name, table in self._held.items()
            if self._correlations[name].type == "absence" and table.num_rows
        ]
        return min(waiting, default=None)

    # -- a rule alone, and what is overdue ------------------------------------------------------------------------

    def _chain(self, meta: Meta, span: int, hits: pa.Table, delay: int, changes: dict[str, AlertChange]) -> None:
        """Hits to alerts by pauses longer than `span`; `at` is `delay` after the hit."""
        if not hits.num_rows:
            return
        table, groups, times, events = fold.ordered(hits, "group")
        breaks = np.ones(len(groups), bool)
        breaks[1:] = (groups[1:] != groups[:-1]) | (np.diff(times) > span)
        runs = np.cumsum(breaks) - 1
        fresh = fold.fresh_events(runs, events)
        names = table.column("group").take(pa.array(np.flatnonzero(breaks))).to_pylist()
        for name, part in zip(names, fold.summaries(table, runs, fresh, self._samples), strict=True):
            growing = self._open.get((meta.id, name))
            opened = growing is None or part.first - growing.last > span
            grown = self._grow(meta, name, part, growing if not opened else None)
            _change(changes, grown, meta, opened, (part.first if opened else part.last) + delay)

    def _grow(self, meta: Meta, group: str, part: Summary, growing: Growing | None) -> Growing:
        if growing is None:
            growing = Growing(meta.id, group, self._dataset(meta.id))
            self._open[meta.id, group] = growing
        growing.add(part, self._samples)
        return growing

    def _dataset(self, rule_id: str) -> str:
        if rule_id in self._correlations:
            return self._correlations[rule_id].dataset
        return min(self._rules[rule_id].datasets, default="")

    # -- event_count, value_count ---------------------------------------------------------------------------------

    def _count(self, item: Correlation, new: pa.Table, until: int, changes: dict[str, AlertChange]) -> None:
        held = self._held.get(item.id, none())
        self._hold(item, pa.concat_tables([held, new]), until)
        if not new.num_rows:
            return
        # Groups without a new hit have nothing to say; their hits only grow older.
        touched = pc.is_in(held.column("group"), value_set=new.column("group").unique())
        if self._until is not None:
            touched = pc.and_(touched, pc.greater(held.column("time"), self._until - item.timespan))
        both = pa.concat_tables([held.filter(touched), new])
        is_new = pa.array(np.arange(both.num_rows) >= both.num_rows - new.num_rows)
        table, groups, times, events = fold.ordered(both.append_column("new", is_new), "group")
        fresh = fold.fresh_events(groups, events)
        starts = fold.window_starts(groups, times, item.timespan)
        if item.type == "event_count":
            numbers = fold.event_counts(starts, fresh)
        else:
            numbers = fold.distinct_counts(starts, fold.ranks(table.column("value")))
        fires = np.asarray(table.column("new").to_numpy()) & np.append(fresh[1:], True)
        for operator, bound in item.bounds:
            fires &= _OPERATORS[operator](numbers, bound)
        self._fire(item, table.drop_columns(["new"]), groups, times, starts, fresh, np.flatnonzero(fires), changes)

    def _fire(
        self,
        item: Correlation,
        table: pa.Table,
        groups: Array,
        times: Array,
        starts: Array,
        fresh: Array,
        fires: Array,
        changes: dict[str, AlertChange],
    ) -> None:
        """Fires to alerts: those within the timespan of the fire before them extend its alert."""
        if not len(fires):
            return
        breaks = np.ones(len(fires), bool)
        breaks[1:] = (groups[fires[1:]] != groups[fires[:-1]]) | (np.diff(times[fires]) > item.timespan)
        firsts = fires[breaks]
        lasts = fires[np.append(np.flatnonzero(breaks)[1:], len(fires)) - 1]
        names = table.column("group").take(pa.array(firsts)).to_pylist()
        begins = starts[firsts]
        previous: list[Growing | None] = []
        for index, (name, row) in enumerate(zip(names, firsts.tolist(), strict=True)):
            growing = self._open.get((item.id, name))
            if index and names[index - 1] == name:
                growing = None  # a second alert of the group in this step
            if growing is not None and times[row] - growing.fired > item.timespan:
                growing = None
            if growing is not None:
                begins[index] = _after(table, times, int(begins[index]), int(lasts[index]), growing)
            previous.append(growing)
        lengths = lasts - begins + 1
        runs = np.repeat(np.arange(len(lengths)), lengths)
        rows = np.arange(len(runs)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(begins, lengths)
        first_of_run = np.diff(runs, prepend=-1) > 0
        parts = fold.summaries(table.take(pa.array(rows)), runs, fresh[rows] | first_of_run, self._samples)
        for index, part in enumerate(parts):
            opened = previous[index] is None
            grown = self._grow(item.meta, names[index], part, previous[index])
            grown.fired = max(grown.fired, int(times[lasts[index]]))
            _change(changes, grown, item.meta, opened, int(times[firsts[index] if opened else lasts[index]]))

    def _hold(self, item: Correlation, table: pa.Table, until: int) -> None:
        """Keep the hits a later window can still reach, within bounds. Others leave when they are many: copying what
        stays for every step would cost more than all the rest."""
        open_ = pc.greater(table.column("time"), until - item.timespan)
        reached = int(pc.sum(open_).as_py() or 0)
        kept = table
        if (
            reached * 2 < table.num_rows
            or table.num_rows > self._max_held
            or len(kept.column("time").chunks) > MAX_CHUNKS
        ):
            kept = table.filter(open_).combine_chunks()
        if kept.num_rows > self._max_held:
            newest = np.sort(np.argsort(np.asarray(kept.column("time").to_numpy()), kind="stable")[-self._max_held :])
            self.dropped["hits"] += kept.num_rows - self._max_held
            kept = kept.take(pa.array(newest))
        if kept.num_rows > self._max_groups and pc.count_distinct(kept.column("group")).as_py() > self._max_groups:
            kept = kept.filter(pc.greater(kept.column("time"), until - item.timespan)).combine_chunks()
            codes, times = fold.ranks(kept.column("group")), np.asarray(kept.column("time").to_numpy())
            count = int(codes.max()) + 1
            if count > self._max_groups:
                latest = np.full(count, np.iinfo(np.int64).min)
                np.maximum.at(latest, codes, times)
                stale = np.argsort(latest, kind="stable")[: count - self._max_groups]
                self.dropped["groups"] += len(stale)
                kept = kept.filter(pa.array(~np.isin(codes, stale)))
        if reached:
            self._held[item.id] = kept
        else:
            self._held.pop(item.id, None)

    def _reached(self, name: str) -> pa.Table:
        """The held hits of a correlation that a later window can still reach."""
        table, item = self._held[name], self._correlations[name]
        if item.type == "absence" or self._until is None:
            return table
        return table.filter(pc.greater(table.column("time"), self._until - item.timespan))

    # -- absence --------------------------------------------------------------------------------------------------

    def _absence(self, item: Correlation, inputs: list[pa.Table], until: int, changes: dict[str, AlertChange]) -> None:
        first, second = inputs
        waiting = pa.concat_tables([self._held.pop(item.id, none()), first])
        if not waiting.num_rows:
            return
        times = np.asarray(waiting.column("time").to_numpy())
        if second.num_rows:
            keys = fold.ranks(pa.concat_arrays([*waiting.column("value").chunks, *second.column("value").chunks]))
            other = np.asarray(second.column("time").to_numpy())
            done = fold.settled(keys[: len(times)], times, keys[len(times) :], other, item.timespan)
            waiting, times = waiting.filter(pa.array(~done)), times[~done]
        overdue = pa.array(times + item.timespan <= until)
        self._chain(item.meta, item.meta.custom.timespan, waiting.filter(overdue), item.timespan, changes)
        rest = waiting.filter(pc.invert(overdue))
        if rest.num_rows > self._max_held:
            self.dropped["hits"] += rest.num_rows - self._max_held
            rest = rest.slice(rest.num_rows - self._max_held)
        if rest.num_rows:
            self._held[item.id] = rest.combine_chunks()

    # -- state ----------------------------------------------------------------------------------------------------

    def _close(self, until: int) -> None:
        """Forget alerts that nothing after `until` can extend, and the stalest above the bound."""
        for key, growing in list(self._open.items()):
            item = self._correlations.get(key[0])
            if item is None:
                reach = growing.last + self._rules[key[0]].meta.custom.timespan
            elif item.type == "absence":
                reach = growing.last + item.timespan + item.meta.custom.timespan
            else:
                reach = growing.fired + item.timespan
            if reach <= until:
                del self._open[key]
        if len(self._open) > self._max_groups:
            stale = sorted(self._open, key=lambda key: (self._open[key].last, key))
            for key in stale[: len(self._open) - self._max_groups]:
                del self._open[key]
                self.dropped["groups"] += 1

    def state(self) -> bytes:
        """Everything a restart needs; the same steps always give the same bytes."""
        held = {name: self._reached(name) for name in sorted(self._held)}
        header = {
            "version": VERSION,
            # Without anything open, when the last step was says nothing: an idle daemon's state does not change.
            "until": self._until if self._open or self._held else None,
            "dropped": dict(sorted(self.dropped.items())),
            "open": [self._open[key].as_dict() for key in sorted(self._open)],
            "held": [[name, table.num_rows] for name, table in held.items()],
        }
        head = orjson.dumps(header)  # keys as they are: an alert's entities are in order of appearance
        sink = pa.BufferOutputStream()
        # Hits of some minutes, written at every step: mostly repeated text, so a tenth of it is left.
        with pa.ipc.new_stream(sink, HITS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            if held:
                writer.write_table(pa.concat_tables(list(held.values())).combine_chunks())
        return len(head).to_bytes(8, "big") + head + bytes(sink.getvalue())

    def _restore(self, state: bytes) -> None:
        try:
            size = int.from_bytes(state[:8], "big")
            header: dict[str, Any] = orjson.loads(state[8 : 8 + size])
            table = pa.ipc.open_stream(state[8 + size :]).read_all()
        except (orjson.JSONDecodeError, pa.ArrowException, OSError) as error:
            raise CsirtError(f"the state of the windows cannot be read ({error}); restore the store") from error
        if header["version"] != VERSION:
            raise CsirtError(f"the state of the windows is of version {header['version']}, this program's is {VERSION}")
        self._until = header["until"]
        self.dropped.update(header["dropped"])
        for raw in header["open"]:
            growing = Growing.from_dict(raw)
            if growing.rule in self._rules or growing.rule in self._correlations:
                self._open[growing.rule, growing.group] = growing
        start = 0
        for name, rows in header["held"]:
            if name in self._correlations:
                self._held[name] = table.slice(start, rows)
            else:
                self.dropped["gone"] += rows
            start += rows


def _split(hits: pa.Table) -> dict[str, pa.Table]:
    """The hits of each stream."""
    if not hits.num_rows:
        return {}
    encoded = hits.column("stream").combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = np.asarray(encoded.indices.to_numpy())
    order = np.argsort(codes, kind="stable")
    cuts = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1)).tolist()
    table = hits.combine_chunks().take(pa.array(order))
    return {
        name: table.slice(left, right - left)
        for name, left, right in zip(encoded.dictionary.to_pylist(), cuts, cuts[1:], strict=False)
    }


def _after(table: pa.Table, times: Array, begin: int, last: int, growing: Growing) -> int:
    """The first row from `begin` on that comes after what the alert has counted."""
    row = begin + int(np.searchsorted(times[begin : last + 1], growing.last))
    events = table.column("event")
    while row < last and times[row] == growing.last and events[row].as_py() <= growing.last_event:
        row += 1
    return row


def _change(changes: dict[str, AlertChange], growing: Growing, meta: Meta, opened: bool, at: int) -> None:
    changes[growing.id] = AlertChange(at, opened, growing.alert(meta))
