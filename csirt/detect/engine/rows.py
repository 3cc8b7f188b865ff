"""From distinct values to rows, for many atoms at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from csirt.detect.atoms import Atom
from csirt.detect.columns import values
from csirt.detect.columns.coded import Distinct
from csirt.detect.columns.columns import NumberColumn
from csirt.model.batch import Array

# So many comparisons cost less than loading the compiled loops; so do so many numbers.
FEW = 50_000
FEW_NUMBERS = 4096
# Of fewer atoms each looks at the numbers itself.
FEW_ATOMS = 3
# Numbers that lie no further apart are looked up in a table.
MOST_SPAN = 1 << 16
_ALL = np.empty(0, bool)


def of_distinct(found: Distinct, hits: Mapping[Atom, Array], where: dict[Atom, Array]) -> None:
    """Add to `where` the sorted rows of each atom, of which `hits` has the distinct values it holds for."""
    if not hits:
        return
    members, codes = found.members()
    pieces = _few(members, codes, hits, len(found.texts)) if len(codes) * len(hits) <= FEW else None
    if pieces is None:
        pieces = _many(members, codes, list(hits.values()), len(found.texts))
    for atom, rows in zip(hits, pieces, strict=True):
        if found.parents is not None:
            rows = np.unique(found.parents[rows])
        if len(rows):
            where[atom] = rows


def union(pieces: Sequence[Array], count: int) -> Array:
    """The rows, of so many, that are in one of some sorted pieces."""
    if len(pieces) == 1:
        return pieces[0]
    if sum(map(len, pieces)) * 16 < count:
        return np.unique(np.concatenate(pieces))
    mask = np.zeros(count, bool)
    for piece in pieces:
        mask[piece] = True
    return np.flatnonzero(mask)


def _few(members: Array, codes: Array, hits: Mapping[Atom, Array], count: int) -> Iterator[Array]:
    for indices in hits.values():
        if len(indices) == 1:
            yield members[codes == indices[0]]
        else:
            accept = np.zeros(count, bool)
            accept[indices] = True
            yield members[accept[codes]]


def _many(members: Array, codes: Array, hits: Sequence[Array], count: int) -> Iterator[Array]:
    """All in two passes over the members: how many each atom has, and which."""
    from csirt.detect.columns import kernels

    values_ = np.concatenate(hits)
    order = np.argsort(values_, kind="stable")
    owners = np.repeat(np.arange(len(hits), dtype=np.int32), [len(indices) for indices in hits])[order]
    heads = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(values_, minlength=count), out=heads[1:])
    counts = np.zeros(len(hits), np.int64)
    kernels.spread(codes, heads, owners, counts)
    ends = np.cumsum(counts)
    found = np.empty(int(ends[-1]), np.int64)
    kernels.gathered(members, codes, heads, owners, ends - counts, found)
    for start, end in zip((ends - counts).tolist(), ends.tolist(), strict=True):
        yield found[start:end]


class Equal:
    """The whole numbers that atoms ask a column of one type for, prepared once. `left`: the atoms that ask for more."""

    def __init__(self, atoms: Sequence[Atom], kind: np.dtype[Any]) -> None:
        owners: dict[int, list[Atom]] = {}
        self.left: list[Atom] = list(atoms)
        if kind.kind in "iu" and len(atoms) >= FEW_ATOMS:
            self.left = []
            limits = np.iinfo(kind)
            for atom in atoms:
                wanted = values.wanted_number(atom)
                if wanted is None or wanted[0] != "eq":
                    self.left.append(atom)
                elif limits.min <= wanted[1] <= limits.max and float(wanted[1]).is_integer():
                    owners.setdefault(int(wanted[1]), []).append(atom)
        self._keys = np.array(sorted(owners), kind)
        self._owners = [owners[key] for key in sorted(owners)]
        # By how much each is more than the least; None where they lie too far apart, or are beyond the loop's numbers.
        self._table: Array | None = None
        if owners and max(owners) - min(owners) < MOST_SPAN and kind != np.uint64:
            self._table = np.full(max(owners) - min(owners) + 1, -1, np.int32)
            self._table[[key - min(owners) for key in sorted(owners)]] = np.arange(len(owners))

    def find(self, column: NumberColumn, where: dict[Atom, Array]) -> None:
        """Add to `where` the rows of each atom but those that are `left`."""
        if not self._owners:
            return
        edges, found = self._compiled(column) if column.rows >= FEW_NUMBERS else self._sorted(column)
        for number in np.flatnonzero(edges[1:] > edges[:-1]).tolist():
            for atom in self._owners[number]:
                where[atom] = found[edges[number] : edges[number + 1]]

    def _compiled(self, column: NumberColumn) -> tuple[Array, Array]:
        """(where the rows of each key begin and end, rows)."""
        if self._table is None:
            return self._sorted(column)
        from csirt.detect.columns import kernels

        edges, found = np.zeros(len(self._keys) + 1, np.int64), np.empty(column.rows, np.int64)
        valid, seen = _ALL if column.valid is None else column.valid, np.empty((column.rows, 2), np.int32)
        kernels.by_number(column.numbers, valid, int(self._keys[0]), self._table, seen, edges, found)
        return edges, found

    def _sorted(self, column: NumberColumn) -> tuple[Array, Array]:
        """As `_compiled`."""
        numbers, keys = column.numbers, self._keys
        there = None if column.valid is None else np.flatnonzero(column.valid)
        if there is not None:
            numbers = numbers[there]
        place = np.minimum(np.searchsorted(keys, numbers), len(keys) - 1)
        rows = np.flatnonzero(keys[place] == numbers)
        classes = place[rows]
        order = np.argsort(classes, kind="stable")
        found = rows[order] if there is None else there[rows[order]]
        return np.searchsorted(classes[order], np.arange(len(keys) + 1)), found
