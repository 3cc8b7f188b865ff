"""Many conditions over many rows at once: which rows each may match, and who answers what the loops cannot know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from csirt.detect.atoms import STRING_KINDS, Atom
from csirt.detect.columns.columns import NumberColumn
from csirt.detect.engine import walk
from csirt.detect.engine.branches import MATCH, NEVER, OPEN
from csirt.detect.engine.sweep import Sweep
from csirt.model.batch import Array

if TYPE_CHECKING:
    from csirt.detect.engine.evaluate import Run
    from csirt.detect.engine.numbered import Witnesses

# An atom is tested on all values once it is asked of so great a share of the rows.
FEW_SHARE = 4
PAIRS = 1 << 20  # (condition, row) that are looked at together
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows by condition: of `conditions[i]` those before `ends[i]`."""

    conditions: Array
    ends: Array
    rows: Array

    @property
    def counts(self) -> Array:
        """How many each condition has."""
        return np.diff(self.ends, prepend=0)


class Verdicts:
    """One frame's conditions. `run` answers what needs columns of other kinds."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._program = run.program
        self._numbered = run.program.numbered
        self._sweep = Sweep(run.program, run.frame)

    def results(self) -> dict[int, Array]:
        """Condition index -> sorted rows that match; conditions that match nowhere are left out."""
        result: dict[int, Array] = {}
        for found in self._candidates():
            self._run.candidates.update(zip(found.conditions.tolist(), found.counts.tolist(), strict=True))
            matched = self._decide(self._program.starts[found.conditions], found)
            if not matched.any():
                continue
            # A condition may have no candidate: a text can be in a dictionary and in no row.
            cuts = np.append(0, np.append(0, np.cumsum(matched))[found.ends])
            rows = found.rows[matched]
            some = np.flatnonzero(cuts[1:] > cuts[:-1])
            edges = cuts[some].tolist(), cuts[some + 1].tolist()
            for condition, left, right in zip(found.conditions[some].tolist(), *edges, strict=True):
                result[condition] = rows[left:right]
        for condition in self._program.dense:
            rows = self._everywhere(condition)
            if len(rows):
                result[condition] = rows
        return result

    def _everywhere(self, condition: int) -> Array:
        """The rows of a condition that nothing says where to look for. Rows that have none of its fields are all alike:
        of those only one is looked at."""
        count = self._run.rows
        fields = self._program.fields_of(condition)
        filled = np.ones(count, bool) if fields is None else self._run.filled(fields)
        rows, other = np.flatnonzero(filled), int(np.argmin(filled))
        if len(rows) < count:
            rows = np.append(rows, other)
        self._run.candidates[condition] = len(rows)
        asked = Candidates(np.array([condition], np.int64), np.array([len(rows)]), rows)
        matched = rows[self._decide(self._program.starts[asked.conditions], asked)]
        alike = len(matched) and matched[-1] == other and not filled[other]
        holds = ~filled if alike else np.zeros(count, bool)
        holds[matched] = True
        return np.flatnonzero(holds)

    # -- witnesses -----------------------------------------------------------------------------------------------

    def counts(self, witnesses: Mapping[str, Witnesses]) -> dict[Atom, int]:
        """On how many rows, or members of lists, each atom holds that holds on any."""
        known, edges, _ = self._rows(witnesses)
        atoms = [self._numbered.atoms[number] for number in known.tolist()]
        return dict(zip(atoms, np.diff(edges).tolist(), strict=True))

    def _candidates(self) -> Iterator[Candidates]:
        """The candidates of conditions with witnesses, those of some at a time: together they can be many times the
        rows."""
        program, count = self._program, self._run.rows
        atoms, starts, rows = self._rows(program.witnesses)
        conditions, edges, places = program.wakes.of(atoms)
        most = np.append(0, np.cumsum(np.diff(starts)[places]))[edges]
        seen = np.full(count, -1, np.int64)
        left = 0
        while left < len(conditions):
            right = max(left + 1, int(np.searchsorted(most, most[left] + PAIRS, side="right")) - 1)
            out = np.empty(int(most[right] - most[left]), np.int64)
            ends = np.empty(right - left, np.int64)
            walk.candidates(places, edges[left : right + 1], rows, starts, seen, left, out, ends)
            yield Candidates(conditions[left:right], ends, out[: ends[-1]])
            left = right

    def _rows(self, witnesses: Mapping[str, Witnesses]) -> tuple[Array, Array, Array]:
        """(the number of each atom that holds somewhere, the edges of its rows, rows); a row may come twice."""
        sweep, numbers = self._sweep, self._numbered.numbers
        asked: list[Array] = []
        others: list[tuple[int, Array]] = []
        for field, atoms in witnesses.items():
            where: dict[Atom, Array] = {}
            if not field:
                where = self._keywords(atoms)
                asked.append(atoms.numbers)
            elif field in sweep.places:
                if atoms.looked:
                    self._look(field, atoms.looked)
                asked.append(atoms.numbers)
            elif field in sweep.others:
                column = self._run.frame.column(field)
                if column is not None:
                    self._run.column_rows(field, column, atoms, where)
            others += [(numbers[atom], found) for atom, found in where.items()]
        every = np.concatenate([*asked, _NONE])
        for number in every[sweep.unsure[every]].tolist():
            sweep.piece(number)
        every = every[sweep.pieces[every, 2] > sweep.pieces[every, 1]]
        edges, rows = sweep.rows(every)
        if others:
            every = np.concatenate([every, np.array([number for number, _ in others], np.int64)])
            edges = np.concatenate([edges, edges[-1] + np.cumsum([len(found) for _, found in others])])
            rows = np.concatenate([rows, *(found for _, found in others)])
        return every, edges, rows

    def _look(self, field: str, atoms: Iterable[Atom]) -> None:
        """Have the pieces of atoms of a column that was read, which no scan finds."""
        tests = self._run.tests(field)
        for atom in atoms:
            hits = tests.ranges().get(atom) if atom.kind == "cidr" else tests.hits(atom)
            if hits is not None:
                self._sweep.take(self._numbered.numbers[atom], hits + self._sweep.base(field))

    def _keywords(self, atoms: Witnesses) -> dict[Atom, Array]:
        """The rows of keywords that are not in text alone; have the pieces of those that no scan finds."""
        sweep, numbers = self._sweep, self._numbered.numbers
        where: dict[Atom, Array] = {}
        for atom in atoms.looked:
            sweep.find_alone(numbers[atom])
        mixed = sweep.mixed()
        for atom in atoms.strings:
            parts = [mixed[numbers[atom]]] if numbers[atom] in mixed else []
            if self._program.in_writings(atom):
                written = self._run.written(atom)
                parts += [] if written is None else [written]
            if parts:
                where[atom] = np.concatenate(parts)
        return where

    # -- evaluation ----------------------------------------------------------------------------------------------

    def _decide(self, first: Array, found: Candidates) -> Array:
        """Of each (condition, row) pair whether it matches."""
        jumps, sweep = self._program.jumps, self._sweep
        places = np.repeat(first, found.counts)
        undecided = np.flatnonzero(places >= 0)
        count = len(undecided)
        while count:
            count = walk.walk(
                undecided,
                count,
                found.rows,
                places,
                jumps.tests,
                jumps.holds,
                jumps.fails,
                sweep.known,
                sweep.pieces,
                sweep.hits,
                sweep.columns,
                sweep.bases,
            )
            self._open(undecided[:count], found.rows, places)
        matched: Array = places == MATCH
        return matched

    def _open(self, pairs: Array, rows: Array, places: Array) -> None:
        """Have the columns that are asked for, and answer what no loop can tell."""
        jumps, sweep = self._program.jumps, self._sweep
        asked = jumps.tests[places[pairs]]
        if len(self._numbered.atoms) < 1 << 16:
            asked = asked.astype(np.uint16)  # short numbers are counted into their places, not compared
        order = np.argsort(asked, kind="stable")
        pairs, asked = pairs[order], asked[order]
        cuts = np.flatnonzero(np.diff(asked)) + 1
        for left, right in zip([0, *cuts.tolist()], [*cuts.tolist(), len(pairs)], strict=True):
            if right == left:
                continue
            number, mine = int(asked[left]), pairs[left:right]
            if sweep.known[number] == OPEN:
                self._resolve(number, right - left)
            if sweep.known[number] != OPEN:
                continue
            here = places[mine]
            places[mine] = np.where(self._answer(number, rows[mine]), jumps.holds[here], jumps.fails[here])

    def _resolve(self, number: int, count: int) -> None:
        """Know of an atom where it holds, if it can be said of all values and is worth it for so many rows."""
        atom, sweep = self._numbered.atoms[number], self._sweep
        if atom.field is None or sweep.by_value(number):
            return
        if atom.kind in ("null", "exists", "field"):
            sweep.mask(number, self._run.mask(atom))
        elif atom.field in sweep.places:
            if atom.kind == "cidr":
                self._networks(atom.field)
                return
            if self._numbered.scanned[number]:
                sweep.piece(number)
            elif atom.kind in STRING_KINDS and count * FEW_SHARE < len(self._run.tests(atom.field).found.texts):
                return
            else:
                self._look(atom.field, [atom])
            sweep.settle(number)
        elif atom.field in self._numbered.compared:
            column = self._run.frame.column(atom.field)
            if isinstance(column, NumberColumn):
                sweep.compare(column, self._numbered.compared[atom.field])

    def _networks(self, field: str) -> None:
        """Know of all ranges of addresses of a field that has only text."""
        self._sweep.known[self._numbered.networks[field]] = NEVER
        for atom, hits in self._run.tests(field).ranges().items():
            if atom.kind == "cidr":
                number = self._numbered.numbers[atom]
                self._sweep.take(number, hits + self._sweep.base(field))
                self._sweep.settle(number)

    def _answer(self, number: int, rows: Array) -> Array:
        """Whether an atom holds on rows."""
        atom = self._numbered.atoms[number]
        if atom.field is not None:
            return self._run.test(atom, rows)
        found = self._sweep.stands(number, rows)
        return found | self._run.written_in(atom, rows) if self._program.in_writings(atom) else found
