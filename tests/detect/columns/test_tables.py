"""Columns taken out of Arrow at once are what Arrow says they are."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.columns import arrow, physical
from csirt.detect.columns.columns import Column
from csirt.detect.columns.physical import BOUNDS, BYTES, CODES, PARENTS, TEXTS, Physical
from csirt.detect.columns.tables import from_table

KINDS = [pa.int64(), pa.uint16(), pa.int8(), pa.float64(), pa.float32(), pa.bool_()]
TEXT, LISTED = pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.string())
LETTERS = st.sampled_from(["a", "b", "é"])
MEMBERS = st.lists(st.one_of(LETTERS, LETTERS, LETTERS, st.none()), max_size=3)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Numbers, truth values, text and lists of any gaps, from any row on."""
    rows = draw(st.integers(1, 70))
    columns: dict[str, pa.Array] = {}
    for place, kind in enumerate(draw(st.lists(st.sampled_from([*KINDS, TEXT, LISTED]), min_size=1, max_size=6))):
        known = {TEXT: LETTERS, LISTED: MEMBERS, pa.bool_(): st.booleans()}
        value = known.get(kind, st.integers(0, 100))
        given_ = draw(st.lists(st.one_of(st.none(), value), min_size=rows, max_size=rows))
        columns[f"f{place}"] = pa.array(given_, kind)
    return pa.table(columns).slice(draw(st.integers(0, rows - 1)))


def check(known: Physical, name: str, column: Column) -> None:
    """The line of a column's text, if it has one, says what the column says."""
    found, place = column.distinct(), known.names.index(name)
    line, filled = known.table[place].tolist(), int(known.filled[place])
    if filled < 0:
        assert column.many  # a list with a member that is null: the column itself says
        return
    assert filled == int((~column.null()).sum())
    bounds = (ctypes.c_int32 * (line[TEXTS] + 1)).from_address(line[BOUNDS])
    texts = [ctypes.string_at(line[BYTES] + start, end - start).decode() for start, end in pairwise(bounds)]
    assert texts == found.texts.to_pylist()
    assert (line[PARENTS] != 0) == column.many
    if column.many:
        count = line[physical.MEMBERS]
        assert found.parents is not None
        assert list((ctypes.c_int64 * count).from_address(line[PARENTS])) == found.parents.tolist()
        assert list((ctypes.c_int32 * count).from_address(line[CODES])) == found.codes.tolist()


@settings(max_examples=200, deadline=None)
@given(tables(), st.booleans())
def test_columns_are_what_arrow_says(table: pa.Table, pieces: bool) -> None:
    """Value by value, in one piece or several, whether text is asked for first or numbers are."""
    if pieces:
        table = pa.concat_tables([table, table])
    frame = from_table(table)
    known = frame.physical()
    assert (known is None) <= pieces
    for name in table.column_names:
        column = frame.column(name)
        expected = table.column(name).to_pylist()
        if column is None:
            assert expected == [None] * len(expected)
            continue
        assert column.null().tolist() == [value is None for value in expected]
        if known is not None and name in known.names:
            check(known, name, column)
        if pa.types.is_list(table.schema.field(name).type):
            members = [[text for text in value or [] if text is not None] for value in expected]
            assert column.lists(np.arange(len(expected))) == members
            continue
        texts = column.texts(np.arange(len(expected))).to_pylist()
        plain = arrow.from_arrow(table.column(name))
        assert plain is not None and texts == plain.texts(np.arange(len(expected))).to_pylist()
        assert [text is None for text in texts] == [value is None for value in expected]


LISTS = st.lists(st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "", "é"]), max_size=3)), min_size=1)


@settings(max_examples=200, deadline=None)
@given(LISTS, st.integers(0, 5))
def test_lists_of_few_texts_are_lists_of_texts(rows: list[list[str] | None], first: int) -> None:
    """With null, empty and repeated members, from any row on, as they are where there are many."""
    array = pa.array(rows, pa.list_(pa.string())).slice(min(first, len(rows) - 1))
    few = arrow.from_arrow(array)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physical, "FEW_TEXTS", -1)
        many = arrow.from_arrow(array)
    every = np.arange(len(array))
    assert few is not None and many is not None
    assert few.lists(every) == many.lists(every) == [item or [] for item in array.to_pylist()]
    assert few.null().tolist() == many.null().tolist()
    assert few.present().tolist() == many.present().tolist()


def test_a_null_list_that_hides_members_has_none() -> None:
    """Arrow allows a list that is null to span members; they are nobody's."""
    offsets, inner = pa.array([0, 2, 3], pa.int32()), pa.array(["x", "y", "z"])
    array = pa.ListArray.from_arrays(offsets, inner, mask=pa.array([True, False]))
    column = arrow.from_arrow(array)
    assert column is not None and column.lists(np.arange(2)) == [[], ["z"]]
    hidden = from_table(pa.table({"f": array, "g": inner.slice(1).dictionary_encode()}))
    known = hidden.physical()
    assert known is not None and known.filled.tolist() == [-1, 2]


def test_a_column_comes_and_goes() -> None:
    """One schema, and tables where a column has values, then none, then others."""
    schema = pa.schema({"t": TEXT, "l": LISTED, "n": pa.int64(), "z": TEXT})
    rows = [{"t": "a", "l": ["b"], "n": 1}, {}, {"z": "c"}, {"t": "d", "l": [], "n": 2, "z": "e"}]
    for row in (*rows, *rows):
        frame = from_table(pa.Table.from_pylist([{}, row], schema=schema))
        known = frame.physical()
        assert known is not None and known.filled.tolist() == [int(name in row) for name in ("t", "l", "z")]
        for name in schema.names:
            assert (frame.column(name) is not None) == (name in row)


def test_many_members_are_left_to_the_column() -> None:
    """The distinct ones of many are found by Arrow."""
    frame = from_table(
        pa.table({"l": pa.array([["a", "b"]] * physical.FEW_TEXTS), "m": pa.array([["c"]] * physical.FEW_TEXTS)})
    )
    known, column = frame.physical(), frame.column("l")
    assert known is not None and known.filled.tolist() == [-1, physical.FEW_TEXTS]
    assert column is not None and column.distinct().texts.to_pylist() == ["a", "b"]
