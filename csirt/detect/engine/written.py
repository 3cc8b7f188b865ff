"""Keywords in what is no text: numbers, addresses, times and truth values, as they are written.

Numbers are searched digit by digit, without text; all else is made text for it, but only for a keyword that could be
part of one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from csirt.detect.atoms import Atom
from csirt.detect.columns.columns import Column, NumberColumn
from csirt.detect.engine import rows
from csirt.detect.engine.distinct import Tests
from csirt.detect.engine.program import Compiled, Frame
from csirt.model.batch import Array

# Of fewer numbers the compiled loops are not worth their loading.
FEW_NUMBERS = 4096
_NONE = np.empty(0, bool)


class Writings:
    """The columns of one frame that are no text."""

    def __init__(self, program: Compiled, frame: Frame) -> None:
        self._program, self._frame = program, frame
        self._digits = frame.rows >= FEW_NUMBERS and bool(program.in_numbers)
        self._masks: Array | None = None
        self._pieces: dict[Atom, list[Array]] = defaultdict(list)
        self._rows: dict[Atom, Array | None] = {}

    @property
    def searched(self) -> bool:
        """Whether it is known of every keyword where it stands."""
        return self._masks is not None

    def rows(self, atom: Atom) -> Array | None:
        """The rows where a keyword is part of a number, an address, a time or a truth value; None: nowhere."""
        if self._masks is None:
            self._masks = self._search()
        if atom not in self._rows:
            parts = self._pieces.get(atom, [])
            if atom in self._program.in_numbers:
                bit = np.uint64(1 << self._program.in_numbers[atom])
                parts = [*parts, np.flatnonzero(self._masks & bit)]
            found = rows.union(parts, self._frame.rows) if parts else None
            self._rows[atom] = found if found is not None and len(found) else None
        return self._rows[atom]

    def stands(self, atom: Atom, where: Array) -> Array:
        """As `rows`, but per row that is asked; few rows are looked at alone."""
        result = np.zeros(len(where), bool)
        for column in self._columns():
            if column.could_hold(atom):
                texts = column.texts(where)
                holds = np.zeros(len(texts.dictionary) + 1, bool)
                holds[self._program.scanner.look(atom, texts.dictionary)] = True
                result |= holds[np.asarray(texts.indices.fill_null(-1).to_numpy())]
        return result

    def _columns(self) -> Iterator[Column]:
        """Those that are no text but can be made some."""
        known = self._frame.physical()
        text = frozenset(known.names) if known is not None else frozenset()
        for name in self._frame.names():
            column = self._frame.column(name) if name not in text else None
            if column is not None and not column.plain:
                yield column

    def _search(self) -> Array:
        """Of every row a bit for each keyword that stands in one of its numbers; the rest goes to `_pieces`."""
        masks = np.zeros(self._frame.rows, np.uint64)
        columns: list[tuple[Column, Array | None]] = []
        for column in self._columns():
            if not self._program.keywords_of(column):
                continue
            left = self._numbers(column, masks) if isinstance(column, NumberColumn) and self._digits else None
            if left is None:
                columns.append((column, None))
            elif len(left):
                columns.append((NumberColumn(column.numbers[left]), left))  # type: ignore[attr-defined]
        found = self._program.scanner.scan([("", column.distinct().texts) for column, _ in columns])
        for (column, places), hits in zip(columns, found, strict=True):
            for atom, where in in_column(self._program, column, hits).items():
                self._pieces[atom].append(where if places is None else places[where])
        return masks

    def _numbers(self, column: NumberColumn, masks: Array) -> Array | None:
        """Search a column of numbers digit by digit; the rows that are left, None: all."""
        numbers = column.numbers
        valid = _NONE if column.valid is None else column.valid
        whole = numbers.dtype.kind in "iu"
        if numbers.dtype == np.uint64 or not (whole or numbers.dtype == np.float64):
            return None
        from csirt.detect.columns import digits

        words = [atom.argument.encode() for atom in self._program.in_numbers]
        pool, edges = np.frombuffer(b"".join(words), np.uint8), np.cumsum([0, *map(len, words)])
        if whole:
            digits.in_whole(numbers.astype(np.int64, copy=False), valid, pool, edges, masks)
            return edges[:0]
        left = np.empty(len(numbers), np.int64)
        return left[: digits.in_fractions(numbers, valid, pool, edges, masks, left)]


def in_column(program: Compiled, column: Column, hits: dict[Atom, Array]) -> dict[Atom, Array]:
    """The rows of the keywords found in a column's distinct values."""
    tests = Tests("", column, program.scanner, None)
    tests.take(hits)
    where: dict[Atom, Array] = {}
    rows.of_distinct(column.distinct(), tests.strings(), where)
    return where
