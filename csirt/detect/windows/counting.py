"""One correlation over windows: its held hits, what each type counts in them, and where its condition holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from csirt import ids
from csirt.clock import SECOND
from csirt.detect.rule import Beacon, Correlation, Expression
from csirt.detect.windows import sliding
from csirt.detect.windows.alerts import Growing
from csirt.detect.windows.divided import Divisor
from csirt.detect.windows.held import Found, Held
from csirt.detect.windows.keys import event_key
from csirt.detect.windows.owed import Owed
from csirt.detect.windows.rare import Rare
from csirt.detect.windows.sliding import HIGH, KERNELS, LOW, ROW, TIME
from csirt.model.batch import Array

_OPERATORS: dict[str, Callable[[Array, float], Array]] = {
    "lt": np.less,
    "lte": np.less_equal,
    "gt": np.greater,
    "gte": np.greater_equal,
    "eq": np.equal,
    "neq": np.not_equal,
}
_ENOUGH = frozenset({("gte", 1.0), ("gt", 0.0)})  # bounds that a single event is within, as are all that follow
_KINDS = {
    "event_count": "events",
    "value_count": "values",
    "ratio": "values",
    "beacon": "contacts",
    "temporal": "rules",
    "temporal_ordered": "rules",
    "value_sum": "sums",
    "value_avg": "sums",
    "value_percentile": "ranks",
    "value_median": "ranks",
}


@dataclass(slots=True)
class Fires:
    """Runs of fires that belong to one alert each, by group, then time: the group, the places of the first and the last
    fire, and the place where the first one's window begins. `facts`: what the first one found, for people, as a
    canonical JSON object; or nothing of any."""

    names: list[str]
    firsts: Array
    lasts: Array
    begins: Array
    first_times: Array
    last_times: Array
    facts: Sequence[str] = ()


@dataclass(slots=True)
class Growths:
    """What runs of fires add to their alerts: the numbers of the rows, run by run, and which of them are of another
    event than the row before; per run how many rows and events, the first one's time, and the last event's key."""

    rows: Array
    fresh: Array
    sizes: Array
    counts: Array
    firsts: Array
    keys: Array


class Counting:
    """The state of one correlation. `dropped`: what the bounds cost in the last step; `owed`: what its alerts have yet
    to hear. `divisor`: what a ratio divides by, which is fed by whoever made it. `rare`: who speaks with the targets of
    a beacon, where only what few speak with counts."""

    def __init__(
        self,
        item: Correlation,
        correlations: Mapping[str, Correlation],
        *,
        max_groups: int,
        max_rows: int,
        divisor: Divisor | None = None,
        rare: Rare | None = None,
    ) -> None:
        self._item = item
        # How many contacts of a group windows look at, the last ones; 0: at all of them. Where one event is enough no
        # window needs what came before the last: a worm is such events for days on end.
        alone = item.type == "event_count" and bool(item.bounds) and _ENOUGH.issuperset(item.bounds)
        self._most = item.beacon.contacts if item.beacon is not None else int(alone)
        salts = [int(ids.digest("chained", rule, size=7), 16) if rule in correlations else 0 for rule in item.rules]
        self.held = Held(_KINDS[item.type], salts, max_groups=max_groups, max_rows=max_rows)
        self._divisor, self._rare = divisor, rare
        self.dropped: dict[str, int] = {}
        self.owed = Owed(self.held.payload)

    def copy(self) -> Counting:
        """Another one in the same state, which owes nothing."""
        made = copy(self)
        made.held, made.dropped = self.held.copy(), dict(self.dropped)
        made.owed = Owed(made.held.payload)
        return made

    def _cut(self, until: int | None) -> int:
        """Rows at or before this time are in no later window."""
        return sliding.NEVER if until is None else until - self._item.timespan

    def advance(self, inputs: Sequence[pa.Table], until: int | None) -> Fires | None:
        """Take in the hits of each rule; where the condition held. `until`: what was closed before."""
        if self._rare is not None:
            inputs = [self._rare.add(part) for part in inputs]
            if not any(part.num_rows for part in inputs):
                self.dropped = {}
                return None
        self.dropped = self.held.add(inputs, self._cut(until))
        found = self._found()
        fires = np.flatnonzero(self._holds(found))
        if not len(fires):
            return None
        groups, places, begins = found.groups[fires], found.places[fires], found.begins[fires]
        times = self.held.pool[places, TIME]
        breaks = np.ones(len(fires), bool)
        breaks[1:] = (groups[1:] != groups[:-1]) | (np.diff(times) > self._item.timespan)
        firsts = np.flatnonzero(breaks)
        lasts = np.append(firsts[1:], len(fires)) - 1
        names = self.held.groups.names(groups[firsts])
        facts = self._facts(found.numbers[:, fires[firsts]])
        return Fires(names, places[firsts], places[lasts], begins[firsts], times[firsts], times[lasts], facts)

    def _found(self) -> Found:
        item, span = self._item, self._item.timespan
        if item.type in ("value_count", "ratio"):
            return self.held.distinct(span)
        if item.type == "temporal":
            return self.held.number(span, sliding.presence, 1, np.zeros(len(item.rules), np.int64))
        if item.type == "temporal_ordered":
            return self.held.number(span, sliding.sequence, 1, np.zeros(2 * len(item.rules), np.int64))
        if item.type in ("value_percentile", "value_median"):
            return self.held.ranked(span, item.share)
        if item.beacon is not None:
            return self.held.regular(span, item.beacon.contacts, sessions=bool(item.beacon.session))
        return self.held.number(span, sliding.totals, 3)

    def _holds(self, found: Found) -> Array:
        """Where the condition holds."""
        item, numbers = self._item, found.numbers
        if item.beacon is not None:
            return self._even(item.beacon, found)
        holds = np.ones(numbers.shape[1], bool)
        counted = numbers[0]
        if item.type == "temporal_ordered":
            holds &= numbers[0] > 0
            return holds
        if item.type == "temporal":
            masks = numbers[0].astype(np.int64)
            present = [(masks >> bit) & 1 for bit in range(len(item.rules))]
            if item.expression is not None:
                return _evaluate(item.expression, [bits > 0 for bits in present])
            counted = sum(present, np.zeros(len(masks), np.int64))
        elif item.type == "value_sum":
            counted = numbers[2]
        elif item.type == "value_avg":
            counted = numbers[2] / numbers[1]
        elif item.type == "ratio":
            counted, holds = self._share(found)
        for operator, bound in item.bounds:
            holds &= _OPERATORS[operator](counted, bound)
        return holds

    def _even(self, settings: Beacon, found: Found) -> Array:
        """Where the contacts are at even intervals and of even size."""
        holds: Array = found.numbers[1] < settings.jitter
        if settings.spread is not None:
            holds &= found.numbers[2] < settings.spread
        return holds

    def _facts(self, numbers: Array) -> Sequence[str]:
        """What the first fires of alerts say of themselves."""
        if self._item.beacon is None:
            return ()
        said = zip((numbers[0] / SECOND).tolist(), numbers[1].tolist(), strict=True)
        return [
            f'{{"csirt.beacon.interval":"{round(interval, 1):.10g} s","csirt.beacon.jitter":"{round(jitter, 3):g}"}}'
            for interval, jitter in said
        ]

    def _share(self, found: Found) -> tuple[Array, Array]:
        """The events divided by those of the second rule, and where there are enough of them. What does not have enough
        values in the first place is nowhere looked up."""
        assert self._divisor is not None
        values, events = found.numbers
        enough = values >= self._item.at_least if self._item.value_fields else np.ones(len(values), bool)
        rows = np.flatnonzero(enough)
        if not len(rows):
            return values, enough
        groups, whose = np.unique(found.groups[rows], return_inverse=True)
        times = self.held.pool[found.places[rows], TIME]
        names = self.held.groups.names(groups)
        by = np.zeros(len(values), np.int64)
        by[rows] = self._divisor.count(names, whose.reshape(-1), times, self._item.timespan)
        enough &= by > 0
        if not self._item.value_fields:
            enough &= by >= self._item.at_least
        return events / np.maximum(by, 1), enough

    # -- what an alert takes from the fires -----------------------------------------------------------------------

    def growths(self, fires: Fires, before: Sequence[Growing | None]) -> Growths:
        """What each run of fires adds to its alert: the rows from its beginning to its last fire, or from after what
        the alert that it extends has counted."""
        pool, lasts, count = self.held.pool, fires.lasts, len(fires.lasts)
        known = np.array([item is not None for item in before], bool)
        last = [item.last if item is not None else sliding.NEVER for item in before]
        keys = [(item.key or event_key(item.last_event)) if item is not None else (0, 0) for item in before]
        highs, lows = np.array(keys, np.int64).reshape(-1, 2).T.copy()
        if known.any():
            KERNELS.get(sliding.beyond, 8 * count)(pool, fires.begins, lasts, np.array(last, np.int64), highs, lows)
        sizes = lasts - fires.begins + 1
        rows, fresh = np.empty(int(sizes.sum()), np.int64), np.empty(int(sizes.sum()), bool)
        counts = np.empty(count, np.int64)
        run = KERNELS.get(sliding.spread, len(rows))
        run(pool, fires.begins, lasts, known, highs, lows, rows, fresh, counts)
        return Growths(rows, fresh, sizes, counts, pool[fires.begins, TIME], pool[lasts, HIGH : LOW + 1])

    def rows(self, places: Array) -> pa.RecordBatch:
        """The hits at these places."""
        return self.held.payload.take(self.held.pool[places, ROW])

    # -- bounds and state -----------------------------------------------------------------------------------------

    def expire(self, until: int) -> bool:
        """Let go of what is out of reach once `until` is closed; whether nothing is left."""
        beacon = self._item.beacon
        if self._most:
            sessions = beacon is not None and bool(beacon.session)
            self.held.trim(self._most, self._cut(until), sessions=sessions)
        self.held.payload.expire(self._cut(until))
        if self.held.payload.pieces:
            return False
        self.owed.settle()
        return True

    def restored(self, until: int | None) -> None:
        """The payload has been restored: sort its rows to their groups."""
        rules = [rule for rule in self._item.rules if not self._item.divides_by(rule)]
        self.held.restored(rules, self._cut(until))


def _evaluate(expression: Expression, present: Sequence[Array]) -> Array:
    """A boolean condition over which rules have an event in the window."""
    if isinstance(expression, int):
        return present[expression]
    operator, arguments = expression
    parts = [_evaluate(argument, present) for argument in arguments]
    if operator == "not":
        return ~parts[0]
    combine: Any = np.logical_and if operator == "and" else np.logical_or
    found: Array = combine.reduce(parts)
    return found
