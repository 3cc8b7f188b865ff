"""Settling: rows that wait for their other direction get their marks, are matched, and take their final place.

Flow rows are stored as they come and are seen at once. Once event time has passed them they are settled, in the order
they are due, in steps of bounded size: marked, matched, written as they will stay, in one commit that also has the open
flows and takes the waiting rows away. Where a step ends changes nothing (see `biflow/kernel.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.clock import Clock
from csirt.metrics import Metrics
from csirt.model import ecs
from csirt.model.batch import Array, Batch
from csirt.model.stack import stack
from csirt.stores.base import Commit, Settled, Store, Waiting

STEP = 250_000  # rows settled at a time, or so: what a step holds in memory is bounded
MARK, OPEN = "settled", "biflow"  # states: up to when rows were settled, and the flows open then


class Pairing(Protocol):
    """Marks rows step by step; carries the open flows."""

    @property
    def ahead(self) -> int:
        """How far behind a row it looks for the row's other direction."""

    def load(self, state: bytes | None) -> None:
        """Go on from a committed state."""

    def state(self) -> bytes:
        """Everything a restart needs."""

    def columns(self) -> set[str]:
        """What it looks at."""

    def mark(self, tables: list[pa.Table], until: int, since: int | None) -> tuple[list[dict[str, pa.Array]], int]:
        """Columns for each table's rows due at or before `until`, and how many flows its bound closed."""


class Settler:
    """Settles what waits in a store. One thread calls it."""

    def __init__(
        self,
        *,
        store: Store,
        pairing: Pairing,
        match: Callable[[Batch], pa.Table],
        late: Callable[[pa.Table], int],
        clock: Clock,
        metrics: Metrics,
        spent: dict[str, float],
        step: int = STEP,
    ) -> None:
        """`late`: how many of some hits come after their time was judged. `spent`: CPU seconds by stage."""
        self.store, self.pairing, self.match, self.late = store, pairing, match, late
        self.clock, self.metrics, self.spent, self.rows = clock, metrics, spent, step
        self._mark: int | None = None
        self._loaded = False

    def settle(self, until: int, *, steps: int | None = None) -> int:
        """Settle what is due at or before `until`, in at most so many steps; up to when nothing waits any more."""
        while steps is None or steps > 0:
            reached = self._step(until)
            if reached is None:
                return until
            steps = None if steps is None else steps - 1
        return min(until, self._mark if self._mark is not None else until)

    def begin(self) -> None:
        """What waits is all of an input that has ended. Where it is older than what was settled before, it is paired
        among itself, from the beginning."""
        self._load()
        with self.store.waiting(self._mark) as older:
            due = [_dues(part, None) for part in older] if self._mark is not None else []
        if any((times <= self._mark).any() for times in due):
            self._mark = None
            self.pairing.load(None)

    def _load(self) -> None:
        if not self._loaded:
            mark = self.store.state(MARK)
            self._mark = int(mark) if mark else None
            self.pairing.load(self.store.state(OPEN))
            self._loaded = True

    def _step(self, until: int) -> int | None:
        """One commit; up to when it settled, or None when nothing was due."""
        self._load()
        try:
            with ExitStack() as held:
                parts = held.enter_context(self.store.waiting(until + self.pairing.ahead))
                end = _end(parts, until, self.rows)
                if end is None:
                    return None
                if not self._commit([part for part in parts if part.least <= end + self.pairing.ahead], end):
                    return None
        except BaseException:
            self._loaded = False  # what is carried ran ahead of what is committed
            raise
        return end

    def _commit(self, parts: list[Waiting], end: int) -> bool:
        """One step; whether there was anything to settle."""
        begin = self.clock.cpu()
        due, tables = self._load_parts(parts, end)
        columns, lost = self.pairing.mark(tables, end, self._mark)
        change = Commit(settled=Settled(end, {}))
        assert change.settled is not None
        found: list[pa.Table] = []
        settled: dict[str, list[pa.Table]] = {}
        counts = {"biflow.rows": 0, "biflow.duplicates": 0, "biflow.late": 0, "biflow.closed": lost}
        for part, rows, marks in zip(due, tables, columns, strict=False):  # behind these is what was only looked at
            change.settled.rows[part.id] = rows.num_rows
            settled.setdefault(part.dataset, []).append(_marked(rows, marks))
            counts["biflow.rows"] += rows.num_rows
            if "csirt.flow.duplicate_of" in marks:
                counts["biflow.duplicates"] += rows.num_rows - marks["csirt.flow.duplicate_of"].null_count
            if self._mark is not None:
                counts["biflow.late"] += int((_times(rows) <= self._mark).sum())
        if not settled:
            return False
        for dataset, members in settled.items():  # what follows costs by the batch, too
            change.batches += [Batch(dataset, table.unify_dictionaries()) for table in stack(members)]
        del tables, columns, rows, marks, settled, members  # what was only looked at makes room
        begin = self._spend("biflow", begin)
        for batch in change.batches:
            hits = self.match(batch)
            if hits.num_rows:
                found.append(hits)
        begin = self._spend("detect", begin)
        if found:
            change.hits = pa.concat_tables(found)
        change.states = {OPEN: self.pairing.state(), MARK: str(end).encode()}
        change.counts = {name: number for name, number in counts.items() if number}
        change.counts["detect.rows"] = counts["biflow.rows"]
        self.store.commit(change)
        self._spend("stores", begin)
        self._mark = end if self._mark is None else max(end, self._mark)
        self._count(counts, change.hits)
        return True

    def _load_parts(self, parts: list[Waiting], end: int) -> tuple[list[Waiting], list[pa.Table]]:
        """The parts with rows that this step settles, and tables: those rows of each of them, then, with the columns
        that pairing needs, what of all parts it only looks at."""
        due: list[Waiting] = []
        rows: list[pa.Table] = []
        behind: list[pa.Table] = []
        for part in parts:
            table = part.load(None) if part.least <= end else part.load(self.pairing.columns())
            times = _times(table)
            if (times <= end).any():
                due.append(part)
                rows.append(_chosen(table, times <= end))
            columns = [name for name in table.column_names if name in self.pairing.columns()]
            behind.append(_chosen(table.select(columns), (times > end) & (times <= end + self.pairing.ahead)))
        return due, rows + behind

    def _spend(self, stage: str, begin: float) -> float:
        now = self.clock.cpu()
        self.spent[stage] = self.spent.get(stage, 0.0) + now - begin
        return now

    def _count(self, counts: Mapping[str, int], hits: pa.Table | None) -> None:
        rows = counts["biflow.rows"]
        self.metrics.stage("biflow", rows, rows)
        self.metrics.stage("detect", rows, rows)
        self.metrics.count("csirt_duplicate_flows_total", counts["biflow.duplicates"])
        self.metrics.count("csirt_late_flows_total", counts["biflow.late"])
        self.metrics.count("csirt_flows_closed_early_total", counts["biflow.closed"])
        if hits is not None:
            self.metrics.count("csirt_hits_total", hits.num_rows)
            self.metrics.count("csirt_late_hits_total", self.late(hits))


def _end(parts: list[Waiting], until: int, rows: int) -> int | None:
    """Where a step of about so many rows ends, at `until` at the latest; None when nothing is due by then."""
    due = [part for part in parts if part.least <= until]
    most = rows + rows // 4
    if sum(part.rows for part in due) <= most:
        return until if due else None
    end = _estimate(due, until, rows)
    while True:
        times = [_dues(part, end) for part in due if part.least <= end]
        count = sum(map(len, times))
        if count > most:
            return int(np.partition(np.concatenate(times), rows)[rows])
        if count:
            return end
        if end >= until:
            return None
        # A gap in time, or rows that were settled before: on to the next part, or to the next row.
        later = [part.least for part in due if part.least > end]
        beyond = [int(found.min()) for part in due if part.least <= end and len(found := _dues(part, None))]
        end = min([*later, *beyond, until])


def _estimate(parts: list[Waiting], until: int, rows: int) -> int:
    """When about so many rows of the parts are due, as if each part's were spread evenly."""
    least = np.array([part.least for part in parts], np.float64)
    span = np.maximum(np.array([part.greatest for part in parts], np.float64) - least, 1.0)
    size = np.array([part.rows for part in parts], np.float64)
    low, high = float(least.min()), float(until)
    for _ in range(50):
        middle = (low + high) / 2
        if float((size * np.clip((middle - least) / span, 0, 1)).sum()) < rows:
            low = middle
        else:
            high = middle
    return min(until, int(high))


def _dues(part: Waiting, end: int | None) -> Array:
    """When a part's waiting rows are due, those at or before `end`."""
    times = _times(part.load(set()))
    return times if end is None else times[times <= end]


def _times(table: pa.Table) -> Array:
    return np.asarray(pc.cast(table.column(ecs.DUE), pa.int64()).to_numpy())


def _chosen(table: pa.Table, which: Array) -> pa.Table:
    return table if which.all() else table.filter(pa.array(which))


def _marked(table: pa.Table, marks: Mapping[str, pa.Array]) -> pa.Table:
    """The rows with their marks, without the time they were due at."""
    names = [name for name in table.column_names if name not in marks and name != ecs.DUE]
    return pa.Table.from_arrays([*(table.column(name) for name in names), *marks.values()], names=[*names, *marks])
