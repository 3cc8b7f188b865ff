"""The loops over conditions, rows and columns find what plain reading finds, whatever form a column's codes have."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.atoms import Atom
from csirt.detect.columns import physical
from csirt.detect.columns.coded import Distinct
from csirt.detect.columns.columns import NumberColumn
from csirt.detect.engine import walk
from csirt.detect.engine.branches import ALWAYS, CODES, EMPTY, FILLED, MASK, MATCH, NEVER, NO, WHOLE
from csirt.detect.engine.numbered import OPERATORS
from csirt.model.batch import Array
from tests.detect.columns.test_coded import TEXTS, forms

ROWS = 70
COUNT = len(TEXTS)
COLUMN = st.lists(st.integers(-1, COUNT - 1), min_size=ROWS, max_size=ROWS)
LISTS = st.lists(st.lists(st.integers(-1, COUNT - 1), max_size=3), min_size=ROWS, max_size=ROWS)
TEXT_SETS = st.lists(st.sets(st.integers(0, 2 * COUNT - 1)), min_size=1, max_size=4)
FORMS = st.integers(0, 2)


class Columns:
    """A column with one value to a row and one of lists, as a table of addresses; `rows`: the texts of each row."""

    def __init__(self, codes: list[int], lists: list[list[int]], form: int) -> None:
        members = [(row, code) for row, item in enumerate(lists) for code in item]
        parents = np.array([row for row, _ in members], np.int64)
        listed = Distinct(TEXTS, np.array([code for _, code in members], np.int32), parents)
        made = [physical.described(found) for found in (forms(codes)[form], listed)]
        self.kept = [held for _, held in made]
        self.table = np.array([line for line, _ in made], np.int64)
        self.bases = np.array([0, COUNT, 2 * COUNT], np.int64)
        self.rows = [
            {code for code in [one] if code >= 0} | {COUNT + code for code in many if code >= 0}
            for one, many in zip(codes, lists, strict=True)
        ]


def pieces(sets: list[set[int]]) -> tuple[Array, Array]:
    """(where each set's texts begin and end, texts)."""
    edges = np.cumsum([0, *map(len, sets)])
    texts = np.array([text for item in sets for text in sorted(item)], np.int64)
    return np.stack([edges[:-1], edges[1:]], 1), texts


@settings(max_examples=100, deadline=None)
@given(COLUMN, LISTS, FORMS, TEXT_SETS, st.sampled_from([0, 10, 1000]))
def test_rows_of_texts(codes: list[int], lists: list[list[int]], form: int, sets: list[set[int]], room: int) -> None:
    """Each owner of texts has the rows that have one of them, a row once for each member, be there room for all while
    they are counted or not."""
    columns = Columns(codes, lists, form)
    edges, texts = pieces(sets)
    heads, owners = np.zeros(2 * COUNT + 2, np.int32), np.empty(len(texts), np.int32)
    walk.by_text(edges, texts, heads, owners)
    counts = np.zeros(len(sets), np.int64)
    pairs = np.empty((room, 2), np.int32)
    total = walk.spread(columns.table, columns.bases, heads, owners, counts, pairs, np.empty(0, np.int64))
    starts = np.append(0, np.cumsum(counts))
    assert total == starts[-1]
    rows = np.empty(total + 1, np.int64)
    if total <= room:
        walk.placed(pairs, total, starts[:-1].copy(), rows)
    else:
        walk.spread(columns.table, columns.bases, heads, owners, starts[:-1].copy(), pairs, rows)
    every = [(row, code) for row, code in enumerate(codes)]
    every += [(row, COUNT + code) for row, item in enumerate(lists) for code in item if code >= 0]
    for owner, wanted in enumerate(sets):
        expected = sorted(row for row, text in every if text in wanted)
        assert sorted(rows[starts[owner] : starts[owner + 1]].tolist()) == expected


@settings(max_examples=100, deadline=None)
@given(COLUMN, LISTS, FORMS, st.sets(st.integers(0, 2 * COUNT - 1)))
def test_whether_texts_stand_in_rows(codes: list[int], lists: list[list[int]], form: int, wanted: set[int]) -> None:
    """Asked of rows in any of the columns, and of lists for all rows at once."""
    columns = Columns(codes, lists, form)
    asked = np.arange(ROWS)[::-3].copy()
    result = np.zeros(len(asked), bool)
    walk.stands(asked, columns.table, columns.bases, np.array(sorted(wanted), np.int64), result)
    assert result.tolist() == [bool(columns.rows[row] & wanted) for row in asked.tolist()]
    accept, holds = np.zeros(COUNT, bool), np.zeros(ROWS, bool)
    accept[[text - COUNT for text in wanted if text >= COUNT]] = True
    walk.marked(columns.table, 1, accept, holds)
    assert holds.tolist() == [any(code >= 0 and COUNT + code in wanted for code in item) for item in lists]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=30), st.data())
def test_texts_of_literals_come_to_their_owners(found: list[tuple[int, int]], data: st.DataObject) -> None:
    """A literal may have several owners, and an owner several literals; without room it says how much it takes."""
    found = sorted(set(found))
    groups = data.draw(st.lists(st.lists(st.integers(0, 4), max_size=3, unique=True), min_size=4, max_size=4))
    heads = np.cumsum([0, *map(len, groups)])
    owners = np.array([owner for group in groups for owner in group], np.int64)
    given_ = np.array(found, np.int32).reshape(-1, 2)
    expected = [[text for literal, text in found if owner in groups[literal]] for owner in range(5)]
    total = sum(map(len, expected))
    starts = np.zeros(6, np.int64)
    if total:
        assert walk.owned(given_, heads, owners, starts.copy(), np.empty(total - 1, np.int64)) == total
    hits = np.empty(total, np.int64)
    assert walk.owned(given_, heads, owners, starts, hits) == total
    assert [hits[left:right].tolist() for left, right in pairwise(starts)] == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 19), max_size=6), min_size=4, max_size=4), st.data())
def test_candidates_are_sorted_and_once(rows: list[list[int]], data: st.DataObject) -> None:
    """The rows of any witness of each condition."""
    wanted = data.draw(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=4))
    starts = np.cumsum([0, *map(len, rows)])
    edges = np.cumsum([0, *map(len, wanted)])
    atoms = np.array([atom for item in wanted for atom in item], np.int64)
    out = np.empty(sum(len(rows[atom]) for atom in atoms.tolist()) + 1, np.int64)
    ends = np.empty(len(wanted), np.int64)
    flat = np.array([row for item in rows for row in item], np.int64)
    walk.candidates(atoms, edges, flat, starts, np.full(20, -1, np.int64), 0, out, ends)
    found = [out[left:right].tolist() for left, right in zip([0, *ends.tolist()], ends.tolist(), strict=False)]
    assert found == [sorted({row for atom in item for row in rows[atom]}) for item in wanted]


Tree = Any
TREES = st.recursive(
    st.integers(0, 5), lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner), max_leaves=6
)


@settings(max_examples=100, deadline=None)
@given(TREES, COLUMN, FORMS, st.sets(st.integers(0, COUNT - 1)), st.lists(st.booleans(), min_size=ROWS, max_size=ROWS))
def test_jumps_decide_what_the_condition_says(
    tree: Tree, codes: list[int], form: int, wanted: set[int], mask: list[bool]
) -> None:
    """Tests that are known by codes, by a mask, by whether there is a value, always or never."""
    columns = Columns(codes, [[] for _ in range(ROWS)], form)
    holds = np.array(mask)
    known = np.array([CODES, MASK, ALWAYS, NEVER, EMPTY, FILLED], np.uint8)
    hits = np.array(sorted(wanted), np.int64)
    places = np.array([[0, 0, len(hits), 0], [physical.address(holds), 0, 0, 0], *[[0] * 4] * 4], np.int64)
    tests: list[tuple[int, int, int]] = []
    first = emit(tree, MATCH, NO, tests)
    table = np.array(tests, np.int32)
    at = np.full(ROWS, first, np.int32)
    jumps = (np.ascontiguousarray(column) for column in table.T)
    undecided, rows = np.arange(ROWS), np.arange(ROWS)
    left = walk.walk(undecided, ROWS, rows, at, *jumps, known, places, hits, columns.table, columns.bases)
    assert left == 0
    assert (at == MATCH).tolist() == [
        plainly(tree, (codes[row] in wanted, mask[row], True, False, codes[row] < 0, codes[row] >= 0))
        for row in range(ROWS)
    ]


WHOLE_NUMBERS = st.one_of(st.integers(0, 5), st.sampled_from([127, 128, 255, 65535, 2**31 - 1, 2**63 - 1]))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([np.int64, np.int32, np.uint16, np.uint8]),
    st.lists(st.tuples(WHOLE_NUMBERS, st.booleans()), min_size=1, max_size=20),
    st.booleans(),
    st.sampled_from(OPERATORS),
    st.one_of(WHOLE_NUMBERS, st.integers(-(2**63) + 1, 2**63 - 1)),
    st.booleans(),
)
def test_whole_numbers_are_compared_exactly(
    kind: Any, rows: list[tuple[int, bool]], valid: bool, operator: str, wanted: int, less: bool
) -> None:
    """Of any width, negative where there can be some, with rows that have no number; as `values.compare` has it."""
    low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    numbers = np.array([max(low, -number) if less else min(high, number) for number, _ in rows], np.int64).astype(kind)
    there = np.array([is_there for _, is_there in rows])
    column = NumberColumn(numbers, there if valid else None)
    atom = Atom("n", "number", wanted) if operator == "eq" else Atom("n", "compare", (operator, wanted))
    mask = column.direct(atom, None)
    assert mask is not None
    how = np.dtype(kind).itemsize << 3 | OPERATORS.index(operator)
    where = physical.address(there if valid else None)
    piece = np.array([[physical.address(numbers), how, wanted, where]], np.int64)
    places = np.zeros(len(rows), np.int32)
    jumps = np.array([0], np.int32), np.array([MATCH], np.int32), np.array([NO], np.int32)
    known, none = np.array([WHOLE], np.uint8), np.empty(0, np.int64)
    every = np.arange(len(rows))
    assert not walk.walk(every.copy(), len(rows), every, places, *jumps, known, piece, none, none.reshape(0, 9), none)
    assert (places == MATCH).tolist() == mask.tolist()


def emit(tree: Tree, holds: int, fails: int, tests: list[tuple[int, int, int]]) -> int:
    """The tests of a condition; the first of them."""
    if isinstance(tree, int):
        tests.append((tree, holds, fails))
        return len(tests) - 1
    kind, left, right = tree
    second = emit(right, holds, fails, tests)
    return emit(left, second, fails, tests) if kind == "and" else emit(left, holds, second, tests)


def plainly(tree: Tree, values: tuple[bool, ...]) -> bool:
    """The condition, of known tests."""
    if isinstance(tree, int):
        return values[tree]
    kind, left, right = tree
    both = plainly(left, values), plainly(right, values)
    return all(both) if kind == "and" else any(both)
