"""String atoms over the distinct values of a column: one pass for all of them, however many rules ask.

Equality goes through one hash look-up. Substrings, prefixes and suffixes go through one literal scan (Hyperscan, or
Aho-Corasick where Hyperscan has no wheel) over all values joined by the byte 0xFF, which no UTF-8 text contains, so a
value with line ends or any other character cannot be mistaken for two. Regexes run on RE2 (linear time).

Case: `fold` is Unicode simple lower-casing, for rules and values alike ('ß' is not 'ss'; 'İ' is 'i').
"""

from __future__ import annotations

import contextlib
import importlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.atoms import Atom
from csirt.model.batch import Array

hyperscan: Any = None
with contextlib.suppress(ImportError):  # no wheel for every machine
    hyperscan = importlib.import_module("hyperscan")

SEPARATOR = b"\xff"
# Fewer literals than this are cheaper one by one; shorter ones than two bytes hit too often for a scan's callback.
FEW_LITERALS = 4
LONGEST_LITERAL = 1000


def fold(text: str) -> str:
    """The text as case-insensitive comparison sees it."""
    lowered: str = pc.utf8_lower(pa.scalar(text, pa.string())).as_py()
    return lowered


class Scanner:
    """The string atoms of one field, compiled once; `scan` finds where each of them holds."""

    def __init__(self, atoms: Iterable[Atom], *, engine: str = "auto") -> None:
        self._equal: dict[bool, dict[str, list[Atom]]] = {False: defaultdict(list), True: defaultdict(list)}
        self._literals: dict[bool, dict[bytes, list[Atom]]] = {False: defaultdict(list), True: defaultdict(list)}
        self._single: list[Atom] = []
        for atom in dict.fromkeys(atoms):
            self._place(atom)
        for cased in (False, True):
            few = self._literals[cased]
            if 0 < len(few) < FEW_LITERALS or (engine == "arrow" and few):
                self._single += [atom for atoms_ in few.values() for atom in atoms_]
                few.clear()
        self._automata = {cased: _automaton(list(found), engine) for cased, found in self._literals.items() if found}
        self._sets = {
            cased: (pa.array(list(found), pa.string()), list(found.values()))
            for cased, found in self._equal.items()
            if found
        }

    def _place(self, atom: Atom) -> None:
        argument = atom.argument
        if atom.kind == "eq":
            self._equal[atom.cased][argument].append(atom)
            return
        literal = argument[1] if atom.kind == "wild" else argument if atom.kind != "re" else ""
        raw = literal.encode("utf-8", "surrogatepass") if isinstance(literal, str) else b""
        if not 2 <= len(raw) <= LONGEST_LITERAL or b"\0" in raw:  # Hyperscan's binding ends a literal at a zero byte
            self._single.append(atom)
            return
        before = SEPARATOR if atom.kind == "startswith" else b""
        after = SEPARATOR if atom.kind == "endswith" else b""
        self._literals[atom.cased][before + raw + after].append(atom)

    def scan(self, texts: pa.StringArray) -> dict[Atom, Array]:
        """Where each atom holds, as sorted indices into `texts` (no nulls); atoms that hold nowhere are left out."""
        hits: dict[Atom, Array] = {}
        if not len(texts):
            return hits
        views: dict[bool, pa.StringArray] = {True: texts}

        def view(cased: bool) -> pa.StringArray:
            if cased not in views:
                views[cased] = pc.utf8_lower(texts)
            return views[cased]

        for cased, (wanted, owners) in self._sets.items():
            _equalities(view(cased), wanted, owners, hits)
        for cased, automaton in self._automata.items():
            owners = list(self._literals[cased].values())
            values = view(cased)
            for pattern, found in _scan(automaton, values).items():
                for atom in owners[pattern]:
                    sure = found if atom.kind != "wild" else _verify(atom, values, found)
                    if len(sure):
                        hits[atom] = sure
        for atom in self._single:
            found = np.flatnonzero(single(atom, view(atom.cased or atom.kind == "re")))
            if len(found):
                hits[atom] = found
        return hits


def single(atom: Atom, values: pa.StringArray) -> Array:
    """One string atom over values that are already folded where the atom folds; a boolean per value."""
    argument = atom.argument
    if atom.kind == "text":
        return np.ones(len(values), bool)
    if atom.kind in ("re", "wild"):
        pattern = argument if atom.kind == "re" else argument[0]
        found = pc.match_substring_regex(values, pattern)
    elif atom.kind == "eq":
        found = pc.equal(values, argument)
    else:
        test = {"contains": pc.match_substring, "startswith": pc.starts_with, "endswith": pc.ends_with}[atom.kind]
        found = test(values, argument)
    return np.asarray(found.to_numpy(zero_copy_only=False))


def _verify(atom: Atom, values: pa.StringArray, found: Array) -> Array:
    return found[single(atom, values.take(pa.array(found)))]


def _equalities(values: pa.StringArray, wanted: pa.Array, owners: list[list[Atom]], hits: dict[Atom, Array]) -> None:
    where = pc.index_in(values, value_set=wanted)
    if where.null_count == len(values):
        return
    which = np.asarray(pc.fill_null(where, -1).to_numpy())
    rows = np.flatnonzero(which >= 0)
    order = rows[np.argsort(which[rows], kind="stable")]
    ranked = which[order]
    cuts = np.flatnonzero(np.diff(ranked)) + 1
    for piece in np.split(order, cuts):
        for atom in owners[int(which[piece[0]])]:
            hits[atom] = piece


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

    def find(self, buffer: bytes) -> Array:
        """(pattern, end offset) pairs, n x 2."""
        found: list[tuple[int, int]] = []
        self._database.scan(buffer, match_event_handler=_collect, context=found)
        return np.array(found, np.int64).reshape(-1, 2)


def _collect(pattern: int, start: int, end: int, flags: int, context: list[tuple[int, int]]) -> None:
    context.append((pattern, end))


class _AhoCorasick:
    """The same over ahocorasick_rs, where Hyperscan is missing."""

    def __init__(self, literals: list[bytes]) -> None:
        import ahocorasick_rs

        self._machine = ahocorasick_rs.BytesAhoCorasick(literals)

    def find(self, buffer: bytes) -> Array:
        """(pattern, end offset) pairs, n x 2."""
        found = self._machine.find_matches_as_indexes(buffer, overlapping=True)
        return np.array([(pattern, end) for pattern, _, end in found], np.int64).reshape(-1, 2)


def _automaton(literals: list[bytes], engine: str) -> Any:
    if engine == "ahocorasick" or hyperscan is None:
        return _AhoCorasick(literals)
    return _Hyperscan(literals)


def _scan(automaton: Any, values: pa.StringArray) -> dict[int, Array]:
    """pattern -> sorted distinct value indices."""
    raw = values.cast(pa.binary())
    lengths = np.asarray(pc.binary_length(raw).to_numpy()).astype(np.int64)
    starts = np.empty(len(values), np.int64)
    starts[0] = 1
    np.cumsum(lengths[:-1] + 1, out=starts[1:])
    starts[1:] += 1
    whole = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), raw)
    joined = pc.binary_join(whole, SEPARATOR)[0].as_py()
    pairs = automaton.find(SEPARATOR + joined + SEPARATOR)
    if not len(pairs):
        return {}
    # The last byte of a match lies in its value, or is the separator that closes it.
    value = np.searchsorted(starts, pairs[:, 1] - 1, side="right") - 1
    keys = np.unique(pairs[:, 0] * (len(values) + 1) + value)
    patterns, indices = keys // (len(values) + 1), keys % (len(values) + 1)
    cuts = np.flatnonzero(np.diff(patterns)) + 1
    return {int(ids[0]): found for ids, found in zip(np.split(patterns, cuts), np.split(indices, cuts), strict=True)}
