"""The atoms of a program by number: results of many atoms are arrays, with no object per atom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from csirt.detect.atoms import STRING_KINDS, Atom, Plan
from csirt.detect.columns import values
from csirt.detect.engine.branches import ALWAYS, NEVER, OPEN
from csirt.detect.engine.rows import Equal
from csirt.detect.engine.text import Scanner
from csirt.model.batch import Array

# As `walk` knows them.
OPERATORS = ("eq", "lt", "lte", "gt", "gte")


class Numbered:
    """By number of an atom: `field`, its place in `fields` (of a keyword their number); `scanned`: the literal scan
    says where it may hold; `sure`: and there it does; `absent`: what is known when no row has its field. `heads` and
    `owners`: the atoms of each literal of the scanner."""

    def __init__(self, atoms: Iterable[Atom], scanner: Scanner) -> None:
        self.atoms = list(dict.fromkeys(atoms))
        self.numbers = {atom: number for number, atom in enumerate(self.atoms)}
        self.fields = [name for name in dict.fromkeys(atom.field for atom in self.atoms) if name is not None]
        self.places = {name: place for place, name in enumerate(self.fields)}
        self.field = np.array([self.places.get(atom.field or "", len(self.places)) for atom in self.atoms], np.int32)
        self.scanned = np.array(
            [atom.kind in STRING_KINDS and atom not in scanner.alone(atom.field or "") for atom in self.atoms], bool
        )
        self.sure = self.scanned & np.array([atom.kind not in ("wild", "re") for atom in self.atoms], bool)
        self.absent = np.array([_absent(atom) for atom in self.atoms], np.uint8)
        self.texts = np.zeros(len(self.fields), bool)
        self.texts[self.field[self.scanned & (self.field < len(self.fields))]] = True
        owners = [[self.numbers[atom] for atom in group] for group in scanner.owners()]
        self.heads = np.cumsum([0, *map(len, owners)])
        self.owners = np.array([number for group in owners for number in group], np.int64)
        self._of_plan: dict[int, Array] = {}  # by the plan's identity: the program keeps them all

    def of_plan(self, plan: Plan) -> Array:
        """The witnesses of one of the program's plans."""
        found = self._of_plan.get(id(plan))
        if found is None:
            found = self._of_plan[id(plan)] = np.array([self.numbers[atom] for atom in plan.witnesses], np.int64)
        return found

    @cached_property
    def compared(self) -> dict[str, Compared]:
        """By field what is asked of whole numbers."""
        asked: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for number, atom in enumerate(self.atoms):
            wanted = values.wanted_number(atom) if atom.field is not None else None
            if wanted is None or not (isinstance(wanted[1], int) or wanted[1].is_integer()):
                continue
            if abs(wanted[1]) < 1 << 63:
                asked[atom.field or ""].append((number, OPERATORS.index(wanted[0]), int(wanted[1])))
        return {field: Compared(*np.array(rows, np.int64).T.copy()) for field, rows in asked.items()}

    @cached_property
    def networks(self) -> dict[str, list[int]]:
        """By field the ranges of addresses that are asked of it."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, atom in enumerate(self.atoms):
            if atom.kind == "cidr":
                found[atom.field or ""].append(number)
        return found

    def by_field(self, numbers: Array) -> dict[str, Witnesses]:
        """Atoms by field, keywords under ""."""
        fields = self.field[numbers]
        order = np.argsort(fields, kind="stable")
        pieces = np.split(numbers[order], np.flatnonzero(np.diff(fields[order])) + 1)
        names = [*self.fields, ""]
        return {names[self.field[piece[0]]]: Witnesses(self, piece) for piece in pieces if len(piece)}


@dataclass(frozen=True, slots=True)
class Compared:
    """The atoms of a field that compare whole numbers: their numbers, places in `OPERATORS`, and what is wanted."""

    numbers: Array
    operators: Array
    wanted: Array


class Witnesses:
    """The witness atoms of one field ("": keywords): `numbers`; the atoms themselves as they are asked for."""

    def __init__(self, numbered: Numbered, numbers: Array) -> None:
        self._numbered = numbered
        self.numbers = numbers
        self._equal: dict[np.dtype[Any], Equal] = {}

    @cached_property
    def strings(self) -> frozenset[Atom]:
        """Those that are tests of text."""
        return frozenset(atom for atom in self._atoms(self.numbers) if atom.kind in STRING_KINDS)

    @cached_property
    def others(self) -> list[Atom]:
        """Those that are not."""
        return [atom for atom in self._atoms(self.numbers) if atom.kind not in STRING_KINDS]

    @cached_property
    def looked(self) -> list[Atom]:
        """Those that no scan of text finds."""
        return self._atoms(self.numbers[~self._numbered.scanned[self.numbers]])

    def equal(self, kind: np.dtype[Any]) -> Equal:
        """What they ask of numbers of that type."""
        if kind not in self._equal:
            self._equal[kind] = Equal([*self.strings, *self.others], kind)
        return self._equal[kind]

    def _atoms(self, numbers: Array) -> list[Atom]:
        return [self._numbered.atoms[number] for number in numbers.tolist()]


def _absent(atom: Atom) -> int:
    return OPEN if atom.field is None else ALWAYS if atom.kind == "null" else NEVER


class Wakes:
    """Which atoms wake which conditions: of atom `a`, `conditions[heads[a] : heads[a + 1]]`."""

    def __init__(self, numbered: Numbered, plans: Sequence[Plan], off: Iterable[int]) -> None:
        awake = dict(enumerate(plans))
        for index in off:
            awake.pop(index)
        numbers = [numbered.of_plan(plan) for plan in awake.values()]
        owners = np.repeat(np.array(list(awake), np.int64), [len(some) for some in numbers])
        atoms = np.concatenate([*numbers, np.empty(0, np.int64)])
        order = np.argsort(atoms, kind="stable")
        self.conditions = owners[order]
        self.heads = np.searchsorted(atoms[order], np.arange(len(numbered.atoms) + 1))
        self.witness = np.diff(self.heads) > 0

    def of(self, atoms: Array) -> tuple[Array, Array, Array]:
        """The conditions that some atoms wake, sorted, the edges of each in what comes third: places in `atoms`."""
        counts = self.heads[atoms + 1] - self.heads[atoms]
        places = np.repeat(np.arange(len(atoms)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        conditions = self.conditions[self.heads[atoms][places] + within]
        order = np.argsort(conditions, kind="stable")
        found = conditions[order]
        edges = np.flatnonzero(np.diff(found, prepend=-1, append=-1)) if len(found) else np.zeros(1, np.int64)
        return found[edges[:-1]], edges, places[order]
