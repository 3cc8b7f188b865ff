"""From distinct values to rows, for many atoms at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from csirt.detect import values
from csirt.detect.atoms import Atom
from csirt.detect.columns import Distinct, NumberColumn
from csirt.model.batch import Array

# An atom that holds for more distinct values than this is looked up row by row.
MANY = 64


def of_distinct(found: Distinct, hits: Mapping[Atom, Array], where: dict[Atom, Array]) -> None:
    """Add to `where` the sorted rows of each atom, of which `hits` has the distinct values it holds for."""
    if not hits:
        return
    accept = np.zeros(len(found.texts) + 1, bool)
    for indices in hits.values():
        accept[indices] = True
    members = np.flatnonzero(accept[found.codes])
    codes = found.codes[members]
    order = np.argsort(codes, kind="stable") if len(hits) > 1 else None
    ranked = codes if order is None else codes[order]
    for atom, indices in hits.items():
        if order is None:
            rows = members
        elif len(indices) > MANY:
            mine = np.zeros(len(accept), bool)
            mine[indices] = True
            rows = members[mine[codes]]
        else:
            left = np.searchsorted(ranked, indices)
            right = np.searchsorted(ranked, indices, side="right")
            if len(indices) == 1:
                rows = members[order[left[0] : right[0]]]
            else:
                pieces = [order[a:b] for a, b in zip(left.tolist(), right.tolist(), strict=True)]
                rows = members[np.sort(np.concatenate(pieces))]
        if found.parents is not None:
            rows = np.unique(found.parents[rows])
        if len(rows):
            where[atom] = rows


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
    if column.valid is not None:
        sure = column.valid[rows]
        rows, classes = rows[sure], classes[sure]
    return rows, classes
