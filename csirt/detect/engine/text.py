"""String atoms over the distinct values of a column: one pass for all of them, however many rules ask.

Equality, substrings, prefixes and suffixes go through one literal scan over all values, which keeps to the bounds of
each. Texts with wildcards and regexes take part in that scan with a literal every match must hold; what it finds is
then verified. Regexes run on RE2 (linear time).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from csirt.detect.atoms import Atom
from csirt.detect.columns import values
from csirt.detect.engine import required
from csirt.detect.engine.budget import Budget
from csirt.detect.engine.literals import Literal, Literals, repeats, stands
from csirt.detect.engine.views import Gathered, Views, fold, folded
from csirt.model.batch import Array

# What is shorter stands in most texts: no scan looks for it.
SHORTEST = 2
# Arrow compiles an expression at every call: over so few values, and more the longer it is, a kept one is cheaper.
FEW_VALUES = 24
FEW_PER_BYTE = 1.5
# So few are looked at one by one for whatever they are asked.
FEW_TEXTS = 8
# What RE2 has to say of an expression is raised, or costs time: an author of rules writes nothing on standard error.
QUIET = re2.Options()
QUIET.log_errors = False
# Over so few a call of the compiled loop costs what it saves.
FEW_BEGINNINGS = 8
# Characters of one byte that no other folds to.
_MARKS = frozenset(chr(code) for code in range(128) if not chr(code).isalpha())


class Scanner:
    """String atoms by field ("": of any field), compiled once; `scan` finds where each of them holds.

    `engine` "arrow": every atom is looked for alone, which is how tests say what the scan has to find.
    """

    def __init__(
        self, atoms: Mapping[str, Iterable[Atom]], *, engine: str = "auto", budget: Budget | None = None
    ) -> None:
        self._scans = engine != "arrow"
        self._budget = budget or Budget()
        self._literals: dict[bool, dict[Literal, list[Atom]]] = {False: {}, True: {}}
        self._single: dict[str, dict[Atom, None]] = {}
        # By field (atom, operator, number) of the texts that a number, as well as a text, can equal.
        self.numeric: dict[str, list[tuple[Atom, str, values.Number]]] = {}
        self._indices: dict[bool, Literals] = {}
        for field, group in atoms.items():
            for atom in dict.fromkeys(group):
                self._place(field, atom)
                if atom.kind in ("wild", "re"):  # the first batch that needs it shall not wait for it
                    _expression(_pattern(atom)).search(b"")

    def _place(self, field: str, atom: Atom) -> None:
        if atom.kind == "eq":
            number = values.wanted_number(atom)
            if number is not None:
                self.numeric.setdefault(field, []).append((atom, *number))
        left, right = _ends(atom)
        raw = [literal.encode("utf-8", "surrogatepass") for literal in _wanted(atom)]
        short = bool(raw) and min(map(len, raw)) < SHORTEST and atom.kind != "eq"
        if not raw or not self._scans or short or (not left and not right and any(map(repeats, raw))):
            self._single.setdefault(field, {})[atom] = None
            return
        for item in raw:
            self._literals[atom.cased].setdefault((field, item, left, right), []).append(atom)

    def alone(self, field: str) -> Mapping[Atom, None]:
        """The field's atoms that no scan finds: each costs a look of its own at every value."""
        return self._single.get(field, {})

    def look(self, atom: Atom, texts: pa.StringArray) -> Array:
        """Where one atom that stands alone holds, as sorted indices."""
        if len(texts) <= FEW_TEXTS:
            whole = texts if atom.cased or atom.kind == "re" else folded(texts)
            return self._singly(atom, np.arange(len(texts)), *values.text_buffers(whole))
        if atom.kind in ("startswith", "endswith") and len(atom.argument) == 1 and atom.argument in _MARKS:
            return _edged(atom, texts)
        return self._long(atom, texts if atom.cased or atom.kind == "re" else folded(texts))

    def _long(self, atom: Atom, texts: pa.StringArray) -> Array:
        """As `look`, of texts that are folded where the atom folds. A short text cannot hold what takes so many bytes
        at least."""
        least = _least(atom)
        if not least:
            return np.flatnonzero(self._mask(atom, texts))
        data, offsets = values.text_buffers(texts)
        long = np.flatnonzero(np.diff(offsets) >= least)
        if atom.kind == "re" and len(long) > FEW_BEGINNINGS:
            long = _possible(atom, data, offsets, long)
        if atom.kind == "re" and _few(len(long), _pattern(atom)):
            return self._singly(atom, long, data, offsets)
        if len(long) * 2 > len(texts):
            return np.flatnonzero(self._mask(atom, texts))
        return long[self._mask(atom, texts.take(pa.array(long)))] if len(long) else long

    def scan(self, columns: Sequence[tuple[str, pa.StringArray]], *, scanned: bool = False) -> list[dict[Atom, Array]]:
        """For each (field, values without nulls): where each of its atoms holds, as sorted indices; atoms that hold
        nowhere are left out. All columns are read in one pass. `scanned`: without the field's atoms that stand
        `alone`, for who asks for those singly."""
        hits: list[dict[Atom, Array]] = [{} for _ in columns]
        if not any(len(texts) for _, texts in columns):
            return hits
        views = Views(columns)
        for cased in (False, True):
            if self._literals[cased]:
                self._scan(cased, views, hits)
        for place, (field, _) in enumerate(columns):
            for atom in self._single.get(field, ()) if field and not scanned else ():
                found = np.flatnonzero(self._mask(atom, views.one(place, atom.cased or atom.kind == "re")))
                if len(found):
                    hits[place][atom] = found
        for atom in self._single.get("", ()):  # of every column: all values at once
            found = np.flatnonzero(self._mask(atom, views.all(atom.cased or atom.kind == "re")))
            cuts = np.searchsorted(found, views.bounds)
            for place, (left, right) in enumerate(pairwise(cuts.tolist())):
                if right > left:
                    hits[place][atom] = found[left:right] - views.bounds[place]
        return hits

    def owners(self) -> list[list[Atom]]:
        """The atoms of each literal, of the folded ones first, then of the cased."""
        return [group for cased in (False, True) for group in self._literals[cased].values()]

    def pairs(self, views: Gathered, unsearched: Array) -> Array:
        """(literal, text) of all that is found, literals as `owners` has them; in the columns of these places only
        their own."""
        found = [np.zeros((0, 2), np.int32)]
        for cased in (False, True):
            if self._literals[cased]:
                data, offsets = values.text_buffers(views.all(cased))
                more = self._index(cased).found(views.fields, views.bounds, data, offsets, unsearched)
                if cased:
                    more[:, 0] += len(self._literals[False])
                found.append(more)
        return np.concatenate(found[1:]) if len(found) > 2 else found[-1]

    def everywhere(self, atom: Atom, views: Gathered) -> Array:
        """Where one atom that stands alone holds, of all texts."""
        return self._long(atom, views.all(atom.cased or atom.kind == "re"))

    def verified(self, atom: Atom, found: Array, views: Gathered) -> Array:
        """Where an atom does hold, of some of all texts."""
        whole = views.all(atom.cased or atom.kind == "re")
        few = len(found) <= FEW_TEXTS or (atom.kind in ("wild", "re") and _few(len(found), _pattern(atom)))
        if few:
            return self._singly(atom, found, *values.text_buffers(whole))
        return found[self._mask(atom, whole.take(pa.array(found)))]

    def _singly(self, atom: Atom, found: Array, data: Array, offsets: Array) -> Array:
        """Where an atom does hold, of a few texts that are folded where it folds, one by one."""
        raw, starts, ends = data.data, offsets[found].tolist(), offsets[found + 1].tolist()
        texts = [bytes(raw[start:end]) for start, end in zip(starts, ends, strict=True)]
        if atom.kind in ("wild", "re"):
            return found[self._budget.each(atom, texts, _expression(_pattern(atom)).search)]
        return found[[_holds(atom, text) for text in texts]]

    def _index(self, cased: bool) -> Literals:
        if cased not in self._indices:
            self._indices[cased] = Literals(list(self._literals[cased]))
        return self._indices[cased]

    def _scan(self, cased: bool, views: Views, hits: list[dict[Atom, Array]]) -> None:
        owners = list(self._literals[cased].values())
        unsure: dict[tuple[int, Atom], list[Array]] = {}
        data, offsets = values.text_buffers(views.all(cased))
        for literal, place, indices in self._index(cased).find(views.fields, views.bounds, data, offsets):
            for atom in owners[literal]:
                if atom.kind in ("wild", "re"):
                    unsure.setdefault((place, atom), []).append(indices)
                else:
                    hits[place][atom] = indices
        for (place, atom), parts in unsure.items():
            sure = self._verified(atom, parts, views.one(place, cased or atom.kind == "re"))
            if len(sure):
                hits[place][atom] = sure

    def _verified(self, atom: Atom, parts: list[Array], texts: pa.StringArray) -> Array:
        found = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
        kept: Array = found[self._mask(atom, texts if len(found) == len(texts) else texts.take(pa.array(found)))]
        return kept

    def _mask(self, atom: Atom, texts: pa.StringArray) -> Array:
        """One atom over values, within its budget."""
        if atom.kind not in ("wild", "re"):
            return single(atom, texts)
        return self._budget.run(atom, texts, single)


def _holds(atom: Atom, text: bytes) -> bool:
    """An atom that is no expression, of one text."""
    if atom.kind == "text":
        return True
    return stands(atom.argument.encode("utf-8", "surrogatepass"), text, *_ends(atom))


def _ends(atom: Atom) -> tuple[bool, bool]:
    """Whether its text has to be at a value's beginning, and at its end."""
    return atom.kind in ("eq", "startswith"), atom.kind in ("eq", "endswith")


def _wanted(atom: Atom) -> tuple[str, ...]:
    """Literals of which a value must hold one for the atom to hold, folded unless `cased`; none: not known."""
    if atom.kind == "re":
        return tuple(map(fold, required.literals(atom.argument)))
    if atom.kind == "wild":
        return (atom.argument[1],) if atom.argument[1] else ()
    return () if atom.kind == "text" else (atom.argument,)


def _edged(atom: Atom, texts: pa.StringArray) -> Array:
    """Where a text begins or ends with one mark, which has no case."""
    data, offsets = values.text_buffers(texts)
    some = np.flatnonzero(np.diff(offsets))
    edge = offsets[some] if atom.kind == "startswith" else offsets[some + 1] - 1
    found: Array = some[data[edge] == ord(atom.argument)]
    return found


def _least(atom: Atom) -> int:
    """Of how many bytes a text has to be for the atom to hold; 0: not known."""
    if atom.kind == "re":
        return required.least(atom.argument)
    return len(atom.argument.encode("utf-8", "surrogatepass")) if isinstance(atom.argument, str) else 0


def _possible(atom: Atom, data: Array, offsets: Array, some: Array) -> Array:
    """Those of some texts in which an expression may match, as far as its bytes say."""
    from csirt.detect.columns import kernels

    places, pair = _beginning(atom), _neighbours(atom)
    if places is not None:
        return some[: kernels.begins(data, offsets, some, places)]
    return some if pair is None else some[: kernels.neighbours(data, offsets, some, *pair)]


@lru_cache(maxsize=8192)
def _neighbours(atom: Atom) -> Array | None:
    """By byte whether it may be the first, and the second, of two neighbours every match holds; None: not known."""
    found = required.neighbours(atom.argument)
    if found is None:
        return None
    flags = np.zeros((2, 256), bool)
    for row, bytes_ in zip(flags, found, strict=True):
        row[list(bytes_)] = True
    return flags


@lru_cache(maxsize=8192)
def _beginning(atom: Atom) -> Array | None:
    """By place of a text's beginning and byte whether the atom may hold; None: not known."""
    found = required.beginning(atom.argument)
    if not found:
        return None
    places = np.zeros((len(found), 256), bool)
    for place, bytes_ in enumerate(found):
        places[place, list(bytes_)] = True
    return places


def _pattern(atom: Atom) -> str:
    """The expression of a regex or of a text with wildcards."""
    return str(atom.argument if atom.kind == "re" else atom.argument[0])


def _few(count: int, pattern: str) -> bool:
    """Whether so many values are looked at one by one."""
    return count <= FEW_VALUES + FEW_PER_BYTE * len(pattern)


@lru_cache(maxsize=8192)
def _expression(pattern: str) -> Any:
    return re2.compile(pattern, QUIET)


def single(atom: Atom, texts: pa.StringArray) -> Array:
    """One string atom over values that are already folded where the atom folds; a boolean per value."""
    argument = atom.argument
    if atom.kind == "text":
        return np.ones(len(texts), bool)
    if atom.kind in ("re", "wild"):
        pattern = _pattern(atom)
        if _few(len(texts), pattern):
            search = _expression(pattern).search
            return np.array([search(text) is not None for text in texts.cast(pa.binary()).to_pylist()], bool)
        found = pc.match_substring_regex(texts, pattern)
    elif atom.kind == "eq":
        found = pc.equal(texts, argument)
    else:
        test = {"contains": pc.match_substring, "startswith": pc.starts_with, "endswith": pc.ends_with}[atom.kind]
        found = test(texts, argument)
    return np.asarray(found.to_numpy(zero_copy_only=False))
