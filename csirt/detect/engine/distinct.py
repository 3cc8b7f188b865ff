"""Atoms over the distinct values of a column: string tests in one scan, addresses in one search, numbers at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.atoms import STRING_KINDS, Atom
from csirt.detect.columns import values
from csirt.detect.columns.coded import NUMBER, OTHER, TEXT, TRUTH, Distinct
from csirt.detect.columns.columns import Column
from csirt.detect.columns.intervals import Intervals
from csirt.detect.engine.text import Scanner
from csirt.model.batch import Array


class Tests:
    """The tests of one column's distinct values, each made once per batch."""

    def __init__(self, field: str, column: Column, scanner: Scanner, intervals: Intervals | None) -> None:
        self.field = field
        self.column = column
        self._scanner = scanner
        self._intervals = intervals
        self._texts: dict[Atom, Array] | None = None
        self._looked: dict[Atom, Array | None] = {}
        self._ranges: dict[Atom, Array] | None = None
        self._numbers: dict[frozenset[int], Numbers] = {}

    @property
    def found(self) -> Distinct:
        """The column's distinct values."""
        return self.column.distinct()

    def hits(self, atom: Atom) -> Array | None:
        """Positions of the distinct values where the atom holds, sorted; None: nowhere."""
        if atom.kind in STRING_KINDS:
            return self._string(atom) if self.column.could_hold(atom) else None
        if atom.kind == "cidr" and self._intervals is not None:
            found = self._plain(self.ranges().get(atom))
        else:
            found = np.flatnonzero(self._value(atom))
        return found if found is not None and len(found) else None

    def ranges(self) -> dict[Atom, Array]:
        """The ranges of addresses in which some distinct values lie, with the positions of those."""
        if self._ranges is None:
            assert self._intervals is not None
            self._ranges = self._intervals.hits(*values.split_addresses(self.found.texts))
        return self._ranges

    def _string(self, atom: Atom) -> Array | None:
        if atom not in self.alone:
            return self.strings().get(atom)
        if atom not in self._looked:
            found = self._scanner.look(atom, self.found.texts)
            kinds = self.found.kinds
            if kinds is not None:
                found = np.union1d(self.strings().get(atom, found[:0]), found[kinds[found] != OTHER])
            self._looked[atom] = found if len(found) else None
        return self._looked[atom]

    @property
    def alone(self) -> Mapping[Atom, None]:
        """The atoms that `strings` leaves out: they are looked for when they are asked for."""
        return self._scanner.alone(self.field) if self.field else {}

    def strings(self) -> dict[Atom, Array]:
        """Every string atom of the column that a scan finds somewhere, with the positions of its distinct values."""
        if self._texts is None:
            found = self._scanner.scan([(self.field, self.found.texts)], scanned=True)[0]
            self.take({atom: hits for atom, hits in found.items() if atom.field is not None})
        assert self._texts is not None
        return self._texts

    def take(self, found: dict[Atom, Array]) -> None:
        """What a scan over several columns found in this one."""
        kinds = self.found.kinds
        self._texts = found if kinds is None else self._typed(found, kinds)

    def _typed(self, found: dict[Atom, Array], kinds: Array) -> dict[Atom, Array]:
        """Without objects, which are no text, and with the numbers that a text in a rule writes."""
        objects = bool((kinds == OTHER).any())
        typed = {atom: hits[kinds[hits] != OTHER] for atom, hits in found.items()} if objects else dict(found)
        if (kinds == NUMBER).any():
            for atom, operator, number in self._scanner.numeric.get(self.field, ()):
                more = np.flatnonzero(self._numeric(frozenset({NUMBER}), operator, number))
                if len(more):
                    typed[atom] = np.union1d(typed[atom], more) if atom in typed else more
        return {atom: hits for atom, hits in typed.items() if len(hits)}

    def _plain(self, found: Array | None) -> Array | None:
        """Without truth values and objects."""
        kinds = self.found.kinds
        if found is None or kinds is None:
            return found
        kept: Array = found[(kinds[found] != TRUTH) & (kinds[found] != OTHER)]
        return kept

    def _numeric(self, kinds: frozenset[int], operator: str, number: values.Number) -> Array:
        if kinds not in self._numbers:
            self._numbers[kinds] = Numbers(self.found, kinds)
        return self._numbers[kinds].compare(operator, number)

    def _value(self, atom: Atom) -> Array:
        """An atom that is no string test, per distinct value."""
        found = self.found
        accept: Array
        if atom.kind == "compare":
            return self._numeric(frozenset({TEXT, NUMBER}), *atom.argument)
        if atom.kind == "number":
            accept = np.asarray(pc.is_in(found.texts, value_set=_writings(atom.argument)).to_numpy(False))
            if found.kinds is not None:
                accept = accept & (found.kinds != TRUTH) & (found.kinds != OTHER)
                accept = accept | self._numeric(frozenset({NUMBER}), "eq", atom.argument)
            return accept
        part, operator, number = atom.argument
        micros = [values.parse_time(text) for text in found.texts.to_pylist()]
        valid = np.array([item is not None for item in micros], bool)
        parts = values.time_part(part, np.array([item or 0 for item in micros], np.int64))
        accept = values.compare(operator, parts, number) & valid
        if found.kinds is not None:
            accept = accept & (found.kinds != TRUTH) & (found.kinds != OTHER)
        return accept


class Numbers:
    """The distinct values of some kinds that write numbers: whole ones that fit 64 bits, the few beyond, fractions."""

    def __init__(self, found: Distinct, kinds: frozenset[int]) -> None:
        self._count = len(found.texts)
        whole: dict[int, int] = {}
        other: dict[int, float] = {}
        self._huge: dict[int, int] = {}
        for index, text in enumerate(found.texts.to_pylist()):
            if (TEXT if found.kinds is None else int(found.kinds[index])) not in kinds:
                continue
            number = values.parse_number(text)
            if isinstance(number, float):
                other[index] = number
            elif number is not None:
                (whole if -(2**63) <= number < 2**63 else self._huge)[index] = number
        self._parts = [
            (np.array(list(part), np.int64), np.array(list(part.values()), kind))
            for part, kind in ((whole, np.int64), (other, np.float64))
            if part
        ]

    def compare(self, operator: str, number: values.Number) -> Array:
        """Per distinct value whether its number stands in that relation to the number."""
        accept = np.zeros(self._count, bool)
        for places, numbers in self._parts:
            accept[places] = values.compare(operator, numbers, number)
        for place, huge in self._huge.items():
            accept[place] = bool(values.compare(operator, np.array(huge, object), number))
        return accept


def _writings(number: values.Number) -> pa.Array:
    """The texts that write this number."""
    texts = {values.number_text(number)}
    if float(number).is_integer() and abs(number) < 1e15:
        texts.add(str(int(number)))
    return pa.array(sorted(texts))


def reference(mode: str, column: Column, other: Column) -> Array:
    """Rows (a boolean each) where a value of the column stands in the relation to one of the other, case aside."""
    mask = np.zeros(column.rows, bool)
    left, left_rows = _members(column)
    right, right_rows = _members(other)
    first, second = _pairs(left_rows, right_rows)
    holds = _relation(mode, left.take(pa.array(first)), right.take(pa.array(second)))
    mask[left_rows[first[holds]]] = True
    return mask


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


_RELATIONS = {"startswith": str.startswith, "endswith": str.endswith, "contains": str.__contains__}


def _relation(mode: str, left: pa.Array, right: pa.Array) -> Array:
    if mode == "eq":
        return np.asarray(pc.equal(left, right).to_numpy(zero_copy_only=False))
    test = _RELATIONS[mode]
    return np.array([test(a, b) for a, b in zip(left.to_pylist(), right.to_pylist(), strict=True)], bool)
