"""String atoms over the distinct values of a column: one pass for all of them, however many rules ask.

Equality, substrings, prefixes and suffixes go through one literal scan (Hyperscan, or Aho-Corasick where Hyperscan has
no wheel) over all values joined by the byte 0xFF, which no UTF-8 text contains, so a
value with line ends or any other character cannot be mistaken for two. Texts with wildcards and regexes take part in
that scan with a literal every match must hold; what it finds is then verified. Regexes run on RE2 (linear time).

Case: `fold` is Unicode simple lower-casing, for rules and values alike ('ß' is not 'ss'; 'İ' is 'i').
"""

from __future__ import annotations

import contextlib
import importlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from csirt.detect import required, values
from csirt.detect.atoms import Atom
from csirt.detect.budget import Budget
from csirt.model.batch import Array

hyperscan: Any = None
with contextlib.suppress(ImportError):  # no wheel for every machine
    hyperscan = importlib.import_module("hyperscan")

SEPARATOR = b"\xff"
# Fewer literals than this are cheaper one by one; shorter ones than two bytes hit too often for a scan's callback.
FEW_LITERALS = 4
LONGEST_LITERAL = 1000
# Arrow compiles an expression at every call: over so few values one that is kept is cheaper.
FEW_VALUES = 128
# A literal that hits more often than this, and than once in so many bytes, is looked for alone from then on.
NOISY_HITS = 4096
NOISY_BYTES = 256


def fold(text: str) -> str:
    """The text as case-insensitive comparison sees it."""
    lowered: str = pc.utf8_lower(pa.scalar(text, pa.string())).as_py()
    return lowered


def folded(texts: pa.StringArray) -> pa.StringArray:
    """The texts as case-insensitive comparison sees them."""
    data, offsets = values.text_buffers(texts)
    plain = data[offsets[0] : offsets[-1]] if len(offsets) else data
    return pc.utf8_lower(texts) if len(plain) and plain.max() > 127 else pc.ascii_lower(texts)


class Scanner:
    """String atoms by field ("": of any field), compiled once; `scan` finds where each of them holds. Not thread-safe:
    it learns which literals are noisy."""

    def __init__(
        self, atoms: Mapping[str, Iterable[Atom]], *, engine: str = "auto", budget: Budget | None = None
    ) -> None:
        self._engine = engine
        self._budget = budget or Budget()
        self._literals: dict[bool, dict[bytes, dict[str, list[Atom]]]] = {False: {}, True: {}}
        self._single: dict[str, dict[Atom, None]] = {}
        # (atom, operator, number) of the texts that a number, as well as a text, can equal.
        self.numeric: list[tuple[Atom, str, values.Number]] = []
        self._automata: dict[bool, Any] = {}
        self._owned: dict[bool, tuple[tuple[str, ...], Array]] = {}
        for field, group in atoms.items():
            for atom in dict.fromkeys(group):
                self._place(field, atom)
        for cased in (False, True):
            if len(self._literals[cased]) < FEW_LITERALS or engine == "arrow":
                self._alone(cased, list(self._literals[cased]))

    def _place(self, field: str, atom: Atom) -> None:
        if atom.kind == "eq":
            number = values.wanted_number(atom)
            if number is not None:
                self.numeric.append((atom, *number))
        wanted = _wanted(atom)
        before = SEPARATOR if atom.kind in ("eq", "startswith") else b""
        after = SEPARATOR if atom.kind in ("eq", "endswith") else b""
        raw = [before + literal.encode("utf-8", "surrogatepass") + after for literal in wanted]
        # Hyperscan's binding ends a literal at a zero byte.
        if not raw or any(not 2 <= len(item) <= LONGEST_LITERAL or b"\0" in item for item in raw):
            self._single.setdefault(field, {})[atom] = None
            return
        for item in raw:
            self._literals[atom.cased].setdefault(item, {}).setdefault(field, []).append(atom)

    def _alone(self, cased: bool, literals: Iterable[bytes]) -> None:
        """Look for the atoms of these literals one by one."""
        table = self._literals[cased]
        moved: dict[str, dict[Atom, None]] = {}
        for literal in literals:
            for field, atoms in table[literal].items():
                moved.setdefault(field, {}).update(dict.fromkeys(atoms))
        for field, gone in moved.items():
            self._single.setdefault(field, {}).update(gone)
        for literal, owners in list(table.items()):
            for field in moved:
                if field in owners:
                    owners[field] = [atom for atom in owners[field] if atom not in moved[field]]
            table[literal] = {field: atoms for field, atoms in owners.items() if atoms}
            if not table[literal]:
                del table[literal]
        self._automata.pop(cased, None)
        self._owned.pop(cased, None)

    def alone(self, field: str) -> Mapping[Atom, None]:
        """The field's atoms that no scan finds: each costs a look of its own at every value."""
        return self._single.get(field, {})

    def look(self, atom: Atom, texts: pa.StringArray) -> Array:
        """Where one atom that stands alone holds, as sorted indices."""
        values_ = texts if atom.cased or atom.kind == "re" else folded(texts)
        return np.flatnonzero(self._mask(atom, values_))

    def scan(self, columns: Sequence[tuple[str, pa.StringArray]], *, scanned: bool = False) -> list[dict[Atom, Array]]:
        """For each (field, values without nulls): where each of its atoms holds, as sorted indices; atoms that hold
        nowhere are left out. All columns are read in one pass. `scanned`: without the atoms that stand `alone`, for
        who asks for those singly."""
        hits: list[dict[Atom, Array]] = [{} for _ in columns]
        if not any(len(texts) for _, texts in columns):
            return hits
        views = _Views(columns)
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
            for place in np.flatnonzero(np.diff(cuts)).tolist():
                hits[place][atom] = found[cuts[place] : cuts[place + 1]] - views.bounds[place]
        return hits

    def _scan(self, cased: bool, views: _Views, hits: list[dict[Atom, Array]]) -> None:
        """One pass for all literals; what only may hold is verified."""
        names = list(self._literals[cased])
        if cased not in self._automata:
            self._automata[cased] = _automaton(names, self._engine)
        pairs, size = _pairs(self._automata[cased], views.all(cased))
        pieces: list[dict[Atom, list[Array]]] = [{} for _ in hits]
        noisy: list[bytes] = []
        found = _Found(pairs, views, self._owns(cased, views.fields))
        for pattern, place, count, indices in found:
            if count > NOISY_HITS and count > size // NOISY_BYTES:
                noisy.append(names[pattern])
            owners = self._literals[cased][names[pattern]]
            field = views.fields[place]
            for atom in (*owners.get(field, ()), *(owners.get("", ()) if field else ())):
                pieces[place].setdefault(atom, []).append(indices)
        for place, parts in enumerate(pieces):
            for atom, where in parts.items():
                sure = self._verified(atom, where, views.one(place, cased or atom.kind == "re"))
                if len(sure):
                    hits[place][atom] = sure
        if noisy:
            self._alone(cased, dict.fromkeys(noisy))

    def _owns(self, cased: bool, fields: tuple[str, ...]) -> Array:
        """Per literal and column whether an atom of the column has the literal."""
        if cased not in self._owned or self._owned[cased][0] != fields:
            known = [[field in owners or "" in owners for field in fields] for owners in self._literals[cased].values()]
            self._owned[cased] = fields, np.array(known, bool).reshape(-1, len(fields))
        return self._owned[cased][1]

    def _verified(self, atom: Atom, parts: list[Array], texts: pa.StringArray) -> Array:
        found = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
        if atom.kind not in ("wild", "re"):
            return found
        kept: Array = found[self._mask(atom, texts if len(found) == len(texts) else texts.take(pa.array(found)))]
        return kept

    def _mask(self, atom: Atom, texts: pa.StringArray) -> Array:
        """One atom over values, within its budget."""
        if atom.kind not in ("wild", "re"):
            return single(atom, texts)
        return self._budget.run(atom, texts, single)


def _wanted(atom: Atom) -> tuple[str, ...]:
    """Literals of which a value must hold one for the atom to hold, folded unless `cased`; none: not known."""
    if atom.kind == "re":
        return tuple(map(fold, required.literals(atom.argument)))
    if atom.kind == "wild":
        return (atom.argument[1],) if atom.argument[1] else ()
    return () if atom.kind == "text" else (atom.argument,)


class _Views:
    """Several columns of values behind one another, as they are and folded."""

    def __init__(self, columns: Sequence[tuple[str, pa.StringArray]]) -> None:
        self.fields = tuple(field for field, _ in columns)
        self.bounds = np.cumsum([0, *(len(texts) for _, texts in columns)])
        texts = [texts for _, texts in columns]
        self._all: dict[bool, pa.StringArray] = {True: texts[0] if len(texts) == 1 else pa.concat_arrays(texts)}

    def all(self, cased: bool) -> pa.StringArray:
        """All values."""
        if cased not in self._all:
            self._all[cased] = folded(self._all[True])
        return self._all[cased]

    def one(self, place: int, cased: bool) -> pa.StringArray:
        """The values of one column."""
        start, end = int(self.bounds[place]), int(self.bounds[place + 1])
        whole = self.all(cased)
        return whole if len(self.fields) == 1 else whole.slice(start, end - start)


class _Found:
    """What a scan found: (literal, column, how often, sorted distinct indices of the column's values)."""

    def __init__(self, pairs: Array, views: _Views, owned: Array) -> None:
        _, offsets = values.text_buffers(views.all(True))
        self._bounds = views.bounds
        width = len(offsets)
        # Of the joined text: an empty value and a separator, then each value after its separator. The last byte of a
        # match lies in its value, or is the separator that closes it.
        starts = offsets[:-1].astype(np.int64) - offsets[0] + np.arange(1, width)
        value = np.searchsorted(starts, pairs[:, 1] - 1, side="right") - 1
        if len(views.fields) > 1:
            column = np.searchsorted(self._bounds, value, side="right") - 1
            mine = owned[pairs[:, 0], column]
            value, pattern = value[mine], pairs[mine, 0]
        else:
            pattern = pairs[:, 0]
        self._keys = np.sort(pattern * width + value)
        self._width = width

    def __iter__(self) -> Iterator[tuple[int, int, int, Array]]:
        patterns, found = np.divmod(self._keys, self._width)
        if not len(found):
            return
        columns = np.searchsorted(self._bounds, found, side="right") - 1
        cuts = np.flatnonzero((np.diff(patterns) != 0) | (np.diff(columns) != 0)) + 1
        edges = [0, *cuts.tolist(), len(found)]
        firsts = edges[:-1]
        for left, right, pattern, column in zip(
            firsts, edges[1:], patterns[firsts].tolist(), columns[firsts].tolist(), strict=True
        ):
            indices = found[left:right]
            if right - left > 1:
                keep = np.empty(right - left, bool)
                keep[0] = True
                np.not_equal(indices[1:], indices[:-1], out=keep[1:])
                indices = indices[keep]
            yield pattern, column, right - left, indices - self._bounds[column] if column else indices


@lru_cache(maxsize=8192)
def _expression(pattern: str) -> Any:
    return re2.compile(pattern)


def single(atom: Atom, texts: pa.StringArray) -> Array:
    """One string atom over values that are already folded where the atom folds; a boolean per value."""
    argument = atom.argument
    if atom.kind == "text":
        return np.ones(len(texts), bool)
    if atom.kind in ("re", "wild"):
        pattern = argument if atom.kind == "re" else argument[0]
        if len(texts) <= FEW_VALUES:
            search = _expression(pattern).search
            return np.array([search(text) is not None for text in texts.to_pylist()], bool)
        found = pc.match_substring_regex(texts, pattern)
    elif atom.kind == "eq":
        found = pc.equal(texts, argument)
    else:
        test = {"contains": pc.match_substring, "startswith": pc.starts_with, "endswith": pc.ends_with}[atom.kind]
        found = test(texts, argument)
    return np.asarray(found.to_numpy(zero_copy_only=False))


class _Hyperscan:
    """A literal database over bytes."""

    def __init__(self, literals: list[bytes]) -> None:
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=literals,
            ids=list(range(len(literals))),
            elements=len(literals),
            flags=[0] * len(literals),
            literal=True,
        )

    def find(self, buffer: Any) -> Array:
        """(pattern, end offset) pairs, n x 2."""
        found = array("Q")
        self._database.scan(buffer, match_event_handler=_collect, context=found)
        packed = np.frombuffer(found, np.uint64) if found else np.zeros(0, np.uint64)
        return np.stack([packed >> 32, packed & 0xFFFFFFFF], axis=1).astype(np.int64)


def _collect(pattern: int, start: int, end: int, flags: int, context: array[int]) -> None:
    context.append(pattern << 32 | end)


class _AhoCorasick:
    """The same over ahocorasick_rs, where Hyperscan is missing."""

    def __init__(self, literals: list[bytes]) -> None:
        import ahocorasick_rs

        self._machine = ahocorasick_rs.BytesAhoCorasick(literals)

    def find(self, buffer: Any) -> Array:
        """(pattern, end offset) pairs, n x 2."""
        found = self._machine.find_matches_as_indexes(bytes(buffer), overlapping=True)
        return np.array([(pattern, end) for pattern, _, end in found], np.int64).reshape(-1, 2)


def _automaton(literals: list[bytes], engine: str) -> Any:
    if engine == "ahocorasick" or hyperscan is None:
        return _AhoCorasick(literals)
    return _Hyperscan(literals)


def _pairs(automaton: Any, texts: pa.StringArray) -> tuple[Array, int]:
    """((pattern, end offset) pairs over the joined texts, how many bytes were read)."""
    raw = pa.concat_arrays([_EDGE, texts.cast(pa.binary()), _EDGE])
    whole = pa.ListArray.from_arrays(pa.array([0, len(raw)], pa.int32()), raw)
    joined = pc.binary_join(whole, SEPARATOR)[0].as_buffer()
    return automaton.find(memoryview(joined)), joined.size


_EDGE = pa.array([b""], pa.binary())
