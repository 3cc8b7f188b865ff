"""Events as they are given: plain objects to a frame, keys as given, no mapping.

An object inside an event is its leaves under dotted names; a list of objects is, per leaf, the list of its values. Null
and absent are kept apart. Used by the rule author's tools only: live events are columns from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.detect.columns import values
from csirt.detect.columns.coded import NUMBER, OTHER, TEXT, TRUTH, Distinct
from csirt.detect.columns.columns import (
    Column,
    TextColumn,
)
from csirt.detect.columns.physical import Physical
from csirt.errors import Usage
from csirt.model.batch import Array

TIME_FIELDS = ("@timestamp", "timestamp", "event.created", "ts", "time", "UtcTime", "TimeCreated", "EventTime")
ID_FIELDS = ("event.id", "id", "_id")
MAX_DEPTH = 64
PARQUET_ROWS = 100_000


class RawFrame:
    """Rows of any kind with columns by their own names."""

    def __init__(
        self,
        rows: int,
        columns: Mapping[str, Callable[[], Column | None]],
        text: Callable[[], Physical | None] = lambda: None,
        written: Collection[str] = (),
        alike: object = None,
    ) -> None:
        """`text`: what makes the table of text, of columns that are the same by name; `written`: columns that are no
        text; `alike`: as the method of that name says it."""
        self.rows = rows
        self.makers = columns
        self._columns: dict[str, Column | None] = {}
        self._text = text
        self._written = written
        self._alike = alike
        self._physical: Physical | None = None

    def column(self, name: str) -> Column | None:
        """The column of that name, spaces aside."""
        if name not in self._columns:
            plain = name.replace(" ", "")
            there = plain in self.makers
            self._columns[name] = self.column(plain) if plain != name else self.makers[plain]() if there else None
        return self._columns[name]

    def names(self) -> Sequence[str]:
        """All columns."""
        return list(self.makers)

    def written(self) -> Collection[str]:
        """Columns that are known to be no text before they are made."""
        return self._written

    def could_have(self, name: str) -> bool:
        """Whether a frame alike could have the column."""
        return name.replace(" ", "") in self.makers

    def alike(self) -> object:
        """What all frames have that have columns of the same names and kinds; None where that is not known."""
        return self._alike

    def physical(self) -> Physical | None:
        """The columns of text as a table of addresses; None where there is none."""
        if self._physical is None:
            self._physical = self._text()
        return self._physical

    def event_ids(self) -> list[str | None]:
        """The events' own ids, from the first field that looks like one."""
        for name in ID_FIELDS:
            column = self.column(name)
            if column is not None and not column.null().all():
                found: list[str | None] = column.texts(np.arange(self.rows)).to_pylist()
                return found
        return [None] * self.rows

    def times(self) -> tuple[Array, Array]:
        """(microseconds, valid): event time from the first field that holds times."""
        for name in TIME_FIELDS:
            column = self.column(name)
            if column is None or column.null().all():
                continue
            texts = column.texts(np.arange(self.rows))
            known = [values.parse_time(text) for text in texts.dictionary.to_pylist()]
            codes = np.asarray(texts.indices.fill_null(-1).to_numpy())
            micros = np.array([*(item or 0 for item in known), 0], np.int64)[codes]
            valid = np.array([*(item is not None for item in known), False], bool)[codes]
            if valid.any():
                return micros, valid
        return np.zeros(self.rows, np.int64), np.zeros(self.rows, bool)


def from_events(events: Iterable[dict[str, Any]]) -> RawFrame:
    """A frame of plain objects."""
    builders: dict[str, _Builder] = {}
    count = 0
    for row, event in enumerate(events):
        count = row + 1
        _flatten(event, "", row, builders, 0, False)
    return RawFrame(count, {name: partial(builder.column, count) for name, builder in builders.items()})


class _Builder:
    """One column while it grows."""

    __slots__ = ("codes", "found", "kinds", "lists", "nulls", "rows", "seen", "texts")

    def __init__(self) -> None:
        self.found: dict[tuple[int, str], int] = {}
        self.texts: list[str] = []
        self.kinds: list[int] = []
        self.rows: list[int] = []
        self.codes: list[int] = []
        self.nulls: list[int] = []
        self.seen: list[int] = []
        self.lists = False

    def add(self, row: int, value: Any) -> None:
        """A value of the row; None counts as present and null, an object as present without a value."""
        self.seen.append(row)
        if value is None:
            self.nulls.append(row)
            return
        kind, text = _describe(value)
        key = (kind, text)
        code = self.found.get(key)
        if code is None:
            code = self.found[key] = len(self.texts)
            self.texts.append(text)
            self.kinds.append(kind)
        self.rows.append(row)
        self.codes.append(code)

    def column(self, count: int) -> Column:
        present = np.zeros(count, bool)
        present[self.seen] = True
        null = ~present
        null[self.nulls] = True
        parents = np.array(self.rows, np.int64)
        codes = np.array(self.codes, np.int32)
        texts = pa.array(self.texts, pa.string())
        kinds = np.array(self.kinds, np.uint8)
        if not self.lists and (np.diff(parents) > 0).all():
            rows = np.full(count, -1, np.int32)
            rows[parents] = codes
            return TextColumn(count, Distinct(texts, rows, None, kinds), present, null)
        order = np.argsort(parents, kind="stable")
        return TextColumn(count, Distinct(texts, codes[order], parents[order], kinds), present, null)


def _describe(value: Any) -> tuple[int, str]:
    if isinstance(value, str):
        return TEXT, value
    if isinstance(value, bool):
        return TRUTH, "true" if value else "false"
    if isinstance(value, int | float):
        return NUMBER, values.number_text(value)
    return OTHER, ""


def _flatten(value: Any, name: str, row: int, builders: dict[str, _Builder], depth: int, in_list: bool) -> None:
    if depth > MAX_DEPTH:
        raise Usage(f"event {row}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        builder = builders.setdefault(name, _Builder())
        builder.lists = True
        if not value:
            builder.add(row, {})
        for item in value:
            _flatten(item, name, row, builders, depth + 1, True)
        return
    if name:
        builder = builders.setdefault(name, _Builder())
        builder.lists = builder.lists or in_list
        builder.add(row, value)
    if isinstance(value, dict):
        for key, item in value.items():
            # The specification takes spaces out of field names ("Process Name" is ProcessName).
            plain = key.replace(" ", "")
            _flatten(item, f"{name}.{plain}" if name else plain, row, builders, depth + 1, in_list)
