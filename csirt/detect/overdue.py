"""What waits for what must follow it: the state of one `absence`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect import fold
from csirt.detect.rule import Correlation
from csirt.model.batch import Array
from csirt.model.hits import none


class Overdue:
    """Events of the first rule without one of the second yet, at most `most`."""

    def __init__(self, item: Correlation, most: int) -> None:
        self._item = item
        self._most = most
        self.waiting = none()
        self.dropped = 0

    def advance(self, first: pa.Table, second: pa.Table, until: int) -> pa.Table:
        """The events that are overdue at `until`."""
        waiting = pa.concat_tables([self.waiting, first])
        times = np.asarray(waiting.column("time").to_numpy())
        due = self.due(times)
        if second.num_rows and waiting.num_rows:
            keys = fold.ranks(pa.concat_arrays([*waiting.column("value").chunks, *second.column("value").chunks]))
            other = np.asarray(second.column("time").to_numpy())
            done = fold.settled(keys[: len(times)], times, keys[len(times) :], other, due)
            waiting, due = waiting.filter(pa.array(~done)), due[~done]
        over = due <= until
        rest = waiting.filter(pa.array(~over))
        if rest.num_rows > self._most:
            self.dropped += rest.num_rows - self._most
            rest = rest.slice(rest.num_rows - self._most)
        self.waiting = rest.combine_chunks()
        return waiting.filter(pa.array(over))

    def due(self, times: Array) -> Array:
        """When the event of each of these times is overdue."""
        found: Array = times + self._item.timespan
        return found

    def next_time(self) -> int | None:
        """When the next event is overdue, or None."""
        if not self.waiting.num_rows:
            return None
        return int(self.due(np.array([pc.min(self.waiting.column("time")).as_py()]))[0])
