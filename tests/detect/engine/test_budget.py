"""An expression that takes too long is switched off; everything else goes on."""

from __future__ import annotations

import pyarrow as pa
import pytest

from csirt.clock import SYSTEM
from csirt.detect.atoms import And, Atom, Leaf, Not
from csirt.detect.columns.tables import from_table
from csirt.detect.engine.budget import Budget
from csirt.detect.engine.engine import Program

SLOW = Atom("f", "re", "(?:[ab][a-z]{0,900}){1}x$")
FRAME = pa.table({"f": [("ab" * 2000) + str(number) for number in range(300)]})
OTHERS = [Leaf(Atom("f", "endswith", "17")), Leaf(Atom("f", "startswith", "abab"))]


def test_a_rule_that_overruns_is_off_and_the_others_are_not() -> None:
    """Its condition is named and matches nothing, not even by a negation; the cost ends with the budget."""
    program = Program([Not(Leaf(SLOW)), *OTHERS, And((Leaf(Atom("f", "contains", "b1")), Leaf(SLOW)))], budget=0.001)
    found = program.run(from_table(FRAME))
    assert program.overrun == {0, 3}
    assert sorted(found) == [1, 2]
    begin = SYSTEM.cpu()
    assert sorted(program.run(from_table(FRAME))) == [1, 2]
    assert SYSTEM.cpu() - begin < 0.5


def test_within_its_budget_a_rule_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is of one batch; pieces change nothing of what is found."""
    monkeypatch.setattr("csirt.detect.engine.budget.PIECE", 5000)
    expression = Leaf(Atom("f", "re", "b1[0-9]7$"))
    program = Program([expression], budget=60.0)
    for _ in range(3):
        assert program.run(from_table(FRAME))[0].tolist() == list(range(107, 198, 10))
    assert not program.overrun


def test_values_one_by_one_have_the_same_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is spent nothing of the expression holds, not even what held before; without a bound all of it does."""
    monkeypatch.setattr("csirt.detect.engine.budget.PIECE", 10)
    texts = [b"x" * 20] * 5
    assert Budget().each(SLOW, texts, bytes.strip) == [True] * 5
    budget = Budget(0.0)
    assert budget.each(SLOW, texts, bytes.strip) == [False] * 5
    assert SLOW in budget.spent
    assert Budget(60.0).each(SLOW, texts, lambda text: None) == [False] * 5
