"""Conditions as jumps: each test says where to go on when it holds and when it does not.

All conditions of a program are one list of tests, so that one compiled loop (`walk.py`) can decide every (condition,
row) pair, with no object per condition, test or row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from csirt.detect.atoms import And, Atom, Leaf, Node, Not, Plan
from csirt.model.batch import Array

# Where a jump ends.
MATCH, NO = -1, -2
# What is known of a test in a frame: nothing yet; it holds in no row, or in every; its column's codes say; a byte per
# row says; a column of whole numbers says; it holds where a column of text has no value; or where it has one.
OPEN, NEVER, ALWAYS, CODES, MASK, WHOLE, EMPTY, FILLED = range(8)


class Jumps:
    """The conditions that plans leave to be tested. `tests`: the number of each test's atom; `holds` and `fails`: the
    test to go on with, `MATCH` or `NO`."""

    def __init__(self, numbers: Mapping[Atom, int]) -> None:
        self._numbers = numbers
        self._tests: list[tuple[int, int, int]] = []
        self._starts: dict[int, int] = {}  # by the plan's identity: the program keeps them all
        self.tests = self.holds = self.fails = np.empty(0, np.int32)

    def take(self, plans: Sequence[Plan]) -> Array:
        """Make ready for these plans; the first test of each, or `MATCH`."""
        for plan in plans:
            if id(plan) not in self._starts:
                self._starts[id(plan)] = MATCH if plan.rest is None else self._emit(plan.rest, MATCH, NO)
        made = len(self.tests)
        if made < len(self._tests):
            more = np.array(self._tests[made:], np.int32).T
            self.tests, self.holds, self.fails = map(
                np.concatenate, zip((self.tests, self.holds, self.fails), more, strict=True)
            )
        return np.array([self._starts[id(plan)] for plan in plans], np.int32)

    def _emit(self, node: Node, holds: int, fails: int) -> int:
        if isinstance(node, Leaf):
            self._tests.append((self._numbers[node.atom], holds, fails))
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
