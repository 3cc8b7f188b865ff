"""Conditions compiled for one kind of frame: their atoms, what finds each, and which of them wake which condition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from csirt.detect.atoms import STRING_KINDS, Atom, Node, Plan, leaves, plans, simplify
from csirt.detect.columns.columns import Column, could_be_written, in_numbers
from csirt.detect.columns.intervals import Intervals
from csirt.detect.columns.physical import Physical
from csirt.detect.columns.values import address_bounds
from csirt.detect.engine.branches import Jumps
from csirt.detect.engine.budget import Budget
from csirt.detect.engine.numbered import Numbered, Wakes, Witnesses
from csirt.detect.engine.text import Scanner


class Frame(Protocol):
    """Rows with logical columns."""

    rows: int

    def column(self, name: str) -> Column | None:
        """The column of that name, or None when no row has the field."""

    def names(self) -> Sequence[str]:
        """All columns a keyword looks into."""

    def written(self) -> Collection[str]:
        """Columns that are known to be no text before they are made."""

    def could_have(self, name: str) -> bool:
        """Whether a frame alike could have the column; True where that is not known."""

    def alike(self) -> object:
        """What all frames have that have columns of the same names and kinds; None where that is not known."""

    def physical(self) -> Physical | None:
        """Its columns of text as a table of addresses; None where it has none ready."""


class Compiled:
    """Conditions compiled together, and by which of their witnesses each is woken.

    `budget`: CPU seconds an expression may take of one frame, None without bound. `overrun`: conditions that are
    switched off because one of theirs took more. `in_numbers`: the keywords that numbers are searched for digit by
    digit, by the bit of each. `layouts`: what was planned once for frames alike (`layout.Layout`).
    """

    def __init__(self, conditions: Sequence[Node], *, engine: str = "auto", budget: float | None = None) -> None:
        self.choices: list[list[Plan]] = [plans(simplify(condition)) for condition in conditions]
        self.budget = Budget(budget)
        self._keyword_kinds: dict[str, bool] = {}
        self._in_writings: dict[Atom, bool] = {}
        self.overrun: set[int] = set()
        self._fields_of: dict[int, frozenset[str] | None] = {}
        self.layouts: dict[tuple[object, ...], Any] = {}
        by_field: dict[str | None, dict[Atom, None]] = defaultdict(dict)
        for atom in self._atoms():
            by_field[atom.field][atom] = None
        self.keywords = [atom for atom in by_field.pop(None, {}) if atom.kind in STRING_KINDS]
        self.in_numbers = in_numbers(self.keywords)
        self.texts: dict[str, list[Atom]] = {}
        self.intervals: dict[str, Intervals] = {}
        for field, group in by_field.items():
            texts = [atom for atom in group if atom.kind in STRING_KINDS]
            ranges = [atom for atom in group if address_bounds(atom) is not None]
            if field is not None and texts:
                self.texts[field] = texts
            if field is not None and ranges:
                self.intervals[field] = Intervals(ranges)
        self.scanner = Scanner({**self.texts, "": self.keywords}, engine=engine, budget=self.budget)
        self.alone = frozenset(atom for field in self.texts for atom in self.scanner.alone(field))
        self.numbered = Numbered(self._atoms(), self.scanner)
        self.jumps = Jumps(self.numbered.numbers)
        self.witnesses: dict[str, Witnesses] = {}
        self.choose([choice[0] for choice in self.choices])

    def keywords_of(self, column: Column) -> bool:
        """Whether any keyword can hold in a column of that kind."""
        if column.writing not in self._keyword_kinds:
            self._keyword_kinds[column.writing] = any(column.could_hold(atom) for atom in self.keywords)
        return self._keyword_kinds[column.writing]

    def in_writings(self, atom: Atom) -> bool:
        """Whether a keyword could be part of a number, an address or a time."""
        if atom not in self._in_writings:
            self._in_writings[atom] = could_be_written(atom)
        return self._in_writings[atom]

    def fields_of(self, condition: int) -> frozenset[str] | None:
        """The fields a condition looks at, where rows that have none of them are all alike to it; else None: a keyword
        looks everywhere, and a field that is there may have no value."""
        if condition not in self._fields_of:
            rest = self.plans[condition].rest
            atoms = list(leaves(rest)) if rest is not None else []
            names = [name for atom in atoms for name in (atom.field, atom.argument[0] if atom.kind == "field" else "")]
            alike = all(atom.field is not None and atom.kind != "exists" for atom in atoms)
            self._fields_of[condition] = frozenset(name for name in names if name) if alike else None
        return self._fields_of[condition]

    def _atoms(self) -> Iterable[Atom]:
        for choice in self.choices:
            for item in choice:
                yield from item.witnesses
                if item.rest is not None:
                    yield from leaves(item.rest)

    def choose(self, chosen: list[Plan]) -> None:
        """Evaluate by these plans from now on."""
        self.plans = chosen
        self.starts = self.jumps.take(chosen)
        self.dense = [index for index, item in enumerate(chosen) if not item.witnesses and index not in self.overrun]
        self.wakes = Wakes(self.numbered, chosen, self.overrun)
        # What is known of those of a field is found anew only where others were chosen.
        before, found = self.witnesses, self.numbered.by_field(np.flatnonzero(self.wakes.witness))
        self.witnesses = {
            name: before[name] if name in before and np.array_equal(before[name].numbers, some.numbers) else some
            for name, some in found.items()
        }
