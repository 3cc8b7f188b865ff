"""From distinct values to rows, for many atoms at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from csirt.detect.atoms import Atom
from csirt.detect.columns import values
from csirt.detect.columns.coded import Distinct
from csirt.detect.columns.columns import NumberColumn
from csirt.model.batch import Array

# So many comparisons cost less than loading the compiled loops.
FEW = 50_000


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


def of_numbers(column: NumberColumn, atoms: list[Atom], where: dict[Atom, Array]) -> list[Atom]:
    """Add to `where` the rows of all whole-number equalities of the column, found in one pass; the atoms left over."""
    numbers = column.numbers
    if numbers.dtype.kind not in "iu" or len(atoms) < 3:
        return atoms
    limits = np.iinfo(numbers.dtype)
    owners: dict[int, list[Atom]] = {}
    others: list[Atom] = []
    for atom in atoms:
        wanted = values.wanted_number(atom)
        if wanted is None or wanted[0] != "eq":
            others.append(atom)
        elif float(wanted[1]).is_integer() and limits.min <= wanted[1] <= limits.max:
            owners.setdefault(int(wanted[1]), []).append(atom)
    if not owners:
        return others
    rows, classes = _classes(column, np.array(sorted(owners), numbers.dtype))
    keys = sorted(owners)
    order = np.argsort(classes, kind="stable")
    rows, classes = rows[order], classes[order]
    cuts = np.flatnonzero(np.diff(classes)) + 1
    for piece, ids in zip(np.split(rows, cuts), np.split(classes, cuts), strict=True):
        if len(piece):
            for atom in owners[keys[int(ids[0])]]:
                where[atom] = piece
    return others


def _classes(column: NumberColumn, keys: Array) -> tuple[Array, Array]:
    """(rows whose number is one of the sorted keys, which key)."""
    numbers = column.numbers
    there = None if column.valid is None else np.flatnonzero(column.valid)
    if there is not None:
        numbers = numbers[there]
    if numbers.dtype.itemsize <= 2 and numbers.dtype.kind == "u":
        table = np.full(int(np.iinfo(numbers.dtype).max) + 1, -1, np.int32)
        table[keys] = np.arange(len(keys))
        every: Array = table[numbers]
        rows = np.flatnonzero(every >= 0)
        classes: Array = every[rows]
    else:
        place = np.minimum(np.searchsorted(keys, numbers), len(keys) - 1)
        rows = np.flatnonzero(keys[place] == numbers)
        classes = place[rows]
    return (rows if there is None else there[rows]), classes
