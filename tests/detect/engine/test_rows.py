"""The rows of many atoms at a time are the rows of each."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.atoms import Atom
from csirt.detect.columns.columns import NumberColumn
from csirt.detect.engine import rows
from csirt.detect.engine.rows import Equal
from csirt.model.batch import Array

KINDS = ["int64", "int32", "uint16", "uint8", "uint64"]
NEAR = [0, 1, 7, 7, 200, 255, 70_000, -1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.sampled_from(NEAR), st.booleans()), max_size=40),
    st.lists(st.sampled_from([*NEAR, 10**400]), min_size=3, max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_numbers_that_atoms_equal(
    kind: str, given_: list[tuple[int, bool]], asked: list[int], gaps: bool, loop: bool
) -> None:
    """Of any whole type, near its ends and beyond them, with rows that have none, in the compiled loop or without."""
    limits = np.iinfo(kind)
    known = [(number, there or not gaps) for number, there in given_ if limits.min <= number <= limits.max]
    column = NumberColumn(
        np.array([number for number, _ in known], kind), np.array([there for _, there in known], bool) if gaps else None
    )
    atoms = [*(Atom("n", "number", number) for number in dict.fromkeys(asked)), Atom("n", "eq", "7")]
    atoms += [Atom("n", "eq", "007"), Atom("n", "compare", ("lt", 7)), Atom("n", "number", 1.5)]
    where: dict[Atom, Array] = {}
    with patch.object(rows, "FEW_NUMBERS", 0 if loop else 1000):
        equal = Equal(atoms, column.numbers.dtype)
        equal.find(column, where)
    assert equal.left == [Atom("n", "eq", "007"), Atom("n", "compare", ("lt", 7))]
    for atom in atoms:
        expected = [row for row, (number, there) in enumerate(known) if there and number == int_of(atom)]
        assert (where[atom].tolist() if atom in where else []) == expected


def int_of(atom: Atom) -> object:
    """The number an atom equals, if it equals one."""
    return {"number": atom.argument, "eq": 7 if atom.argument == "7" else None}.get(atom.kind)


@pytest.mark.parametrize("kind", ["float64", "int64"])
def test_what_is_not_prepared_is_left(kind: str) -> None:
    """Fractions, and few atoms, are asked one by one."""
    atoms = [Atom("n", "number", number) for number in range(5 if kind == "float64" else 2)]
    assert Equal(atoms, np.dtype(kind)).left == atoms
