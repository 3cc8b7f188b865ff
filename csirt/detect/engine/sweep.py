"""What one scan says of all text of a frame: where each atom holds, as pieces of one array of texts.

Texts are numbered through all columns read, atoms as the program numbers them. Text that is mixed with other kinds is
left to `distinct.Tests`, but for keywords.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import compress

import numpy as np

from csirt.detect.columns import physical
from csirt.detect.columns.columns import Column, NumberColumn
from csirt.detect.columns.physical import PARENTS, TEXTS, address
from csirt.detect.engine import walk
from csirt.detect.engine.branches import CODES, EMPTY, FILLED, MASK, NEVER, OPEN, WHOLE
from csirt.detect.engine.layout import ABSENT, LISTS, OTHER, READ, Layout
from csirt.detect.engine.numbered import Compared
from csirt.detect.engine.program import Compiled, Frame
from csirt.detect.engine.views import Gathered
from csirt.detect.engine.written import in_column
from csirt.model.batch import Array

# A keyword that no scan finds is looked for in the texts of a few rows, not in all, where they are so much fewer.
FEW_SHARE = 4
# So many rows of atoms, for each row of the frame, are kept while they are counted; more are looked for again.
ROOM = 4
# The numbers that the loops read.
WHOLE_KINDS = frozenset(map(np.dtype, (np.int64, np.int32, np.uint16, np.uint8)))
_NO_ROWS = np.empty(0, np.int64)


class Sweep:
    """The text of one frame. `known`: what is known of each atom; `pieces`: per atom its column and the piece of `hits`
    it has; `columns`: of each column what `physical` says, `bases`: what its codes are counted from."""

    def __init__(self, program: Compiled, frame: Frame) -> None:
        self.program, self.frame = program, frame
        self._mixed: list[Column] = []
        self._kept: list[object] = []
        layout = Layout.of(program, frame)
        states = np.full(len(program.numbered.fields) + 1, ABSENT, np.uint8)
        self.others: set[str] = set()
        """The columns that are there and are not read here."""
        fields, lines, left = self._text(layout, states)
        self._in_table = frozenset(compress(fields, lines[:, PARENTS] == 0))  # of one text to a row
        more: list[list[int]] = []
        for name, place, wanted in (*layout.others, *left):
            column = frame.column(name)
            if column is not None:
                states[place] = self._look(column, wanted, name in layout.searched, more)
                if states[place] in (READ, LISTS):
                    fields.append(name)
                else:
                    self.others.add(name)
        states[-1] = OTHER  # the place of those that are no rule's field, and of keywords
        self.columns = np.concatenate([lines, np.array(more, np.int64).reshape(-1, physical.WIDTH)])
        self.places = {name: place for place, name in enumerate(fields)}
        self._searched = np.array([name in layout.searched for name in fields], bool)
        self._scan(fields, states)
        self._in_mixed: dict[int, Array] | None = None

    def _text(self, layout: Layout, states: Array) -> tuple[list[str], Array, list[tuple[str, int, bool]]]:
        """The fields and lines of text that the frame has as a table, and what that leaves to the columns."""
        known = self.frame.physical()
        if known is None:
            return [], np.zeros((0, physical.WIDTH), np.int64), []
        self._kept.append(known)
        count, lines = known.filled[layout.chosen], known.table[layout.chosen]
        filled, left = count > 0, np.flatnonzero(count < 0).tolist()
        kinds = np.where(layout.read, np.where(lines[:, PARENTS], LISTS, READ), OTHER)
        states[layout.places[filled]] = kinds[filled]
        chosen = layout.chosen[filled & layout.read].tolist()
        self.others.update(known.names[place] for place in layout.chosen[filled & ~layout.read].tolist())
        names = [known.names[place] for place in layout.chosen[left].tolist()]
        more = zip(names, layout.places[left].tolist(), layout.read[left].tolist(), strict=True)
        return [known.names[place] for place in chosen], lines[filled & layout.read], list(more)

    def _look(self, column: Column, wanted: bool, searched: bool, more: list[list[int]]) -> int:
        """What a column is; add its line, if it is text that is wanted."""
        if not column.plain or not wanted:
            return OTHER
        found = column.distinct()
        if found.kinds is not None:
            if searched:
                self._mixed.append(column)
            return OTHER
        line, held = physical.described(found)
        more.append(line)
        self._kept += held
        return READ if found.parents is None else LISTS

    def _scan(self, fields: list[str], states: Array) -> None:
        numbered = self.program.numbered
        count = len(numbered.atoms)
        self.views = Gathered(fields, self.columns)
        self.bases = self.views.bounds
        unsearched = np.flatnonzero(~self._searched)
        found = self.program.scanner.pairs(self.views, unsearched) if self.bases[-1] else np.zeros((0, 2), np.int32)
        starts = np.zeros(count + 1, np.int64)
        hits = np.empty(len(found) + len(found) // 4, np.int64)
        total = walk.owned(found, numbered.heads, numbered.owners, starts, hits)
        if total > len(hits):
            starts[:], hits = 0, np.empty(total, np.int64)
            walk.owned(found, numbered.heads, numbered.owners, starts, hits)
        self.hits, self._size = hits, total
        self.pieces = np.zeros((count, 4), np.int64)
        self.pieces[:, 1], self.pieces[:, 2] = starts[:-1], starts[1:]
        there = starts[1:] > starts[:-1]
        hit = np.flatnonzero(there)
        self.pieces[hit, 0] = np.searchsorted(self.bases, hits[starts[hit]], side="right") - 1
        state = states[numbered.field]
        scanned = numbered.scanned & ((state == READ) | (state == LISTS))
        self.known = np.where(state == ABSENT, numbered.absent, OPEN).astype(np.uint8)
        self.known[scanned & ~there] = NEVER
        self.known[scanned & there & numbered.sure & (state == READ)] = CODES
        self.unsure = there & ~numbered.sure
        self._looked = np.zeros(count, bool)

    def piece(self, number: int) -> Array:
        """The texts where an atom that was scanned holds."""
        if self.unsure[number]:
            self.unsure[number] = False
            found = self.hits[self.pieces[number, 1] : self.pieces[number, 2]]
            self.take(number, self.program.scanner.verified(self.program.numbered.atoms[number], found, self.views))
        return self.hits[self.pieces[number, 1] : self.pieces[number, 2]]

    def take(self, number: int, texts: Array) -> None:
        """An atom holds for these texts."""
        first, last = self._size, self._size + len(texts)
        if last > len(self.hits):
            self.hits = np.concatenate([self.hits[:first], texts, np.empty(last, np.int64)])
        self.hits[first:last] = texts
        self._size = last
        column = np.searchsorted(self.bases, texts[0], side="right") - 1 if len(texts) else 0
        self.pieces[number, :3] = column, first, last

    def rows(self, numbers: Array) -> tuple[Array, Array]:
        """(where the rows of each atom begin and end, rows) of atoms that have pieces."""
        pieces = self.pieces[numbers, 1:3]
        total = int((pieces[:, 1] - pieces[:, 0]).sum())
        heads, owners = np.zeros(int(self.bases[-1]) + 2, np.int32), np.empty(total, np.int32)
        walk.by_text(pieces, self.hits, heads, owners)
        some = np.flatnonzero(heads[self.bases[1:]] > heads[self.bases[:-1]])
        columns, bases = self.columns[some], self.bases[some]
        counts, pairs = np.zeros(len(numbers), np.int64), np.empty((ROOM * self.frame.rows, 2), np.int32)
        total = walk.spread(columns, bases, heads, owners, counts, pairs, _NO_ROWS)
        edges, found = np.append(0, np.cumsum(counts)), np.empty(total, np.int64)
        if total <= len(pairs):
            walk.placed(pairs, total, edges[:-1].copy(), found)
        else:
            walk.spread(columns, bases, heads, owners, edges[:-1].copy(), pairs[:0], found)
        return edges, found

    def settle(self, number: int) -> None:
        """The piece of an atom is known: let the loops read it."""
        piece = self.piece(number)
        if not len(piece):
            self.known[number] = NEVER
            return
        place = int(self.pieces[number, 0])
        if not self.columns[place, PARENTS]:
            self.known[number] = CODES
            return
        accept, holds = np.zeros(int(self.columns[place, TEXTS]), bool), np.zeros(self.frame.rows, bool)
        accept[piece - self.bases[place]] = True
        walk.marked(self.columns, place, accept, holds)
        self.mask(number, holds)

    def base(self, field: str) -> int:
        """The number of a field's first text."""
        return int(self.bases[self.places[field]])

    def mask(self, number: int, holds: Array) -> None:
        """A boolean per row says where an atom holds."""
        holds = np.ascontiguousarray(holds)
        self._kept.append(holds)
        self.pieces[number] = address(holds), 0, 0, 0
        self.known[number] = MASK

    def by_value(self, number: int) -> bool:
        """Let the loops see for themselves whether there is a value, if that is all an atom asks; else False."""
        atom = self.program.numbered.atoms[number]
        if atom.field not in self._in_table or atom.kind not in ("null", "text"):
            return False
        self.pieces[number, 0] = self.places[atom.field]
        self.known[number] = EMPTY if atom.kind == "null" else FILLED
        return True

    def compare(self, column: NumberColumn, atoms: Compared) -> None:
        """Let the loops compare the numbers of a column themselves, where they know such."""
        if column.numbers.dtype not in WHOLE_KINDS:
            return
        numbers = np.ascontiguousarray(column.numbers)
        valid = None if column.valid is None else np.ascontiguousarray(column.valid)
        self._kept += [numbers, valid]
        how = atoms.operators | numbers.dtype.itemsize << 3
        self.pieces[atoms.numbers, 0], self.pieces[atoms.numbers, 1] = address(numbers), how
        self.pieces[atoms.numbers, 2], self.pieces[atoms.numbers, 3] = atoms.wanted, address(valid)
        self.known[atoms.numbers] = WHOLE

    # -- keywords ------------------------------------------------------------------------------------------------

    def find_alone(self, number: int) -> None:
        """Look for a keyword that no scan finds, in all columns that are searched."""
        if self._looked[number] or self.program.numbered.scanned[number]:
            return
        self._looked[number] = True
        found = self.program.scanner.everywhere(self.program.numbered.atoms[number], self.views)
        owners = np.searchsorted(self.bases, found, side="right") - 1
        self.take(number, found[self._searched[owners]])

    def stands(self, number: int, asked: Array) -> Array:
        """Whether a keyword stands in text, per row that is asked."""
        piece = self._near(number, asked)
        if piece is None:
            self.find_alone(number)
            piece = self.piece(number)
        result = np.zeros(len(asked), bool)
        if len(piece):
            some = np.unique(np.searchsorted(self.bases, piece, side="right") - 1)
            walk.stands(asked, self.columns[some], self.bases[some], piece, result)
        mixed = self.mixed().get(number)
        return result if mixed is None else result | np.isin(asked, mixed)

    def _near(self, number: int, asked: Array) -> Array | None:
        """The texts of a few rows where a keyword holds that no scan finds; None: look at all."""
        if self.program.numbered.scanned[number] or self._looked[number]:
            return None
        some = np.flatnonzero(self._searched)
        found = np.empty(len(asked) * len(some), np.int64)
        if len(found) * FEW_SHARE > self.bases[-1]:
            return None
        count = walk.texts(asked, self.columns[some], self.bases[some], found)
        if count > len(found):
            return None
        return self.program.scanner.verified(self.program.numbered.atoms[number], np.unique(found[:count]), self.views)

    def mixed(self) -> dict[int, Array]:
        """The rows where each keyword stands in columns of mixed kinds."""
        if self._in_mixed is None:
            parts: dict[int, list[Array]] = defaultdict(list)
            scanner = self.program.scanner
            for column in self._mixed:
                hits = scanner.scan([("", column.distinct().texts)])[0]
                for atom, where in in_column(self.program, column, hits).items():
                    parts[self.program.numbered.numbers[atom]].append(where)
            self._in_mixed = {number: np.unique(np.concatenate(pieces)) for number, pieces in parts.items()}
        return self._in_mixed
