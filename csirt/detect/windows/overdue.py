"""What waits for what must follow it: the state of one `absence`."""

from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.rule import Correlation
from csirt.detect.windows import fold
from csirt.model import calendar, hours
from csirt.model.batch import Array
from csirt.model.hits import none

MOST_KNOWN = 100_000  # groups whose calendar is remembered


class Overdue:
    """Events of the first rule without one of the second yet, at most `most`."""

    def __init__(self, item: Correlation, most: int) -> None:
        self._item = item
        self._most = most
        self.waiting = none()
        self.dropped = 0
        self._hours: dict[str, str] = {}  # by group
        self._dues: Array | None = None  # when each that waits is overdue

    def advance(self, first: pa.Table, second: pa.Table, until: int) -> pa.Table:
        """The events that are overdue at `until`."""
        known = self._known()
        if not first.num_rows and not second.num_rows and (not len(known) or known.min() > until):
            return first
        waiting = pa.concat_tables([self.waiting, first])
        times = np.asarray(waiting.column("time").to_numpy())
        due = np.concatenate([known, self.due(first, np.asarray(first.column("time").to_numpy()))])
        if second.num_rows and waiting.num_rows:
            keys = fold.ranks(pa.concat_arrays([*waiting.column("value").chunks, *second.column("value").chunks]))
            other = np.asarray(second.column("time").to_numpy())
            done = fold.settled(keys[: len(times)], times, keys[len(times) :], other, due)
            waiting, due = waiting.filter(pa.array(~done)), due[~done]
        over = due <= until
        rest, left = waiting.filter(pa.array(~over)), due[~over]
        if rest.num_rows > self._most:
            self.dropped += rest.num_rows - self._most
            rest, left = rest.slice(rest.num_rows - self._most), left[rest.num_rows - self._most :]
        self.waiting, self._dues = rest.combine_chunks(), left
        return waiting.filter(pa.array(over))

    def _known(self) -> Array:
        """When each that waits is overdue; found out again after a restart."""
        if self._dues is None or len(self._dues) != self.waiting.num_rows:
            self._dues = self.due(self.waiting, np.asarray(self.waiting.column("time").to_numpy()))
        return self._dues

    def due(self, hits: pa.Table, times: Array) -> Array:
        """When an event of each of these times and of the group of that hit is overdue; by open hours, a group's
        hits have one calendar."""
        found: Array = times + self._item.timespan
        if self._item.hours is None or not len(times):
            return found
        groups = pc.dictionary_encode(hits.column("group")).combine_chunks()
        names = [self._calendar(group) for group in groups.dictionary.to_pylist()]
        codes = np.asarray(groups.indices.to_numpy())
        for name in dict.fromkeys(names):
            rows = np.flatnonzero(np.array([other == name for other in names])[codes])
            found[rows] = calendar.due(times[rows], self._item.timespan, hours.parse(name), self._item.hours.holidays)
        return found

    def _calendar(self, group: str) -> str:
        """The open hours that a group's hits say, or the rule's own."""
        assert self._item.hours is not None
        if group not in self._hours:
            if len(self._hours) >= MOST_KNOWN:
                self._hours.clear()
            said = orjson.loads(group).get(self._item.hours.field)
            self._hours[group] = said if isinstance(said, str) and _known(said) else self._item.hours.otherwise
        return self._hours[group]

    def next_time(self) -> int | None:
        """When the next event is overdue, or None."""
        if not self.waiting.num_rows:
            return None
        return int(self._known().min())


def _known(name: str) -> bool:
    try:
        hours.parse(name)
    except ValueError:
        return False
    return True
