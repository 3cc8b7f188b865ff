"""Atoms by number say what the atoms themselves say."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.atoms import Atom, Plan
from csirt.detect.engine.branches import ALWAYS, NEVER, OPEN
from csirt.detect.engine.numbered import Numbered, Wakes
from csirt.detect.engine.text import Scanner

ATOMS = [Atom("f", "eq", "needle"), Atom("f", "contains", "x"), Atom("g", "null"), Atom("g", "endswith", ".exe")]
ATOMS += [Atom(None, "contains", "word"), Atom("h", "number", 4), Atom("f", "wild", ("(?s)\\Aab.*\\z", "ab"))]


def numbered() -> Numbered:
    """All of them, those of text scanned for as a program does."""
    texts = {"f": [ATOMS[0], ATOMS[1], ATOMS[6]], "g": [ATOMS[3]], "": [ATOMS[4]]}
    return Numbered([*ATOMS, *ATOMS], Scanner(texts))


def test_an_atom_is_numbered_once() -> None:
    """With its field, whether the scan finds it and for sure, and what is known where no row has the field."""
    found = numbered()
    assert found.atoms == ATOMS
    assert [found.fields[place] if place < len(found.fields) else None for place in found.field.tolist()] == [
        atom.field for atom in ATOMS
    ]
    assert found.scanned.tolist() == [True, False, False, True, True, False, True]  # one letter is not scanned for
    assert found.sure.tolist() == [True, False, False, True, True, False, False]
    assert found.absent.tolist() == [NEVER, NEVER, ALWAYS, NEVER, OPEN, NEVER, NEVER]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(ATOMS), max_size=3, unique=True), min_size=1, max_size=5),
    st.lists(st.integers(0, len(ATOMS) - 1), max_size=5, unique=True),
    st.sets(st.integers(0, 4)),
)
def test_atoms_wake_the_conditions_that_look_for_them(
    witnesses: list[list[Atom]], atoms: list[int], off: set[int]
) -> None:
    """Each once, with the places of its atoms; what is switched off sleeps."""
    plans = [Plan(tuple(item), None) for item in witnesses]
    off = {index for index in off if index < len(plans)}
    wakes = Wakes(numbered(), plans, off)
    conditions, edges, places = wakes.of(np.array(atoms, np.int64))
    found = {
        condition: sorted(atoms[place] for place in places[left:right].tolist())
        for condition, left, right in zip(conditions.tolist(), edges.tolist(), edges[1:].tolist(), strict=False)
    }
    expected = {
        index: sorted(number for number in atoms if ATOMS[number] in item)
        for index, item in enumerate(witnesses)
        if index not in off and any(ATOMS[number] in item for number in atoms)
    }
    assert found == expected
    assert conditions.tolist() == sorted(expected)
