"""String atoms over the distinct values of a column: one pass for all of them, however many rules ask.

Equality goes through one hash look-up. Substrings, prefixes and suffixes go through one literal scan (Hyperscan, or
Aho-Corasick where Hyperscan has no wheel) over all values joined by the byte 0xFF, which no UTF-8 text contains, so a
value with line ends or any other character cannot be mistaken for two. Texts with wildcards and regexes take part in
that scan with a literal every match must hold; what it finds is then verified. Regexes run on RE2 (linear time).

Case: `fold` is Unicode simple lower-casing, for rules and values alike ('ß' is not 'ss'; 'İ' is 'i').
"""

from __future__ import annotations

import contextlib
import importlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    """The string atoms of one field, compiled once; `scan` finds where each of them holds. Not thread-safe: it learns
    which literals are noisy."""

    def __init__(self, atoms: Iterable[Atom], *, engine: str = "auto", budget: Budget | None = None) -> None:
        self._engine = engine
        self._budget = budget or Budget()
        self._equal: dict[bool, dict[str, list[Atom]]] = {False: defaultdict(list), True: defaultdict(list)}
        self._literals: dict[bool, dict[bytes, list[Atom]]] = {False: defaultdict(list), True: defaultdict(list)}
        self._single: list[Atom] = []
        # (atom, operator, number) of the texts that a number, as well as a text, can equal.
        self.numeric: list[tuple[Atom, str, values.Number]] = []
        for atom in dict.fromkeys(atoms):
            self._place(atom)
        for cased in (False, True):
            few = self._literals[cased]
            if 0 < len(few) < FEW_LITERALS or engine == "arrow":
                self._alone(cased, list(few))
        self._automata: dict[bool, Any] = {}
        self._sets = {
            cased: (pa.array(list(found), pa.string()), list(found.values()))
            for cased, found in self._equal.items()
            if found
        }

    def _place(self, atom: Atom) -> None:
        argument = atom.argument
        if atom.kind == "eq":
            self._equal[atom.cased][argument].append(atom)
            wanted_number = values.wanted_number(atom)
            if wanted_number is not None:
                self.numeric.append((atom, *wanted_number))
            return
        if atom.kind == "re":
            wanted: tuple[str, ...] = tuple(map(fold, required.literals(argument)))
        else:
            wanted = (argument[1],) if atom.kind == "wild" else (argument,) if atom.kind != "text" else ()
        before = SEPARATOR if atom.kind == "startswith" else b""
        after = SEPARATOR if atom.kind == "endswith" else b""
        raw = [before + literal.encode("utf-8", "surrogatepass") + after for literal in wanted]
        # Hyperscan's binding ends a literal at a zero byte.
        if not raw or any(not 2 <= len(item) - len(before + after) <= LONGEST_LITERAL or b"\0" in item for item in raw):
            self._single.append(atom)
            return
        for item in raw:
            self._literals[atom.cased][item].append(atom)

    def _alone(self, cased: bool, literals: Iterable[bytes]) -> None:
        """Look for the atoms of these literals one by one."""
        table = self._literals[cased]
        moved = {atom: None for literal in literals for atom in table[literal]}
        self._single += moved
        for literal in list(table):
            table[literal] = [atom for atom in table[literal] if atom not in moved]
            if not table[literal]:
                del table[literal]

    def scan(self, texts: pa.StringArray) -> dict[Atom, Array]:
        """Where each atom holds, as sorted indices into `texts` (no nulls); atoms that hold nowhere are left out."""
        hits: dict[Atom, Array] = {}
        if not len(texts):
            return hits
        views: dict[bool, pa.StringArray] = {True: texts}

        def view(cased: bool) -> pa.StringArray:
            if cased not in views:
                views[cased] = folded(texts)
            return views[cased]

        for cased, (wanted, owners) in self._sets.items():
            _equalities(view(cased), wanted, owners, hits)
        alone = list(self._single)
        for cased, literals in self._literals.items():
            if literals:
                self._scan(cased, view(cased), texts, hits)
        for atom in alone:
            mask = self._alone_mask(atom, view(atom.cased or atom.kind == "re"))
            found = np.flatnonzero(mask)
            if len(found):
                hits[atom] = found
        return hits

    def _scan(self, cased: bool, view: pa.StringArray, texts: pa.StringArray, hits: dict[Atom, Array]) -> None:
        """One pass for all literals; what only may hold is verified."""
        if cased not in self._automata:
            self._automata[cased] = _automaton(list(self._literals[cased]), self._engine)
        names = list(self._literals[cased])
        pieces: dict[Atom, list[Array]] = {}
        noisy: list[bytes] = []
        pairs, size = _pairs(self._automata[cased], view)
        for pattern, count, found in _by_pattern(pairs, view):
            if count > NOISY_HITS and count > size // NOISY_BYTES:
                noisy.append(names[pattern])
            for atom in self._literals[cased][names[pattern]]:
                pieces.setdefault(atom, []).append(found)
        for atom, parts in pieces.items():
            found = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
            if atom.kind in ("wild", "re"):
                source = texts if atom.kind == "re" else view
                everywhere = len(found) == len(source)
                mask = self._alone_mask(atom, source if everywhere else source.take(pa.array(found)))
                found = found[mask]
            if len(found):
                hits[atom] = found
        if noisy:
            self._alone(cased, noisy)
            del self._automata[cased]

    def _alone_mask(self, atom: Atom, texts: pa.StringArray) -> Array:
        """One atom over values, within its budget."""
        if atom.kind not in ("wild", "re"):
            return single(atom, texts)
        return self._budget.run(atom, texts, single)


def single(atom: Atom, texts: pa.StringArray) -> Array:
    """One string atom over values that are already folded where the atom folds; a boolean per value."""
    argument = atom.argument
    if atom.kind == "text":
        return np.ones(len(texts), bool)
    if atom.kind in ("re", "wild"):
        pattern = argument if atom.kind == "re" else argument[0]
        found = pc.match_substring_regex(texts, pattern)
    elif atom.kind == "eq":
        found = pc.equal(texts, argument)
    else:
        test = {"contains": pc.match_substring, "startswith": pc.starts_with, "endswith": pc.ends_with}[atom.kind]
        found = test(texts, argument)
    return np.asarray(found.to_numpy(zero_copy_only=False))


def _equalities(texts: pa.StringArray, wanted: pa.Array, owners: list[list[Atom]], hits: dict[Atom, Array]) -> None:
    where = pc.index_in(texts, value_set=wanted)
    if where.null_count == len(texts):
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

    def find(self, buffer: Any) -> Array:
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


def _by_pattern(pairs: Array, texts: pa.StringArray) -> Iterator[tuple[int, int, Array]]:
    """(pattern, how often it was found, sorted distinct value indices)."""
    if not len(pairs):
        return
    _, offsets = values.text_buffers(texts)
    # Of the joined text: an empty value and a separator, then each value after its separator.
    starts = offsets[:-1].astype(np.int64) - offsets[0] + np.arange(1, len(offsets))
    # The last byte of a match lies in its value, or is the separator that closes it.
    found = np.searchsorted(starts, pairs[:, 1] - 1, side="right") - 1
    width = len(texts) + 1
    keys = np.sort(pairs[:, 0] * width + found)
    patterns = keys // width
    cuts = np.flatnonzero(np.diff(patterns)) + 1
    starts_at = [0, *cuts.tolist()]
    for left, right in zip(starts_at, [*starts_at[1:], len(keys)], strict=True):
        indices = keys[left:right] % width
        if right - left > 1:
            keep = np.empty(right - left, bool)
            keep[0] = True
            np.not_equal(indices[1:], indices[:-1], out=keep[1:])
            indices = indices[keep]
        yield int(patterns[left]), right - left, indices
