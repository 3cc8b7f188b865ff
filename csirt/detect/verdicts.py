"""Many conditions over many rows at once: what the compiled loop needs to know of a frame, and who answers the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from csirt.detect.atoms import Atom, Plan
from csirt.detect.branches import CODES, MATCH, NEVER, OPEN, Jumps
from csirt.detect.columns import Column
from csirt.detect.distinct import Tests
from csirt.model.batch import Array


class Verdicts:
    """One frame's tests. `column` gives a field's column, `tests` those of its distinct values, `answer` says of rows
    whether an atom holds on them, for what the loop cannot know."""

    def __init__(
        self,
        jumps: Jumps,
        column: Callable[[str], Column | None],
        tests: Callable[[str, Column], Tests],
        answer: Callable[[Atom, Array], Array],
    ) -> None:
        self._jumps = jumps
        self._column = column
        self._of = tests
        self._answer = answer
        self._known = jumps.absent.copy()
        self._pieces = np.zeros((len(jumps.atoms), 3), np.int64)
        self._hits: list[Array] = []
        self._size = 0
        self._kept: list[Array] = []
        self._columns: list[tuple[int, int, int]] = []
        self._made: tuple[Array, Array] | None = None
        self._unread: set[str] = set()
        for field, numbers in jumps.fields.items():
            found = column(field)
            if found is not None:
                self._known[numbers] = OPEN
                if found.plain and field in jumps.scanned:
                    self._unread.add(field)

    def decide(self, plans: Sequence[Plan], ends: Array, rows: Array) -> Array:
        """Of each (plan, row) pair whether it matches; `ends`: of each plan's rows."""
        from csirt.detect import walk

        jumps = self._jumps
        first = np.array([jumps.start(plan) for plan in plans], np.int32)
        places = np.repeat(first, np.diff(ends, prepend=0))
        undecided = np.flatnonzero(places >= 0)
        count = len(undecided)
        while count:
            count = walk.walk(
                undecided,
                count,
                rows,
                places,
                jumps.tests,
                jumps.holds,
                jumps.fails,
                self._known,
                self._pieces,
                *self._physical(),
            )
            self._open(undecided[:count], rows, places)
        matched: Array = places == MATCH
        return matched

    def _physical(self) -> tuple[Array, Array]:
        """What the loop reads of the columns that were read."""
        if self._made is None:
            hits = np.concatenate([*self._hits, np.zeros(0, np.int64)])
            self._made = hits, np.array(self._columns, np.int64).reshape(-1, 3)
        return self._made

    def _open(self, pairs: Array, rows: Array, places: Array) -> None:
        """Read the columns that are asked for, and answer what no reading tells."""
        jumps = self._jumps
        asked = jumps.tests[places[pairs]]
        if len(jumps.atoms) < 1 << 16:
            asked = asked.astype(np.uint16)  # short numbers are counted into their places, not compared
        order = np.argsort(asked, kind="stable")
        pairs, asked = pairs[order], asked[order]
        for piece in np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(asked)) + 1) if len(pairs) else ():
            atom, mine = jumps.atoms[int(asked[piece[0]])], pairs[piece]
            if atom.field in self._unread:
                self._read(atom.field)
            if self._known[jumps.numbers[atom]] != OPEN:
                continue
            here = places[mine]
            places[mine] = np.where(self._answer(atom, rows[mine]), jumps.holds[here], jumps.fails[here])

    def _read(self, field: str) -> None:
        """What the scan of a text column says of all its atoms."""
        self._unread.discard(field)
        column = self._column(field)
        assert column is not None
        found = column.distinct()
        if found.parents is not None:
            return
        self._known[self._jumps.scanned[field]] = NEVER
        hits = self._of(field, column).strings()
        self._take(hits)
        self._made = None
        self._columns.append(self._addresses(found.physical()))

    def _take(self, hits: Mapping[Atom, Array]) -> None:
        numbers = self._jumps.numbers
        for atom, indices in hits.items():
            number = numbers.get(atom)
            if number is not None and self._known[number] == NEVER:
                self._known[number] = CODES
                self._pieces[number] = len(self._columns), self._size, self._size + len(indices)
                self._hits.append(indices)
                self._size += len(indices)

    def _addresses(self, physical: tuple[Array, Array | None, int]) -> tuple[int, int, int]:
        codes, bitmap, offset = physical
        self._kept += [codes] if bitmap is None else [codes, bitmap]
        return codes.ctypes.data, 0 if bitmap is None else bitmap.ctypes.data, offset
