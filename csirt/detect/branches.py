"""Conditions as jumps: each test says where to go on when it holds and when it does not.

All conditions of a program are one list of tests, so that one compiled loop (`walk.py`) can decide every (condition,
row) pair, with no object per condition, test or row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable

import numpy as np

from csirt.detect.atoms import STRING_KINDS, And, Atom, Leaf, Node, Not, Plan

# Where a jump ends.
MATCH, NO = -1, -2
# What is known of a test in a frame: nothing yet; it holds in no row, or in every; its column's codes say.
OPEN, NEVER, ALWAYS, CODES = 0, 1, 2, 3


class Jumps:
    """The conditions that plans leave to be tested. `tests`: the number of each test's atom; `holds` and `fails`: the
    test to go on with, `MATCH` or `NO`. `absent`: what is known of each atom when no row has its field."""

    def __init__(self) -> None:
        self.numbers: dict[Atom, int] = {}
        self.atoms: list[Atom] = []
        self._tests: list[tuple[int, int, int]] = []
        self._starts: dict[int, int] = {}  # by the plan's identity: the program keeps them all
        self._made = -1

    def take(self, plans: Iterable[Plan], alone: Container[Atom]) -> None:
        """Make ready for these plans. `alone`: atoms that no scan of their column decides."""
        for plan in plans:
            if id(plan) not in self._starts:
                self._starts[id(plan)] = MATCH if plan.rest is None else self._emit(plan.rest, MATCH, NO)
        if self._made == len(self._tests):
            return
        self._made = len(self._tests)
        table = np.array(self._tests, np.int32).reshape(-1, 3)
        self.tests, self.holds, self.fails = (np.ascontiguousarray(column) for column in table.T)
        self.absent = np.array([self._absent(atom) for atom in self.atoms], np.uint8)
        fields: dict[str, list[int]] = defaultdict(list)
        scanned: dict[str, list[int]] = defaultdict(list)
        for number, atom in enumerate(self.atoms):
            if atom.field is not None:
                fields[atom.field].append(number)
                if atom.kind in STRING_KINDS and atom not in alone:
                    scanned[atom.field].append(number)
        self.fields = {field: np.array(numbers) for field, numbers in fields.items()}
        self.scanned = {field: np.array(numbers) for field, numbers in scanned.items()}

    def start(self, plan: Plan) -> int:
        """The first test of a plan, or `MATCH`."""
        return self._starts[id(plan)]

    def _absent(self, atom: Atom) -> int:
        return OPEN if atom.field is None else ALWAYS if atom.kind == "null" else NEVER

    def _emit(self, node: Node, holds: int, fails: int) -> int:
        if isinstance(node, Leaf):
            number = self.numbers.setdefault(node.atom, len(self.atoms))
            if number == len(self.atoms):
                self.atoms.append(node.atom)
            self._tests.append((number, holds, fails))
            return len(self._tests) - 1
        if isinstance(node, Not):
            return self._emit(node.child, fails, holds)
        if isinstance(node, And):
            for child in reversed(node.children):
                holds = self._emit(child, holds, fails)
            return holds
        for child in reversed(node.children):
            fails = self._emit(child, holds, fails)
        return fails
