"""What alerts have grown by and not yet heard of: rows by number, made texts when somebody wants one of the alerts.

An alert that grows in many steps is known by its numbers at once. The texts of all of them are read together, which
costs a tenth of reading them step by step, and those of a change that nobody holds any more go with the next one's.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np

from csirt.detect.rule import Meta
from csirt.detect.windows import fold
from csirt.detect.windows.alerts import Growing
from csirt.detect.windows.codes import stretches
from csirt.detect.windows.payload import Payload
from csirt.model.batch import Array
from csirt.model.hits import AlertChange

MOST = 200_000  # rows: more are not left for later


class Owed:
    """Rows of a payload in the order in which they came, each run of them one growth of an alert."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._growths: list[tuple[Growing, Meta, weakref.ref[AlertChange] | None]] = []
        self._rows: list[Array] = []
        self._fresh: list[Array] = []
        self._sizes: list[Array] = []
        self._count = 0
        self._samples = 0

    def add(
        self,
        growths: Sequence[tuple[Growing, Meta, AlertChange | None]],
        rows: Array,
        fresh: Array,
        sizes: Array,
        samples: int,
    ) -> None:
        """Runs of rows, so many each, that alerts grew by, and the changes that say so. `fresh`: rows of another event
        than the one before. `samples`: event ids an alert keeps."""
        self._growths += [(item, meta, None if one is None else weakref.ref(one)) for item, meta, one in growths]
        self._rows.append(rows)
        self._fresh.append(fresh)
        self._sizes.append(sizes)
        self._count += len(rows)
        self._samples = samples
        self._payload.leaving = self.settle
        if self._count > MOST:
            self.settle()

    def settle(self) -> None:
        """Tell the alerts everything, and make those of the changes that somebody holds."""
        growths, self._growths = self._growths, []
        if not growths:
            return
        rows, fresh, sizes = (np.concatenate(parts) for parts in (self._rows, self._fresh, self._sizes))
        self._rows, self._fresh, self._sizes, self._count = [], [], [], 0
        held = [None if one is None else one() for _, _, one in growths]
        numbers: dict[int, int] = {}
        alerts = np.array([numbers.setdefault(id(item), len(numbers)) for item, _, _ in growths], np.int64)
        order = np.argsort(alerts, kind="stable")
        # A growth that nobody asks for is told with the one after it.
        ends = np.array([one is not None for one in held], bool)[order]
        ends[np.flatnonzero(np.diff(alerts[order], append=-1))] = True
        runs = np.cumsum(ends) - ends
        places = stretches((np.cumsum(sizes) - sizes)[order], sizes[order])
        of_rows = np.repeat(runs, sizes[order])
        parts = fold.told(self._payload.take(rows[places], fold.WANTED), of_rows, fresh[places], self._samples)
        for number, (events, said) in zip(order[ends].tolist(), parts, strict=True):
            growing, meta, _ = growths[number]
            growing.hear(events, said, self._samples)
            change = held[number]
            if change is not None:
                change.give(growing.alert(meta, change.numbers), growing.taken())
        self._payload.taken()
