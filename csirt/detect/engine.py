"""The columnar engine: every atom once per batch, every rule only on the rows that could match it.

`Program` is a set of conditions compiled for one kind of frame. `Program.run` first finds the rows of each witness
atom, column by column; a rule whose witnesses hit nowhere is not looked at. The others are evaluated on their
candidate rows alone, child by child, each child only on the rows the children before it left undecided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect import values
from csirt.detect.atoms import STRING_KINDS, And, Atom, Leaf, Node, Not, Plan, leaves, plans, simplify
from csirt.detect.columns import NUMBER, OTHER, TRUTH, Column, Distinct, NumberColumn
from csirt.detect.text import Scanner
from csirt.model.batch import Array


class Frame(Protocol):
    """Rows with logical columns."""

    rows: int

    def column(self, name: str) -> Column | None:
        """The column of that name, or None when no row has the field."""

    def names(self) -> Sequence[str]:
        """All columns a keyword looks into."""


# Every so many batches of some size the cheapest witnesses are measured again; results never depend on the choice.
LEARN_ROWS = 1000
LEARN_EVERY = 512


class Program:
    """Conditions compiled together; `run` gives the matching rows of each. Not thread-safe: it learns."""

    def __init__(self, conditions: Sequence[Node], *, engine: str = "auto") -> None:
        self._choices: list[list[Plan]] = [plans(simplify(condition)) for condition in conditions]
        self._until_learning = 0
        self._choose([choice[0] for choice in self._choices])
        atoms = dict.fromkeys(
            atom
            for choice in self._choices
            for item in choice
            for atom in (*item.witnesses, *(leaves(item.rest) if item.rest is not None else ()))
        )
        by_field: dict[str | None, list[Atom]] = defaultdict(list)
        for atom in atoms:
            by_field[atom.field].append(atom)
        self.keywords = [atom for atom in by_field.pop(None, []) if atom.kind in STRING_KINDS]
        self.scanners = {
            field: Scanner((atom for atom in group if atom.kind in STRING_KINDS), engine=engine)
            for field, group in by_field.items()
            if field is not None and any(atom.kind in STRING_KINDS for atom in group)
        }
        self.keyword_scanner = Scanner(self.keywords, engine=engine) if self.keywords else None

    def _choose(self, chosen: list[Plan]) -> None:
        """Evaluate by these plans from now on."""
        self.plans = chosen
        self.wakes: dict[Atom, list[int]] = defaultdict(list)
        self.dense = [index for index, item in enumerate(chosen) if not item.witnesses]
        for index, item in enumerate(chosen):
            for atom in item.witnesses:
                self.wakes[atom].append(index)
        self.witnesses = _by_field(self.wakes)

    def run(self, frame: Frame) -> dict[int, Array]:
        """Condition index -> sorted rows that match; conditions that match nowhere are left out."""
        if frame.rows >= LEARN_ROWS:
            if self._until_learning <= 0:
                self._learn(frame)
                self._until_learning = LEARN_EVERY
            self._until_learning -= 1
        return _Run(self, frame).results()

    def _learn(self, frame: Frame) -> None:
        """Choose for each condition the witnesses that hold on the fewest rows of this frame."""
        open_choices = [choice for choice in self._choices if len(choice) > 1]
        atoms = dict.fromkeys(atom for choice in open_choices for item in choice for atom in item.witnesses)
        rows = _Run(self, frame).witness_rows(_by_field(atoms))
        counts = {atom: len(found) for atom, found in rows.items()}
        self._choose(
            [
                min(choice, key=lambda item: sum(counts.get(atom, 0) for atom in item.witnesses))
                for choice in self._choices
            ]
        )


def _by_field(atoms: Iterable[Atom]) -> dict[str, list[Atom]]:
    grouped: dict[str, list[Atom]] = defaultdict(list)
    for atom in atoms:
        grouped[atom.field or ""].append(atom)
    return dict(grouped)


class _Run:
    """One program over one frame; the caches live as long as the frame is looked at."""

    def __init__(self, program: Program, frame: Frame) -> None:
        self.program = program
        self.frame = frame
        self.rows = frame.rows
        self._hits: dict[str, dict[Atom, Array]] = {}
        self._accept: dict[Atom, Array | None] = {}
        self._masks: dict[Atom, Array] = {}

    def results(self) -> dict[int, Array]:
        found: dict[int, Array] = {}
        if not self.rows:
            return found
        where = self.witness_rows(self.program.witnesses)
        awake: dict[int, list[Array]] = defaultdict(list)
        for atom, rows in where.items():
            for index in self.program.wakes[atom]:
                awake[index].append(rows)
        for index, pieces in sorted(awake.items()):
            candidates = self._union(pieces)
            rest = self.program.plans[index].rest
            matched = candidates if rest is None else candidates[self._holds(rest, candidates)]
            if len(matched):
                found[index] = matched
        everything = np.arange(self.rows)
        for index in self.program.dense:
            rest = self.program.plans[index].rest
            matched = everything if rest is None else everything[self._holds(rest, everything)]
            if len(matched):
                found[index] = matched
        return found

    def _union(self, pieces: list[Array]) -> Array:
        if len(pieces) == 1:
            return pieces[0]
        mask = np.zeros(self.rows, bool)
        for piece in pieces:
            mask[piece] = True
        return np.flatnonzero(mask)

    # -- witnesses -----------------------------------------------------------------------------------------------

    def witness_rows(self, witnesses: Mapping[str, list[Atom]]) -> dict[Atom, Array]:
        """The rows of every witness atom that holds somewhere."""
        where: dict[Atom, Array] = {}
        for field, atoms in witnesses.items():
            column = self.frame.column(field)
            if column is None:
                continue
            wanted = atoms
            if isinstance(column, NumberColumn):
                wanted = _number_classes(column, atoms, where)
            sparse: list[Atom] = []
            for atom in wanted:
                mask = column.direct(atom, None)
                if mask is None:
                    sparse.append(atom)
                    continue
                rows = np.flatnonzero(mask)
                if len(rows):
                    where[atom] = rows
            if sparse:
                self._distinct_rows(field, column, sparse, where)
        return where

    def _distinct_rows(self, field: str, column: Column, atoms: list[Atom], where: dict[Atom, Array]) -> None:
        """Rows of atoms that are tests of distinct values, all of them in one pass over the codes."""
        accepted = [(atom, self._accepts(field, column, atom)) for atom in atoms]
        live = [(atom, accept) for atom, accept in accepted if accept is not None]
        if not live:
            return
        found = column.distinct()
        any_of = live[0][1]
        for _, accept in live[1:]:
            any_of = any_of | accept
        members = np.flatnonzero(any_of[found.codes])
        codes = found.codes[members]
        for atom, accept in live:
            rows = members[accept[codes]] if len(live) > 1 else members
            if found.parents is not None:
                rows = np.unique(found.parents[rows])
            if len(rows):
                where[atom] = rows

    # -- evaluation ----------------------------------------------------------------------------------------------

    def _holds(self, node: Node, rows: Array) -> Array:
        """A boolean per row of `rows`."""
        if isinstance(node, Leaf):
            return self._test(node.atom, rows)
        if isinstance(node, Not):
            return ~self._holds(node.child, rows)
        # And drops the rows a child refuses, Or those it accepts; the next child sees what is left.
        keep = isinstance(node, And)
        result = np.full(len(rows), not keep)
        open_rows, where = rows, np.arange(len(rows))
        for child in node.children:
            verdict = self._holds(child, open_rows)
            undecided = verdict if keep else ~verdict
            if not undecided.all():
                where, open_rows = where[undecided], open_rows[undecided]
            if not len(where):
                break
        if keep:
            result[where] = True
        else:
            result[where] = False
        return result

    def _test(self, atom: Atom, rows: Array) -> Array:
        if atom.field is None:
            return self._keyword(atom)[rows]
        column = self.frame.column(atom.field)
        if column is None:
            return np.full(len(rows), atom.kind == "null")
        if atom.kind == "null":
            return column.null()[rows]
        if atom.kind == "exists":
            return column.present()[rows]
        if atom.kind == "field":
            return self._reference(atom, column)[rows]
        direct = column.direct(atom, rows)
        if direct is not None:
            return direct
        accept = self._accepts(atom.field, column, atom)
        if accept is None:
            return np.zeros(len(rows), bool)
        found = column.distinct()
        if found.parents is None:
            return accept[found.codes[rows]]
        if atom not in self._masks:
            mask = np.zeros(self.rows, bool)
            mask[found.parents[accept[found.codes]]] = True
            self._masks[atom] = mask
        return self._masks[atom][rows]

    def _accepts(self, field: str, column: Column, atom: Atom) -> Array | None:
        """Per distinct value of the column whether the atom holds (one more entry, False, for code -1); None: none."""
        if atom not in self._accept:
            self._accept[atom] = self._accepted(field, column, atom)
        return self._accept[atom]

    def _accepted(self, field: str, column: Column, atom: Atom) -> Array | None:
        found = column.distinct()
        accept = np.zeros(len(found.texts) + 1, bool)
        if atom.kind in STRING_KINDS:
            if field not in self._hits:
                self._hits[field] = self.program.scanners[field].scan(found.texts)
            hits = self._hits[field].get(atom)
            if hits is not None:
                accept[hits] = True
            if found.kinds is not None:
                accept[:-1] &= found.kinds != OTHER
                if values.wanted_number(atom) is not None:
                    accept[:-1] |= _numeric(atom, found, {NUMBER})
        else:
            accept[:-1] = _value_test(atom, found)
        return accept if accept.any() else None

    def _keyword(self, atom: Atom) -> Array:
        if atom not in self._masks:
            scanner = self.program.keyword_scanner
            masks = {item: np.zeros(self.rows, bool) for item in self.program.keywords}
            for name in self.frame.names():
                column = self.frame.column(name)
                if column is None or scanner is None:
                    continue
                found = column.distinct()
                for item, hits in scanner.scan(found.texts).items():
                    accept = np.zeros(len(found.texts) + 1, bool)
                    accept[hits] = True
                    if found.kinds is not None:
                        accept[:-1] &= found.kinds != OTHER
                    members = accept[found.codes]
                    if found.parents is None:
                        masks[item] |= members
                    else:
                        masks[item][found.parents[members]] = True
            self._masks.update(masks)
        return self._masks[atom]

    def _reference(self, atom: Atom, column: Column) -> Array:
        """Rows where a value of the column stands in the wanted relation to one of the other field."""
        if atom not in self._masks:
            mask = np.zeros(self.rows, bool)
            other = self.frame.column(atom.argument[0])
            if other is not None:
                left, left_rows = _members(column)
                right, right_rows = _members(other)
                pairs = _pairs(left_rows, right_rows)
                relation = _relation(atom.argument[1], left.take(pa.array(pairs[0])), right.take(pa.array(pairs[1])))
                mask[left_rows[pairs[0][relation]]] = True
            self._masks[atom] = mask
        return self._masks[atom]


def _number_classes(column: NumberColumn, atoms: list[Atom], where: dict[Atom, Array]) -> list[Atom]:
    """Rows of all whole-number equalities of the column in one pass; the atoms that are left."""
    numbers = column.numbers
    if numbers.dtype.kind not in "iu" or len(atoms) < 3:
        return atoms
    limits = np.iinfo(numbers.dtype)
    owners: dict[int, list[Atom]] = defaultdict(list)
    others: list[Atom] = []
    for atom in atoms:
        wanted = values.wanted_number(atom)
        if wanted is None or wanted[0] != "eq":
            others.append(atom)
        elif float(wanted[1]).is_integer() and limits.min <= wanted[1] <= limits.max:
            owners[int(wanted[1])].append(atom)
    if not owners:
        return others
    keys = np.array(sorted(owners), numbers.dtype)
    if numbers.dtype.itemsize <= 2 and numbers.dtype.kind == "u":
        table = np.full(int(limits.max) + 1, -1, np.int16 if len(keys) < 32_000 else np.int32)
        table[keys] = np.arange(len(keys))
        every: Array = table[numbers]
        rows = np.flatnonzero(every >= 0)
        classes: Array = every[rows]
    else:
        place = np.minimum(np.searchsorted(keys, numbers), len(keys) - 1)
        rows = np.flatnonzero(keys[place] == numbers)
        classes = place[rows]
    if column.valid is not None:
        sure = column.valid[rows]
        rows, classes = rows[sure], classes[sure]
    order = np.argsort(classes, kind="stable")
    rows, classes = rows[order], classes[order]
    for piece, ids in zip(*(np.split(x, np.flatnonzero(np.diff(classes)) + 1) for x in (rows, classes)), strict=True):
        if len(piece):
            for atom in owners[int(keys[ids[0]])]:
                where[atom] = piece
    return others


def _numeric(atom: Atom, found: Distinct, kinds: set[int]) -> Array:
    """Which distinct values of the wanted kinds are numbers that the atom asks for."""
    wanted = values.wanted_number(atom)
    assert wanted is not None
    operator, number = wanted
    accept = np.zeros(len(found.texts), bool)
    for index, text in enumerate(found.texts.to_pylist()):
        kind = 0 if found.kinds is None else int(found.kinds[index])
        if kind in kinds:
            parsed = values.parse_number(text)
            if parsed is not None:
                accept[index] = bool(values.compare(operator, np.asarray(parsed), number))
    return accept


def _value_test(atom: Atom, found: Distinct) -> Array:
    """An atom that is no string test, per distinct value."""
    texts = found.texts
    if atom.kind == "number":
        accept = np.asarray(pc.is_in(texts, value_set=_number_texts(atom.argument)).to_numpy(zero_copy_only=False))
        if found.kinds is not None:
            accept = (accept & (found.kinds != TRUTH) & (found.kinds != OTHER)) | _numeric(atom, found, {NUMBER})
        return accept
    if atom.kind == "compare":
        return _numeric(atom, found, {0, NUMBER})
    plain = texts.to_pylist()
    if atom.kind == "cidr":
        accept = values.within(*values.split_addresses(plain), atom.argument)
    else:
        part, operator, number = atom.argument
        micros = [values.parse_time(text) for text in plain]
        valid = np.array([item is not None for item in micros], bool)
        parts = values.time_part(part, np.array([item or 0 for item in micros], np.int64))
        accept = values.compare(operator, parts, number) & valid
    if found.kinds is not None:
        accept = accept & (found.kinds != TRUTH) & (found.kinds != OTHER)
    return accept


def _number_texts(number: values.Number) -> pa.Array:
    """The texts that write this number."""
    texts = {values.number_text(number)}
    if float(number).is_integer() and abs(number) < 1e15:
        texts.add(str(int(number)))
    return pa.array(sorted(texts))


def _members(column: Column) -> tuple[pa.StringArray, Array]:
    """Folded text and row of every member that is a value."""
    found = column.distinct()
    valid = found.codes >= 0
    if found.kinds is not None and len(found.kinds):
        valid &= np.append(found.kinds != OTHER, False)[found.codes]
    rows = np.arange(column.rows) if found.parents is None else found.parents
    return pc.utf8_lower(found.texts).take(pa.array(found.codes[valid])), rows[valid]


def _pairs(left: Array, right: Array) -> tuple[Array, Array]:
    """Every pair of positions (i, j) with left[i] == right[j]; both sorted."""
    start = np.searchsorted(right, left)
    count = np.searchsorted(right, left, side="right") - start
    first = np.repeat(np.arange(len(left)), count)
    offset = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    return first, np.repeat(start, count) + offset


def _relation(mode: str, left: Any, right: Any) -> Array:
    if mode == "eq":
        return np.asarray(pc.equal(left, right).to_numpy(zero_copy_only=False))
    tests: Mapping[str, Any] = {"startswith": str.startswith, "endswith": str.endswith, "contains": str.__contains__}
    test = tests[mode]
    return np.array([test(a, b) for a, b in zip(left.to_pylist(), right.to_pylist(), strict=True)], bool)
