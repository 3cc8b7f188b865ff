"""What a step makes of its hits, fires and judgements: alerts that open or grow, each changed once."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from operator import attrgetter

import numpy as np
import pyarrow as pa

from csirt.detect.rule import Correlation, Meta, Rule
from csirt.detect.windows import baseline, fold
from csirt.detect.windows.alerts import Growing, Summary
from csirt.detect.windows.baseline import Judged
from csirt.detect.windows.counting import Counting, Fires
from csirt.detect.windows.opened import Opened
from csirt.detect.windows.owed import Owed
from csirt.model.batch import Array
from csirt.model.hits import AlertChange

Opening = tuple[pa.Table | pa.RecordBatch, Array]
"""The hits that opened alerts, and when each opened."""


class Changes:
    """The changes of one step, over the alerts that are open. Each way hits become alerts says which ones opened, of
    rules and correlations that others are built on (`outer`)."""

    def __init__(
        self,
        opened: Opened,
        rules: Mapping[str, Rule],
        correlations: Mapping[str, Correlation],
        outer: Container[str],
        samples: int,
    ) -> None:
        self._open = opened
        self._rules, self._correlations, self._outer = rules, correlations, outer
        self._samples = samples
        self._found: dict[str, AlertChange] = {}

    def found(self) -> list[AlertChange]:
        """The changes in order; the next step begins."""
        found, self._found = self._found, {}
        return sorted(found.values(), key=attrgetter("at", "id"))

    def pauses(
        self, meta: Meta, span: int, hits: pa.Table, due: Callable[[pa.Table, Array], Array] | None = None
    ) -> Opening | None:
        """Hits to alerts by pauses longer than `span`; a hit of some group and time is known when it is `due`, else at
        once."""
        if not hits.num_rows:
            return None
        batch, groups, times, events = fold.ordered(hits, "group")
        known = times if due is None else due(pa.Table.from_batches([batch]), times)
        breaks = np.ones(len(groups), bool)
        breaks[1:] = (groups[1:] != groups[:-1]) | (np.diff(times) > span)
        runs = np.cumsum(breaks) - 1
        firsts = np.flatnonzero(breaks)
        lasts = np.append(firsts[1:], len(runs)) - 1
        names = batch.column("group").take(pa.array(firsts)).to_pylist()
        parts = fold.summaries(batch, times, runs, fold.fresh_events(runs, events), self._samples)
        ends = times[lasts] + span
        reach = ends if due is None else due(pa.Table.from_batches([batch.take(pa.array(lasts))]), ends)
        opened: list[int] = []
        shown, dataset = self._shown(meta), self._dataset(meta.id)
        starts, lates = known[firsts].tolist(), known[lasts].tolist()
        for index, (name, part, end) in enumerate(zip(names, parts, reach.tolist(), strict=True)):
            growing = self._open.get((meta.id, name))
            is_new = growing is None or part.first - growing.last > span
            if growing is None or is_new:
                growing = Growing(meta.id, name, dataset)
                opened.append(index)
            self._grow(growing, part, end)
            if shown:
                self._change(growing, meta, is_new, starts[index] if is_new else lates[index])
        if not opened or meta.id not in self._outer:
            return None
        places = firsts[opened]
        return batch.take(pa.array(places)), known[places]

    def fires(self, item: Correlation, counting: Counting, fires: Fires) -> Opening | None:
        """Fires to alerts: those within the timespan of the fire before them extend its alert."""
        before = list(self._before(item, fires))
        added = counting.growths(fires, before)
        opened = [index for index, growing in enumerate(before) if growing is None]
        events = iter(counting.held.events(fires.begins[opened]))
        shown, span = item.alerts, item.timespan
        growths: list[tuple[Growing, Meta, AlertChange | None]] = []
        columns = (fires.first_times, fires.last_times, added.firsts, added.counts)
        numbers = zip(*(column.tolist() for column in columns), added.keys.tolist(), strict=True)
        groups = zip(fires.names, before, fires.facts or [""] * len(before), numbers, strict=True)
        for name, growing, facts, (start, end, first, count, (high, low)) in groups:
            grown = growing
            if grown is None:
                grown = Growing(item.id, name, item.dataset)
                grown.begin(next(events), first)
                if facts:
                    grown.hear((), ((), (), (), (), (), (facts,)), self._samples)
            grown.fired = max(end, grown.fired)
            grown.count_in(first, end, count)
            grown.key = high, low
            self._open.put(grown, max(grown.fired + span, grown.last))
            change = None
            if shown:
                change = self._later(grown, growing is None, start if growing is None else end, counting.owed)
            growths.append((grown, item.meta, change))
        counting.owed.add(growths, added.rows, added.fresh, added.sizes, self._samples)
        if not opened or item.id not in self._outer:
            return None
        return counting.rows(fires.firsts[opened]), fires.first_times[opened]

    def _later(self, growing: Growing, opened: bool, at: int, owed: Owed) -> AlertChange:
        """A change of an alert that is made when it is wanted."""
        numbers = growing.first, growing.last, growing.count
        change = self._found[growing.id] = AlertChange.later(at, opened, growing.id, numbers, owed.settle)
        return change

    def _before(self, item: Correlation, fires: Fires) -> Iterable[Growing | None]:
        """The alert that each run of fires extends, or None."""
        last = None
        for name, time in zip(fires.names, fires.first_times.tolist(), strict=True):
            growing = self._open.get((item.id, name))
            # A second alert of the group in this step is after a pause of its own.
            yield None if name == last or growing is None or time - growing.fired > item.timespan else growing
            last = name

    def judged(self, item: Correlation, judged: Judged) -> Opening | None:
        """A bucket of a baseline: those of a group that follow each other within the rule's own timespan are one
        alert."""
        span = item.meta.custom.timespan
        part = baseline.summary(judged)
        growing = self._open.get((item.id, judged.group))
        is_new = growing is None or part.first - growing.last > span
        if growing is None or is_new:
            growing = Growing(item.id, judged.group, item.dataset)
        # The next bucket is judged at its end, at most an hour longer than this one.
        self._grow(growing, part, part.last + span + 2 * (judged.end - judged.start))
        if item.alerts:
            self._change(growing, item.meta, is_new, judged.end)
        if not is_new or judged.row is None or item.id not in self._outer:
            return None
        return judged.row, np.array([judged.end])

    def _grow(self, growing: Growing, part: Summary, reach: int) -> None:
        growing.add(part, self._samples)
        self._open.put(growing, max(reach, growing.last))

    def _change(self, growing: Growing, meta: Meta, opened: bool, at: int) -> None:
        fresh = growing.taken()
        before = self._found.get(growing.id)  # of this step
        if before is not None and before.fresh:
            fresh = [*before.fresh, *fresh]
        self._found[growing.id] = AlertChange(at, opened, growing.alert(meta), fresh)

    def _shown(self, meta: Meta) -> bool:
        item = self._correlations.get(meta.id)
        return item is None or item.alerts

    def _dataset(self, name: str) -> str:
        if name in self._correlations:
            return self._correlations[name].dataset
        return min(self._rules[name].datasets, default="")
