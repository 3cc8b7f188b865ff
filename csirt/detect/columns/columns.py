"""Logical columns: what a rule's field name means in a table, whatever its physical form.

Two shapes carry everything. A column that is text, or of mixed kinds, is its distinct values plus a code per row (or
per list member): a test runs once per distinct value. A column of numbers, addresses or times is tested on its rows
directly, and becomes distinct text only when a rule asks for text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.atoms import Atom
from csirt.detect.columns import values
from csirt.detect.columns.coded import NUMBER, TRUTH, Distinct, of_dictionary
from csirt.model import address_columns
from csirt.model.batch import Array


class Column:
    """One logical column. `plain`: it is text or of mixed kinds, so that every test is of its distinct values."""

    plain = False

    @property
    def many(self) -> bool:
        """Whether rows are lists; says so without making text."""
        return False

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._distinct: Distinct | None = None
        self._nulls: Array | None = None

    def null(self) -> Array:
        """Rows without a value: absent, or present and null."""
        raise NotImplementedError

    def present(self) -> Array:
        """Rows that have the field at all, be it null or empty. A typed column has it where it has a value, and where
        `has_nulls` said so."""
        present = ~self.null()
        if self._nulls is not None:
            present[self._nulls] = True
        return present

    def has_nulls(self, rows: Array) -> None:
        """The rows where the field is present without a value; elsewhere it is absent."""
        self._nulls = rows

    def distinct(self) -> Distinct:
        """The column as distinct text values."""
        if self._distinct is None:
            self._distinct = self._make_distinct()
        return self._distinct

    def _make_distinct(self) -> Distinct:
        raise NotImplementedError

    def direct(self, atom: Atom, rows: Array | None) -> Array | None:
        """The test on the rows (all when None) without making text, or None when it needs the distinct values."""
        return None

    @property
    def writing(self) -> str:
        """What its text looks like, a key of `_WRITINGS`; empty for any text."""
        return ""

    def could_hold(self, atom: Atom) -> bool:
        """Whether a string atom can hold for any value of this kind of column; saves making text that cannot match."""
        return not self.writing or _could_be(atom, self.writing)

    def texts(self, rows: Array) -> pa.DictionaryArray:
        """The text of these rows, lists as their sorted members joined by commas, null where there is none."""
        found = self.distinct()
        if found.parents is None:
            codes = found.at(rows)
            return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=codes < 0), found.texts)
        lists = self.lists(rows)
        joined = [",".join(sorted(set(item))) if item else None for item in lists]
        return pa.array(joined, pa.string()).dictionary_encode()

    def lists(self, rows: Array) -> list[list[str]]:
        """The members of these rows as text."""
        found = self.distinct()
        texts = found.texts
        if found.parents is None:
            return [[] if code < 0 else [texts[code].as_py()] for code in found.at(rows).tolist()]
        left = np.searchsorted(found.parents, rows)
        right = np.searchsorted(found.parents, rows, side="right")
        return [
            [texts[code].as_py() for code in found.codes[start:end].tolist() if code >= 0]
            for start, end in zip(left.tolist(), right.tolist(), strict=True)
        ]


# What the text of a number, an address or a time looks like, and any part of it.
_WRITINGS = {
    "whole": re.compile(r"-?[0-9]*"),
    "number": re.compile(r"[-+]?[0-9]*\.?[0-9]*(e?[-+]?[0-9]*)|-?i?nf?|-?i|f|na?n?|an?|-"),
    "address": re.compile(r"[0-9a-f:.]*"),
    "time": re.compile(r"[-0-9:.tz]*"),
    "truth": re.compile(r"t?r?u?e?|f?a?l?s?e?"),
}


def _could_be(atom: Atom, writing: str) -> bool:
    """Whether a text of that sort could satisfy a string atom."""
    if atom.kind in ("eq", "contains", "startswith", "endswith"):
        return _WRITINGS[writing].fullmatch(atom.argument.lower()) is not None
    return atom.kind != "wild" or _WRITINGS[writing].fullmatch(atom.argument[1].lower()) is not None


def could_be_written(atom: Atom) -> bool:
    """Whether a string atom could hold for a number, an address, a time or a truth value."""
    return any(_could_be(atom, writing) for writing in _WRITINGS)


# A bit for each.
MOST_IN_NUMBERS = 64


def in_numbers(keywords: Iterable[Atom]) -> dict[Atom, int]:
    """The keywords that could be part of a number, by number of their own; none, where they are too many or some are
    more than a plain text."""
    could = [atom for atom in keywords if _could_be(atom, "number")]
    plain = len(could) <= MOST_IN_NUMBERS and all(atom.kind == "contains" for atom in could)
    return {atom: number for number, atom in enumerate(could)} if plain else {}


class TextColumn(Column):
    """Text, plain, dictionary or list; `present` is given where it differs from having a value."""

    plain = True

    @property
    def many(self) -> bool:
        return self.distinct().parents is not None

    def __init__(self, rows: int, found: Distinct, present: Array | None = None, null: Array | None = None) -> None:
        super().__init__(rows)
        self._distinct = found
        self._present = present
        self._null = null

    def null(self) -> Array:
        found = self.distinct()
        if self._null is not None:
            return self._null
        if found.parents is None:
            return found.empty()
        empty = np.ones(self.rows, bool)
        empty[found.parents] = False
        return empty

    def present(self) -> Array:
        return super().present() if self._present is None or self._nulls is not None else self._present


class NumberColumn(Column):
    """Numbers of one Arrow type; `valid` None: no row is null."""

    def __init__(self, numbers: Array, valid: Array | None = None) -> None:
        super().__init__(len(numbers))
        self.numbers = numbers
        self.valid = valid

    def null(self) -> Array:
        return np.zeros(self.rows, bool) if self.valid is None else ~self.valid

    @property
    def writing(self) -> str:
        return "whole" if self.numbers.dtype.kind in "iu" else "number"

    def _make_distinct(self) -> Distinct:
        rows = None if self.valid is None else np.flatnonzero(self.valid)
        found = pa.array(self.numbers if rows is None else self.numbers[rows]).dictionary_encode()
        codes = np.asarray(found.indices.to_numpy())
        if rows is not None:
            every = np.full(self.rows, -1, np.int32)
            every[rows] = codes
            codes = every
        return Distinct(_number_texts(found.dictionary), codes, None, np.full(len(found.dictionary), NUMBER, np.uint8))

    def direct(self, atom: Atom, rows: Array | None) -> Array | None:
        wanted = values.wanted_number(atom)
        if wanted is None:
            return None
        numbers = self.numbers if rows is None else self.numbers[rows]
        operator, number = wanted
        mask = values.compare(operator, numbers, number)
        if self.valid is not None:
            mask &= self.valid if rows is None else self.valid[rows]
        return mask

    def texts(self, rows: Array) -> pa.DictionaryArray:
        found = pa.array(self.numbers[rows], mask=None if self.valid is None else ~self.valid[rows]).dictionary_encode()
        return pa.DictionaryArray.from_arrays(found.indices, _number_texts(found.dictionary))


class TruthColumn(Column):
    """Booleans; `valid` None: no row is null."""

    def __init__(self, truth: Array, valid: Array | None = None) -> None:
        super().__init__(len(truth))
        self.truth = truth
        self.valid = valid

    def null(self) -> Array:
        return np.zeros(self.rows, bool) if self.valid is None else ~self.valid

    @property
    def writing(self) -> str:
        return "truth"

    def _make_distinct(self) -> Distinct:
        codes = self.truth.astype(np.int32)
        if self.valid is not None:
            codes[~self.valid] = -1
        return Distinct(pa.array(["false", "true"]), codes, None, np.full(2, TRUTH, np.uint8))

    def direct(self, atom: Atom, rows: Array | None) -> Array | None:
        if atom.kind != "eq" or atom.argument not in ("true", "false"):
            return None
        truth = self.truth if rows is None else self.truth[rows]
        mask = truth.copy() if atom.argument == "true" else ~truth
        if self.valid is not None:
            mask &= self.valid if rows is None else self.valid[rows]
        return mask


class AddressColumn(Column):
    """Addresses as family (0: none), high and low half."""

    def __init__(self, family: Array, high: Array, low: Array) -> None:
        super().__init__(len(family))
        self.family, self.high, self.low = family, high, low

    def null(self) -> Array:
        mask: Array = self.family == 0
        return mask

    @property
    def writing(self) -> str:
        return "address"

    def _make_distinct(self) -> Distinct:
        return of_dictionary(address_columns.texts(self.family, self.high, self.low))

    def direct(self, atom: Atom, rows: Array | None) -> Array | None:
        bounds = values.address_bounds(atom)
        if bounds is None:
            return None
        if rows is None:
            return values.within(self.family, self.high, self.low, bounds)
        return values.within(self.family[rows], self.high[rows], self.low[rows], bounds)

    def texts(self, rows: Array) -> pa.DictionaryArray:
        found: pa.DictionaryArray = address_columns.texts(self.family[rows], self.high[rows], self.low[rows])
        return found

    def written(self, rows: Array, before: str = "", after: str = "") -> pa.StringArray | None:
        """The text of these rows, each between two others; None where one is not of IPv4."""
        family = self.family[rows]
        if not (family == 4).all():
            return None
        return address_columns.dotted(self.low[rows], before, after)


class TimeColumn(Column):
    """Microseconds since 1970 UTC; text is ISO 8601 with `Z`."""

    def __init__(self, micros: Array, valid: Array | None = None) -> None:
        super().__init__(len(micros))
        self.micros = micros
        self.valid = valid

    def null(self) -> Array:
        return np.zeros(self.rows, bool) if self.valid is None else ~self.valid

    @property
    def writing(self) -> str:
        return "time"

    def _make_distinct(self) -> Distinct:
        unique, where = np.unique(self.micros, return_inverse=True)
        codes = where.astype(np.int32).reshape(-1)
        if self.valid is not None:
            codes[~self.valid] = -1
        return Distinct(pa.array([values.time_text(item) for item in unique.tolist()], pa.string()), codes)

    def direct(self, atom: Atom, rows: Array | None) -> Array | None:
        if atom.kind != "part":
            return None
        micros = self.micros if rows is None else self.micros[rows]
        part, operator, number = atom.argument
        mask = values.compare(operator, values.time_part(part, micros), number)
        if self.valid is not None:
            mask &= self.valid if rows is None else self.valid[rows]
        return mask

    def texts(self, rows: Array) -> pa.DictionaryArray:
        valid = None if self.valid is None else self.valid[rows]
        return Column.texts(TimeColumn(self.micros[rows], valid), np.arange(len(rows)))


def _number_texts(numbers: pa.Array) -> pa.StringArray:
    """The text of each number, as `values.number_text` has it."""
    texts = numbers.cast(pa.string())
    if pa.types.is_integer(numbers.type):
        return texts
    # Arrow writes numbers of common size as we do; elsewhere its exponents differ.
    size = np.abs(np.asarray(numbers.to_numpy()))
    other = np.flatnonzero(~((size >= 1e-3) & (size < 1e10)))
    if not len(other):
        return texts
    ours = pa.array([values.number_text(float(numbers[index].as_py())) for index in other.tolist()], pa.string())
    mask = np.zeros(len(texts), bool)
    mask[other] = True
    return pc.replace_with_mask(texts, pa.array(mask), ours)


def constant(text: str, rows: int) -> TextColumn:
    """The same text in every row."""
    return TextColumn(rows, Distinct(pa.array([text]), np.zeros(rows, np.int32)))
