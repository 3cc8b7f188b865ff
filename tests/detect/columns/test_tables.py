"""Columns taken out of Arrow at once are what Arrow says they are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.columns import arrow
from csirt.detect.columns.tables import from_table

KINDS = [pa.int64(), pa.uint16(), pa.int8(), pa.float64(), pa.float32(), pa.bool_()]
TEXT = pa.dictionary(pa.int32(), pa.string())


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Numbers, truth values and text of any gaps, from any row on."""
    rows = draw(st.integers(1, 70))
    columns: dict[str, pa.Array] = {}
    for place, kind in enumerate(draw(st.lists(st.sampled_from([*KINDS, TEXT]), min_size=1, max_size=6))):
        value = {TEXT: st.sampled_from(["a", "b", "é"]), pa.bool_(): st.booleans()}.get(kind, st.integers(0, 100))
        given_ = draw(st.lists(st.one_of(st.none(), value), min_size=rows, max_size=rows))
        columns[f"f{place}"] = pa.array(given_, kind)
    return pa.table(columns).slice(draw(st.integers(0, rows - 1)))


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
        patch.setattr(arrow, "FEW_TEXTS", -1)
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
