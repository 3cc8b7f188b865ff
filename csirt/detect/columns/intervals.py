"""All the address ranges that rules ask of one field, looked up together.

The ranges cut the address space into disjoint intervals; one binary search per address says in which of them it lies,
and each interval knows the atoms that hold there.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from csirt.detect.atoms import Atom
from csirt.detect.columns import values
from csirt.model.batch import Array


class Intervals:
    """The address atoms of one field. `owners`: the atoms of each class of addresses."""

    def __init__(self, atoms: Iterable[Atom]) -> None:
        self.atoms = frozenset(atoms)
        atoms = sorted(self.atoms, key=repr)
        self.owners: list[tuple[Atom, ...]] = []
        self._four = _Family(4, atoms, self.owners)
        self._six = _Family(6, atoms, self.owners)

    def classes(self, family: Array, high: Array, low: Array) -> Array:
        """The class of each address, -1 where no atom holds."""
        found = np.full(len(family), -1, np.int32)
        four, six = np.flatnonzero(family == 4), np.flatnonzero(family == 6)
        if len(four) and len(self._four.classes):
            found[four] = self._four.find(low[four])
        if len(six) and len(self._six.classes):
            octets = np.ascontiguousarray(np.stack([high[six], low[six]], axis=1).astype(">u8"))
            found[six] = self._six.find(octets.view("S16").reshape(-1))
        return found

    def hits(self, family: Array, high: Array, low: Array) -> dict[Atom, Array]:
        """Where each atom holds, as sorted positions; atoms that hold nowhere are left out."""
        classes = self.classes(family, high, low)
        inside = np.flatnonzero(classes >= 0)
        if not len(inside):
            return {}
        order = inside[np.argsort(classes[inside], kind="stable")]
        ranked = classes[order]
        pieces: dict[Atom, list[Array]] = {}
        for piece in np.split(order, np.flatnonzero(np.diff(ranked)) + 1):
            for atom in self.owners[int(classes[piece[0]])]:
                pieces.setdefault(atom, []).append(piece)
        return {atom: part[0] if len(part) == 1 else np.sort(np.concatenate(part)) for atom, part in pieces.items()}


class _Family:
    """The intervals of one address family: `starts` sorted, `classes` the index of each interval's owners, or -1."""

    def __init__(self, family: int, atoms: Iterable[Atom], owners: list[tuple[Atom, ...]]) -> None:
        events: dict[int, tuple[list[Atom], list[Atom]]] = {}
        for atom in atoms:
            bounds = values.address_bounds(atom)
            if bounds is not None and bounds[0] == family:
                events.setdefault(bounds[1], ([], []))[0].append(atom)
                events.setdefault(bounds[2] + 1, ([], []))[1].append(atom)
        points = sorted(events)
        kept: list[int] = []
        open_: dict[Atom, None] = {}
        for point in points:
            for atom in events[point][1]:
                open_.pop(atom, None)
            open_.update(dict.fromkeys(events[point][0]))
            kept.append(len(owners) if open_ else -1)
            if open_:
                owners.append(tuple(open_))
        self.classes = np.array(kept, np.int32)
        # The end of the address space is no address: nothing can lie behind it.
        inside = [point for point in points if point < 1 << (32 if family == 4 else 128)]
        self.classes = self.classes[: len(inside)]
        if family == 4:
            self.starts: Array = np.array(inside, np.uint64)
        else:
            self.starts = np.array([point.to_bytes(16, "big") for point in inside], "S16")

    def find(self, addresses: Array) -> Array:
        """The class of each address."""
        place = np.searchsorted(self.starts, addresses, side="right") - 1
        found: Array = np.where(place >= 0, self.classes[place], -1)
        return found
