"""The columnar engine: every atom once per batch and distinct value, every rule only on the rows that could match it.

`Program` is a set of conditions compiled for one kind of frame; `evaluate.Run` is one of its runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from csirt.detect.atoms import STRING_KINDS, Atom, Node, Plan, leaves, plans, simplify
from csirt.detect.columns.columns import Column, could_be_written
from csirt.detect.columns.intervals import Intervals
from csirt.detect.columns.physical import Physical
from csirt.detect.columns.values import address_bounds
from csirt.detect.engine.branches import Jumps
from csirt.detect.engine.budget import Budget
from csirt.detect.engine.evaluate import Run, Witnesses
from csirt.detect.engine.layout import Layout
from csirt.detect.engine.numbered import Numbered, Wakes
from csirt.detect.engine.text import Scanner
from csirt.model.batch import Array

if TYPE_CHECKING:
    from csirt.detect.engine.verdicts import Verdicts


class Frame(Protocol):
    """Rows with logical columns."""

    rows: int

    def column(self, name: str) -> Column | None:
        """The column of that name, or None when no row has the field."""

    def names(self) -> Sequence[str]:
        """All columns a keyword looks into."""

    def written(self) -> Collection[str]:
        """Columns that are known to be no text before they are made."""

    def physical(self) -> Physical | None:
        """Its columns of text, one to a row, as a table of addresses; None where it has none ready."""


# A frame of fewer rows is done before the compiled loops were loaded.
FEW_ROWS = 256
# A condition whose candidates are more than this share of a frame tries other witnesses, once in so many frames;
# results never depend on the choice.
HEAVY_ROWS = 500
HEAVY_SHARE = 100
LEARN_EVERY = 512


class Program:
    """Conditions compiled together; `run` gives the matching rows of each. Not thread-safe: it learns.

    `budget`: CPU seconds an expression may take of one frame, None without bound. `overrun`: conditions that are
    switched off because one of theirs took more.
    """

    def __init__(self, conditions: Sequence[Node], *, engine: str = "auto", budget: float | None = None) -> None:
        self._choices: list[list[Plan]] = [plans(simplify(condition)) for condition in conditions]
        self._budget = Budget(budget)
        self._keyword_kinds: dict[str, bool] = {}
        self._in_writings: dict[Atom, bool] = {}
        self._frames = 0
        self._tried: dict[int, int] = {}
        self.overrun: set[int] = set()
        self._fields_of: dict[int, frozenset[str] | None] = {}
        self.layouts: dict[tuple[tuple[str, ...], tuple[str, ...]], Layout] = {}
        by_field: dict[str | None, dict[Atom, None]] = defaultdict(dict)
        for atom in self._atoms():
            by_field[atom.field][atom] = None
        self.keywords = [atom for atom in by_field.pop(None, {}) if atom.kind in STRING_KINDS]
        self.texts: dict[str, list[Atom]] = {}
        self.intervals: dict[str, Intervals] = {}
        for field, group in by_field.items():
            texts = [atom for atom in group if atom.kind in STRING_KINDS]
            ranges = [atom for atom in group if address_bounds(atom) is not None]
            if field is not None and texts:
                self.texts[field] = texts
            if field is not None and ranges:
                self.intervals[field] = Intervals(ranges)
        self.scanner = Scanner({**self.texts, "": self.keywords}, engine=engine, budget=self._budget)
        self.alone = frozenset(atom for field in self.texts for atom in self.scanner.alone(field))
        self.numbered = Numbered(self._atoms(), self.scanner)
        self.jumps = Jumps(self.numbered.numbers)
        self._choose([choice[0] for choice in self._choices])

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
        for choice in self._choices:
            for item in choice:
                yield from item.witnesses
                if item.rest is not None:
                    yield from leaves(item.rest)

    def _choose(self, chosen: list[Plan]) -> None:
        """Evaluate by these plans from now on."""
        self.plans = chosen
        self.starts = self.jumps.take(chosen)
        self.dense = [index for index, item in enumerate(chosen) if not item.witnesses and index not in self.overrun]
        self.wakes = Wakes(self.numbered, chosen, self.overrun)
        self.witnesses = self._by_field(np.flatnonzero(self.wakes.witness))

    def _by_field(self, numbers: Array) -> dict[str, Witnesses]:
        grouped: dict[str, list[Atom]] = defaultdict(list)
        for number in numbers.tolist():
            atom = self.numbered.atoms[number]
            grouped[atom.field or ""].append(atom)
        return {field: self._witnesses(field, group) for field, group in grouped.items()}

    def _witnesses(self, field: str, group: list[Atom]) -> Witnesses:
        alone = self.scanner.alone(field)
        return Witnesses(
            frozenset(atom for atom in group if atom.kind in STRING_KINDS),
            [atom for atom in group if atom.kind not in STRING_KINDS],
            [atom for atom in group if atom.kind not in STRING_KINDS or atom in alone],
            np.array([self.numbered.numbers[atom] for atom in group], np.int64),
        )

    def run(self, frame: Frame) -> dict[int, Array]:
        """Condition index -> sorted rows that match; conditions that match nowhere are left out."""
        self._budget.start()
        run = Run(self, frame)
        # Nobody that knows the frame is known by what it knows: a circle would keep frames until garbage is looked for.
        looked = _verdicts(run) if frame.rows >= max(FEW_ROWS, 1) else run
        found = looked.results()
        self._frames += 1
        if self._budget.spent:
            self._switch_off()
            found = {index: where for index, where in found.items() if index not in self.overrun}
        self._learn(run, looked.counts)
        return found

    def _switch_off(self) -> None:
        """Conditions with an expression that overran never match again."""
        spent = self._budget.spent.keys()
        over = {index for index, choice in enumerate(self._choices) if spent & _all(choice[0])}
        if over - self.overrun:
            self.overrun |= over
            self._choose(self.plans)

    def _learn(self, run: Run, counts_of: Callable[[Mapping[str, Witnesses]], dict[Atom, int]]) -> None:
        """For conditions with many candidates choose the witnesses that hold on the fewest rows of this frame."""
        heavy = [
            index
            for index, count in run.candidates.items()
            if count > HEAVY_ROWS
            and count * HEAVY_SHARE > run.rows
            and len(self._choices[index]) > 1
            and self._frames >= self._tried.get(index, 0)
        ]
        if not heavy:
            return
        atoms = dict.fromkeys(atom for index in heavy for item in self._choices[index] for atom in item.witnesses)
        numbers = np.array([self.numbered.numbers[atom] for atom in atoms], np.int64)
        counts = counts_of(self._by_field(numbers))
        chosen = list(self.plans)
        for index in heavy:
            self._tried[index] = self._frames + LEARN_EVERY
            chosen[index] = min(
                self._choices[index], key=lambda item: sum(counts.get(atom, 0) for atom in item.witnesses)
            )
        self._choose(chosen)


def _verdicts(run: Run) -> Verdicts:
    from csirt.detect.engine.verdicts import Verdicts  # with its compiled loops

    return Verdicts(run)


def _all(plan: Plan) -> set[Atom]:
    return {*plan.witnesses, *(leaves(plan.rest) if plan.rest is not None else ())}
