"""The pairing stage: tables of waiting flow rows and the open flows give columns of marks and the open flows after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import pyarrow as pa

from csirt.biflow import keys, marks
from csirt.biflow.layout import Limits, Marks, Open, Rows
from csirt.biflow.pairing import decide, from_bytes, to_bytes
from csirt.model.batch import Array


class Pairing:
    """Marks rows step by step. `order`: the preferred exporters' places by address. Not thread-safe."""

    def __init__(self, order: Mapping[str, int], limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._points = keys.Points(order)
        self._open = Open.none()

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
        ends = np.cumsum([table.num_rows for table in tables])[:-1]
        found = [keys.rows(table.select([name for name in table.column_names if name in keys.COLUMNS]), self._points)
                 for table in tables]  # fmt: skip
        rows = Rows(*(np.concatenate([getattr(item, part.name) for item, _ in found]) for part in fields(Rows)))
        rows.rank = self._points.ranks(rows.point)
        usable = np.concatenate([which for _, which in found])
        usable &= rows.due <= until + self.limits.ahead  # nobody looks further
        if since is not None:
            usable &= rows.due > since
        which = _in_order(rows, np.flatnonzero(usable))
        decided = int(np.searchsorted(rows.due[which], until, side="right"))
        made, self._open, lost = decide(_taken(rows, which), decided, self._open, self.limits)
        whole = _spread(made, which[:decided], rows.count)
        due = rows.due <= until
        return [
            marks.columns(_cut(whole, part, keep), bits[keep])
            for part, keep, bits in zip(
                np.split(np.arange(rows.count), ends), np.split(due, ends), np.split(rows.bits, ends), strict=True
            )
        ], lost


def _in_order(rows: Rows, which: Array) -> Array:
    """The rows by (due, segment, ordinal). Tables are nearly in that order: one stable sort by time, then the ties."""
    which = which[np.argsort(rows.due[which], kind="stable")]
    same = np.diff(rows.due[which]) == 0
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        mine = which[tied]
        which[tied] = mine[np.lexsort((rows.ordinal[mine], rows.segment[mine], rows.due[mine]))]
    return which


def _taken(rows: Rows, which: Array) -> Rows:
    return Rows(*(np.ascontiguousarray(getattr(rows, item.name)[which]) for item in fields(Rows)))


def _spread(made: Marks, which: Array, count: int) -> Marks:
    """The marks at the rows' own places; the others have none."""
    whole = Marks.blank(count)
    for item in fields(Marks):
        getattr(whole, item.name)[which] = getattr(made, item.name)
    return whole


def _cut(whole: Marks, part: Array, keep: Array) -> Marks:
    chosen = part[keep]
    return Marks(*(getattr(whole, item.name)[chosen] for item in fields(Marks)))
