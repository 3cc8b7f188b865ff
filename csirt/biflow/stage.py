"""The pairing stage: tables of waiting flow rows and the open flows give columns of marks and the open flows after."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pyarrow as pa

from csirt.biflow import keys, marks
from csirt.biflow.layout import Limits, Open, Rows
from csirt.biflow.pairing import decide, from_bytes, to_bytes
from csirt.biflow.room import Room
from csirt.model.batch import Array


class Pairing:
    """Marks rows step by step. `order`: the preferred exporters' places by address. Not thread-safe."""

    def __init__(self, order: Mapping[str, int], limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._points = keys.Points(order)
        self._open = Open.none()
        self._room = Room()

    def load(self, state: bytes | None) -> None:
        """Go on from a committed state."""
        self._open = from_bytes(state)

    def state(self) -> bytes:
        """Everything a restart needs."""
        return to_bytes(self._open)

    @property
    def ahead(self) -> int:
        """How far behind a row it looks for the row's other direction."""
        return self.limits.ahead

    def columns(self) -> set[str]:
        """What it looks at."""
        return set(keys.COLUMNS)

    @property
    def open(self) -> int:
        """Pairs of ends with an open flow."""
        return len(self._open.key)

    def mark(self, tables: list[pa.Table], until: int, since: int | None) -> tuple[list[dict[str, pa.Array]], int]:
        """The columns of each table's rows that are due at or before `until`, in their order, and how many pairs of
        ends the bound closed. Rows due later are only looked at; those due at or before `since`, when that was settled
        already, get no marks."""
        self._points.tidy()
        ends = np.cumsum([0, *(table.num_rows for table in tables)]).tolist()
        rows = Rows.room(self._room, ends[-1])
        usable = self._room.array("usable", ends[-1], np.bool_)
        for table, (start, end) in zip(tables, pairwise(ends), strict=True):
            wanted = table.select([name for name in table.column_names if name in keys.COLUMNS])
            usable[start:end] = keys.fill(rows.part(start, end), wanted, self._points)
        records = rows.records
        due = np.ascontiguousarray(records["due"])
        records["rank"] = self._points.ranks(records["point"])
        usable &= due <= until + self.limits.ahead  # nobody looks further
        if since is not None:
            usable &= due > since
        order = _in_order(records, np.flatnonzero(usable))
        decided = int(np.searchsorted(due[order], until, side="right"))
        made, self._open, lost = decide(rows, order, decided, self._open, self.limits, self._room)
        chosen = [np.flatnonzero(due[start:end] <= until) + start for start, end in pairwise(ends)]
        return [marks.columns(made[which], records["bits"][which]) for which in chosen], lost


def _in_order(records: Array, which: Array) -> Array:
    """The rows by (due, segment, ordinal). Tables are nearly in that order: one stable sort by time, then the ties."""
    which = which[np.argsort(records["due"][which], kind="stable")]
    same = np.diff(records["due"][which]) == 0
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        mine = which[tied]
        which[tied] = mine[np.lexsort((records["ordinal"][mine], records["segment"][mine], records["due"][mine]))]
    return which
