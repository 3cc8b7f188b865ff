"""One program over one frame: which rows each condition matches.

First the rows of each witness atom, column by column; a condition whose witnesses hold nowhere is not looked at. The
others are evaluated on their candidate rows alone, child by child, each child only on the rows the children before it
left undecided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from csirt.detect.atoms import And, Atom, Leaf, Node, Not
from csirt.detect.columns.columns import AddressColumn, Column, NumberColumn
from csirt.detect.engine import distinct, rows
from csirt.detect.engine.distinct import Tests
from csirt.detect.engine.numbered import Witnesses
from csirt.detect.engine.program import Compiled, Frame
from csirt.detect.engine.written import Writings, in_column
from csirt.model.batch import Array

# An atom that no scan finds is looked for in the values of a few rows, not in all, where they are so much fewer.
FEW_SHARE = 4
# With fewer ranges than this an address column is compared range by range.
FEW_RANGES = 4


class Run:
    """The caches live as long as the frame is looked at. `candidates`: how many rows each awake condition had."""

    def __init__(self, program: Compiled, frame: Frame) -> None:
        self.program = program
        self.frame = frame
        self.rows = frame.rows
        self.candidates: dict[int, int] = {}
        self._tests: dict[str, Tests] = {}
        self._ranges: dict[str, dict[Atom, Array]] = {}
        self._accept: dict[Atom, Array | None] = {}
        self._masks: dict[Atom, Array] = {}
        self._keywords: dict[Atom, Array] = {}
        self._writings = Writings(program, frame)

    def results(self) -> dict[int, Array]:
        """Condition index -> sorted rows that match; conditions that match nowhere are left out."""
        found: dict[int, Array] = {}
        if not self.rows:
            return found
        self._scan()
        where = self.witness_rows(self.program.witnesses)
        pieces = list(where.values())
        numbers = self.program.numbered.numbers
        conditions, edges, places = self.program.wakes.of(np.array([numbers[atom] for atom in where], np.int64))
        for index, left, right in zip(conditions.tolist(), edges.tolist(), edges[1:].tolist(), strict=False):
            self._match(index, rows.union([pieces[place] for place in places[left:right].tolist()], self.rows), found)
        everything = np.arange(self.rows)
        for index in self.program.dense:
            self._match(index, everything, found)
        return found

    def _match(self, index: int, candidates: Array, found: dict[int, Array]) -> None:
        self.candidates[index] = len(candidates)
        rest = self.program.plans[index].rest
        matched = candidates if rest is None else candidates[self._holds(rest, candidates)]
        if len(matched):
            found[index] = matched

    # -- witnesses -----------------------------------------------------------------------------------------------

    def counts(self, witnesses: Mapping[str, Witnesses]) -> dict[Atom, int]:
        """On how many rows each witness atom holds that holds somewhere."""
        return {atom: len(where) for atom, where in self.witness_rows(witnesses).items()}

    def witness_rows(self, witnesses: Mapping[str, Witnesses]) -> dict[Atom, Array]:
        """The rows of every witness atom that holds somewhere; the keywords stand under no name."""
        where: dict[Atom, Array] = {}
        for field, atoms in witnesses.items():
            if not field:
                known = {atom: self._keyword(atom) for atom in atoms.strings}
                where.update((atom, found) for atom, found in known.items() if found is not None)
                continue
            column = self.frame.column(field)
            if column is not None:
                self.column_rows(field, column, atoms, where)
        return where

    def column_rows(self, field: str, column: Column, atoms: Witnesses, where: dict[Atom, Array]) -> None:
        """Add the rows of the witness atoms of one column."""
        sparse: dict[Atom, Array] = {}
        tests = self._of(field, column)
        if column.plain:  # text: one scan says which of the atoms hold, however many there are
            others = atoms.others
            if atoms.strings:
                sparse = {atom: hits for atom, hits in tests.strings().items() if atom in atoms.strings}
                others = [*others, *(atom for atom in tests.alone if atom in atoms.strings)]
        else:
            others = [*atoms.strings, *atoms.others]
        if isinstance(column, NumberColumn):
            equal = atoms.equal(column.numbers.dtype)
            equal.find(column, where)
            others = equal.left
        ranges = self._address_rows(field, column)
        for atom in others:
            if ranges is not None and atom in self.program.intervals[field].atoms:
                if atom in ranges:
                    where[atom] = ranges[atom]
                continue
            mask = column.direct(atom, None)
            if mask is not None:
                found = np.flatnonzero(mask)
                if len(found):
                    where[atom] = found
                continue
            hits = tests.hits(atom)
            if hits is not None:
                sparse[atom] = hits
        if sparse:
            rows.of_distinct(column.distinct(), sparse, where)

    def _address_rows(self, field: str, column: Column) -> dict[Atom, Array] | None:
        """The rows of all address atoms of an address column, or None when there are too few to search together."""
        intervals = self.program.intervals.get(field)
        if intervals is None or not isinstance(column, AddressColumn) or len(intervals.atoms) < FEW_RANGES:
            return None
        if field not in self._ranges:
            self._ranges[field] = intervals.hits(column.family, column.high, column.low)
        return self._ranges[field]

    def _of(self, field: str, column: Column) -> Tests:
        if field not in self._tests:
            program = self.program
            self._tests[field] = Tests(field, column, program.scanner, program.intervals.get(field))
        return self._tests[field]

    def tests(self, field: str) -> Tests:
        """The tests of a column that is there."""
        column = self.frame.column(field)
        assert column is not None
        return self._of(field, column)

    def _scan(self) -> None:
        """One pass over all text columns that witnesses are looked for in; with keywords, over all there are."""
        program = self.program
        searched = dict.fromkeys(self.frame.names() if program.keywords else ())
        fields = dict.fromkeys(field for field, atoms in program.witnesses.items() if field and atoms.strings)
        columns = [(name, self.frame.column(name)) for name in {**fields, **searched}]
        texts = [(name, column) for name, column in columns if column is not None and column.plain]
        known = [(name, column.distinct().texts) for name, column in texts]
        pieces: dict[Atom, list[Array]] = defaultdict(list)
        for (name, column), found in zip(texts, program.scanner.scan(known, scanned=True), strict=True):
            keywords = {atom: hits for atom, hits in found.items() if atom.field is None}
            if name in program.texts:
                self._of(name, column).take({atom: hits for atom, hits in found.items() if atom.field is not None})
            if keywords and name in searched:
                for atom, where in in_column(program, column, keywords).items():
                    pieces[atom].append(where)
        self._keywords = {atom: rows.union(parts, self.rows) for atom, parts in pieces.items()}

    # -- evaluation ----------------------------------------------------------------------------------------------

    def _holds(self, node: Node, where: Array) -> Array:
        """A boolean per row of `where`."""
        if isinstance(node, Leaf):
            return self.test(node.atom, where)
        if isinstance(node, Not):
            return ~self._holds(node.child, where)
        # And drops the rows a child refuses, Or those it accepts; the next child sees what is left.
        keep = isinstance(node, And)
        result = np.full(len(where), not keep)
        open_rows, places = where, np.arange(len(where))
        for child in node.children:
            verdict = self._holds(child, open_rows)
            undecided = verdict if keep else ~verdict
            if not undecided.all():
                places, open_rows = places[undecided], open_rows[undecided]
            if not len(places):
                break
        result[places] = keep
        return result

    def test(self, atom: Atom, where: Array) -> Array:
        """Whether an atom holds, per row that is asked."""
        if atom.field is None:
            return self._mask(atom, None)[where]
        column = self.frame.column(atom.field)
        if column is None:
            return np.full(len(where), atom.kind == "null")
        if atom.kind in ("null", "exists", "field"):
            return self._mask(atom, column)[where]
        direct = column.direct(atom, where)
        if direct is not None:
            return direct
        found = column.distinct()
        if atom in self.program.alone and atom not in self._accept and len(where) * FEW_SHARE < len(found.texts):
            some = self._looked(atom, column, where)
            if some is not None:
                return some
        accept = self._accepts(atom, column)
        if accept is None:
            return np.zeros(len(where), bool)
        if found.parents is None:
            return accept[found.at(where)]
        return self._mask(atom, column)[where]

    def _looked(self, atom: Atom, column: Column, where: Array) -> Array | None:
        """An atom that no scan finds, on the values of a few rows alone; None where that is not all there is to it."""
        found = column.distinct()
        if found.parents is not None or found.kinds is not None:
            return None
        codes = found.at(where)
        some = np.unique(codes)
        some = some[some >= 0]
        held = some[self.program.scanner.look(atom, found.texts.take(pa.array(some)))]
        return np.isin(codes, held) if len(held) else np.zeros(len(where), bool)

    def _accepts(self, atom: Atom, column: Column) -> Array | None:
        """Per distinct value of the column whether the atom holds (one more entry, False, for code -1); None: none."""
        if atom not in self._accept:
            hits = self._of(atom.field or "", column).hits(atom)
            accept = None
            if hits is not None:
                accept = np.zeros(len(column.distinct().texts) + 1, bool)
                accept[hits] = True
            self._accept[atom] = accept
        return self._accept[atom]

    def filled(self, fields: Iterable[str]) -> Array:
        """The rows that have a value of any of the fields."""
        mask = np.zeros(self.rows, bool)
        for name in fields:
            column = self.frame.column(name)
            if column is None:
                continue
            if column.plain and column.distinct().parents is None:
                mask[column.distinct().members()[0]] = True
            else:
                mask |= ~column.null()
        return mask

    def mask(self, atom: Atom) -> Array:
        """Whether an atom of a field that is there holds, per row of the frame."""
        return self._mask(atom, self.frame.column(atom.field or ""))

    def _mask(self, atom: Atom, column: Column | None) -> Array:
        """Every row at once, for atoms that cannot be tested row by row."""
        if atom not in self._masks:
            self._masks[atom] = self._whole(atom, column)
        return self._masks[atom]

    def _whole(self, atom: Atom, column: Column | None) -> Array:
        mask = np.zeros(self.rows, bool)
        if column is None:
            known = self._keyword(atom)
            if known is not None:
                mask[known] = True
        elif atom.kind == "null":
            return column.null()
        elif atom.kind == "exists":
            return column.present()
        elif atom.kind == "field":
            other = self.frame.column(atom.argument[0])
            if other is not None:
                return distinct.reference(atom.argument[1], column, other)
        else:
            accept = self._accepts(atom, column)
            found = column.distinct()
            if accept is not None and found.parents is not None:
                mask[found.parents[accept[found.codes]]] = True
        return mask

    def _keyword(self, atom: Atom) -> Array | None:
        """The rows where a keyword is found in any column. Numbers, addresses and times are made text only for a
        keyword that could be part of one."""
        found = [self._keywords.get(atom)]
        if self.program.in_writings(atom):
            found.append(self.written(atom))
        known = [where for where in found if where is not None]
        return rows.union(known, self.rows) if known else None

    def written(self, atom: Atom) -> Array | None:
        """The rows where a keyword is part of a number, an address, a time or a truth value."""
        return self._writings.rows(atom)

    def written_in(self, atom: Atom, where: Array) -> Array:
        """As `written`, but per row that is asked; few rows are made text alone."""
        if not self._writings.searched and len(where) * FEW_SHARE < self.rows:
            return self._writings.stands(atom, where)
        found = self.written(atom)
        return np.zeros(len(where), bool) if found is None else np.isin(where, found)
