"""The hits that a correlation's windows can still reach, sorted per group, so that a step costs what it touches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.windows import contacts, placing, sliding
from csirt.detect.windows.codes import stretches
from csirt.detect.windows.interned import Interned
from csirt.detect.windows.keys import event_keys, key_text, plain_keys
from csirt.detect.windows.payload import Payload
from csirt.detect.windows.placing import LENGTH, SPOTS, START
from csirt.detect.windows.sliding import EXTRA, HIGH, IDENTITY, KERNELS, LINES, LOW, ROW, STEP, TIME, VALUE
from csirt.model.batch import Array

SLACK = 1 << 18  # places for rows to come
GARBAGE = 1 << 15  # hits that no row needs any more
PATIENCE = 16  # rows that may make way for each new one before the new ones are sorted
WHOLE = float(1 << 53)  # values beyond it count as it


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of a step: the group of each (its code), its place, where its window begins, and what is in it. Group
    by group, sorted by (time, event)."""

    groups: Array
    places: Array
    begins: Array
    numbers: Array


class Held:
    """The rows of one correlation. `kind` says what the lines VALUE and EXTRA hold: see `_lines`. `salts`: per rule, 0
    where its rows are events; else a number that tells two rules' rows of one event apart."""

    def __init__(self, kind: str, salts: Sequence[int], *, max_groups: int, max_rows: int) -> None:
        self.kind = kind
        self._salts = np.array(salts, np.int64)
        self._plain = not any(salts)  # every key is its event's id
        self.groups = Interned()
        self.payload = Payload()
        self.pool = np.empty((0, LINES), np.int64)
        self._spots = np.empty((0, SPOTS), np.int64)
        self._used = 0
        self._step = 0
        self._values = Interned()
        self._seen = np.zeros(0, np.int64)
        self._max_groups, self._max_rows = max_groups, max_rows
        self._touched = self._least = np.empty(0, np.int64)

    def copy(self) -> Held:
        """Another one with the same rows."""
        made = copy(self)
        made.groups, made._values = self.groups.copy(), self._values.copy()
        made.payload = self.payload.copy()
        made.pool = np.empty_like(self.pool)
        made.pool[: self._used] = self.pool[: self._used]
        made._spots, made._seen = self._spots.copy(), self._seen.copy()
        return made

    @property
    def rows(self) -> int:
        """How many rows are held, those included that nothing reaches any more."""
        return int(self._spots[:, LENGTH].sum())

    def add(self, inputs: Sequence[pa.Table], cut: int) -> dict[str, int]:
        """Take in the hits of each rule. Rows at or before `cut` are out of reach. What the bounds cost."""
        self.payload.expire(cut)
        table = pa.concat_tables(inputs).combine_chunks()
        self._step += 1
        rules = np.repeat(np.arange(len(inputs)), [part.num_rows for part in inputs])
        self._put(table, rules, self.payload.append(table), cut)
        return self._bound(cut)

    def _put(self, table: pa.Table, rules: Array, base: int, cut: int) -> None:
        count = table.num_rows
        groups = self.groups.codes(table.column("group"))
        times = np.asarray(table.column("time").to_numpy())
        reaching = self._touch(groups, times) + count
        moving = 6 * reaching + 8 * count  # a group may move several times, each time into twice as much
        if self._used + moving > len(self.pool):
            self._sweep(cut, moving)
            groups = self.groups.codes(table.column("group"))
            self._touch(groups, times)
        lines = np.zeros((IDENTITY, count), np.int64)
        lines[TIME] = times
        lines[HIGH], lines[LOW] = self._keys(table.column("event"))
        lines[HIGH] ^= self._salts[rules]
        self._lines(lines, table, rules)
        run = KERNELS.get(placing.lay, reaching)
        done, used = run(self.pool, self._spots, self._used, groups, lines, base, self._step, cut, PATIENCE * count)
        if done < count:  # the rest is not in order
            order = done + _order(groups[done:], lines[:, done:])
            rows = np.empty((len(order), LINES), np.int64)
            rows[:, :IDENTITY], rows[:, ROW], rows[:, STEP] = lines[:, order].T, base + order, self._step
            used = KERNELS.get(placing.merge, reaching)(self.pool, self._spots, used, groups[order], rows, cut)
        self._used = int(used)

    def _touch(self, groups: Array, times: Array) -> int:
        """Which groups these rows are of; how many rows those have."""
        self._make_room()
        touched, least = np.empty((2, len(groups)), np.int64)
        count, reaching = KERNELS.get(placing.touch, len(groups))(groups, times, self._spots, touched, least)
        self._touched, self._least = touched[:count], least[:count]
        return int(reaching)

    def _keys(self, column: pa.ChunkedArray) -> tuple[Array, Array]:
        found = plain_keys(column.combine_chunks())
        if found is not None:
            return found[:, 0], found[:, 1]
        self._plain = self._plain and not len(column)
        return event_keys(column)

    def events(self, places: Array) -> list[str]:
        """The ids of the events at these places."""
        if self._plain:
            return [key_text(high, low) for high, low in self.pool[places, HIGH : LOW + 1].tolist()]
        found: list[str] = self.payload.take(self.pool[places, ROW], ("event",)).column("event").to_pylist()
        return found

    def _make_room(self) -> None:
        """Places for the groups whose names are new."""
        missing = len(self.groups) - len(self._spots)
        if missing > 0:
            grown = np.zeros((max(missing, len(self._spots)), SPOTS), np.int64)
            self._spots = np.concatenate([self._spots, grown])

    def _lines(self, lines: Array, table: pa.Table, rules: Array) -> None:
        """The lines VALUE and EXTRA. `values`: the value's code; `rules`: the rule; `sums`: whole part and millionths,
        so that adding in any order gives the same; `ranks`: the float's bits; `contacts`: the size's bits, and the
        session's code."""
        if self.kind in ("values", "contacts"):
            lines[EXTRA] = self._values.codes(_filled(table.column("value")))
        elif self.kind == "rules":
            lines[VALUE] = rules
        if self.kind in ("sums", "ranks", "contacts"):
            numbers = np.asarray(pc.fill_null(table.column("number"), 0.0).to_numpy())
            if self.kind != "sums":
                lines[VALUE] = (numbers + 0.0).view(np.int64)  # one zero
            else:
                numbers = np.clip(numbers, -WHOLE, WHOLE)
                whole = np.floor(numbers)
                lines[VALUE] = whole.astype(np.int64)
                lines[EXTRA] = np.rint((numbers - whole) * 1e6).astype(np.int64)

    # -- windows --------------------------------------------------------------------------------------------------

    def number(self, span: int, kernel: Callable[..., Any], width: int, *extra: Any) -> Found:
        """Run a kernel over the groups that the last `add` touched; `width` numbers a row."""
        left, first, end = np.empty((3, len(self._touched)), np.int64)
        run = KERNELS.get(sliding.bounds, 8 * len(end))
        walked, most = run(self.pool, self._spots, self._touched, self._least, span, left, first, end)
        places, numbers = np.empty((3, most), np.int64), np.empty((width, most), np.float64)
        run = KERNELS.get(kernel, walked)
        count = run(self.pool, left, first, end, span, self._step, places, numbers, *extra)
        count = KERNELS.get(sliding.lasting, count)(self.pool, end, places, numbers, count)
        return Found(self._touched[places[2, :count]], places[0, :count], places[1, :count], numbers[:, :count])

    def distinct(self, span: int) -> Found:
        """The kernel `distinct` with its scratch."""
        if len(self._seen) < len(self._values):
            self._seen = np.zeros(2 * len(self._values), np.int64)
        return self.number(span, sliding.distinct, 2, self._seen)

    def ranked(self, span: int, share: float) -> Found:
        """The kernel `ranked` with its scratch."""
        most = int(self._spots[self._touched, LENGTH].max(initial=0))
        values = self.pool.view(np.float64)
        return self.number(span, sliding.ranked, 1, values, np.empty(most + 1, np.float64), share)

    def regular(self, span: int, most: int, *, sessions: bool) -> Found:
        """The kernel `regular` over the last `most` contacts, with its scratch."""
        values, begins, sizes = self.pool.view(np.float64), np.empty(most, np.int64), np.empty(most, np.float64)
        return self.number(span, contacts.regular, 3, values, sessions, begins, sizes)

    def trim(self, most: int, cut: int, *, sessions: bool) -> None:
        """Let go of what lies before the last `most` contacts of the groups touched last."""
        run = KERNELS.get(contacts.trim, most * len(self._touched))
        run(self.pool, self._spots, self._touched, most, sessions)
        self._touched = self._touched[:0]
        if self.payload.rows > 2 * self.rows + GARBAGE:
            groups, places = self._all()
            reached = self.pool[places, TIME] > cut
            groups, places = groups[reached], places[reached]
            self.pool[places, ROW] = self.payload.keep(self.pool[places, ROW])
            self._rebuild(groups, places, 0)

    # -- bounds ---------------------------------------------------------------------------------------------------

    def _all(self) -> tuple[Array, Array]:
        """The group and the place of every row, group by group."""
        starts, lengths = self._spots[:, START], self._spots[:, LENGTH]
        return np.repeat(np.arange(len(starts)), lengths), stretches(starts, lengths)

    def _sweep(self, cut: int, more: int) -> None:
        """Let go of what is out of reach, groups and values without rows too, and make room for `more` rows."""
        groups, places = self._all()
        reached = self.pool[places, TIME] > cut
        self._rebuild(groups[reached], places[reached], more)

    def _rebuild(self, groups: Array, places: Array, more: int) -> Array:
        """Keep only these rows of these groups; the codes that the groups had, which are 0 … from now on."""
        alive, codes = np.unique(groups, return_inverse=True)
        if len(alive) < len(self.groups):
            self.groups.keep(alive)
        lengths = np.bincount(codes.reshape(-1), minlength=len(alive))
        rooms = lengths + lengths // 4 + 2
        self._used = int(rooms.sum())
        self._spots = np.stack([np.cumsum(rooms) - rooms, lengths, rooms, np.zeros_like(rooms)], 1).astype(np.int64)
        pool = np.empty((self._used + more + max(self._used // 2, SLACK), LINES), np.int64)
        _, spots = self._all()
        pool[spots] = self.pool[places]
        self.pool = pool
        if len(self._values):
            used, new = np.unique(pool[spots, EXTRA], return_inverse=True)
            self._values.keep(used)
            pool[spots, EXTRA] = new.reshape(-1)
        return alive

    def _bound(self, cut: int) -> dict[str, int]:
        """Keep to the bounds, an eighth below them: the oldest rows leave, then the groups that are silent longest."""
        lost = {"hits": 0, "groups": 0}
        if self.rows <= self._max_rows and np.count_nonzero(self._spots[:, LENGTH]) <= self._max_groups:
            return lost
        groups, places = self._all()
        reached = self.pool[places, TIME] > cut
        groups, places = groups[reached], places[reached]
        times = self.pool[places, TIME]
        kept = np.ones(len(places), bool)
        if len(places) > self._max_rows:
            excess = len(places) - self._max_rows + self._max_rows // 8
            kept[np.argsort(times, kind="stable")[:excess]] = False
            lost["hits"] = excess
        latest = np.full(len(self._spots), sliding.NEVER)
        np.maximum.at(latest, groups[kept], times[kept])
        alive = np.flatnonzero(latest > sliding.NEVER)
        if len(alive) > self._max_groups:
            excess = len(alive) - self._max_groups + self._max_groups // 8
            stale = alive[np.argsort(latest[alive], kind="stable")[:excess]]
            kept &= ~np.isin(groups, stale)
            lost["groups"] = excess
        groups, places = groups[kept], places[kept]
        if any(lost.values()):
            self.pool[places, ROW] = self.payload.keep(self.pool[places, ROW])
        alive = self._rebuild(groups, places, 0)
        places = np.searchsorted(alive, self._touched)
        still = np.append(alive, -1)[places] == self._touched
        self._touched, self._least = places[still], self._least[still]
        return lost

    # -- state ----------------------------------------------------------------------------------------------------

    def restored(self, rules: Sequence[str], cut: int) -> None:
        """Put the restored payload's rows, of these rules, to their groups again."""
        if not self.payload.pieces:
            return
        table = pa.Table.from_batches([piece.batch for piece in self.payload.pieces]).combine_chunks()
        index = {rule: number for number, rule in enumerate(rules)}
        numbers = np.array([index.get(rule, -1) for rule in table.column("rule").to_pylist()], np.int64)
        bases = [np.arange(piece.base, piece.base + piece.batch.num_rows) for piece in self.payload.pieces]
        rows = np.concatenate(bases)
        wanted = (np.asarray(table.column("time").to_numpy()) > cut) & (numbers >= 0)
        self._put(table.filter(pa.array(wanted)), numbers[wanted], 0, cut)
        if wanted.any():
            _, places = self._all()
            self.pool[places, ROW] = rows[wanted][self.pool[places, ROW]]


def _filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(column, "") if column.null_count else column


def _order(groups: Array, lines: Array) -> Array:
    """The order by (group, time, event, value); in one sort where the pair fits a word, ties sorted after."""
    moments = lines[TIME] - lines[TIME].min(initial=0)
    width = int(moments.max(initial=0)) + 1
    if (int(groups.max(initial=0)) + 1) * width >= 1 << 62:
        return np.lexsort((*lines[::-1], groups))
    packed = groups * width + moments
    order = np.argsort(packed, kind="stable")
    same = np.diff(packed[order]) == 0
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        mine = order[tied]
        order[tied] = mine[np.lexsort((*lines[:TIME:-1, mine], packed[mine]))]
    return order
