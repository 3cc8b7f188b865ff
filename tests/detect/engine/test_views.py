"""Texts of many columns put together by loops are what Arrow puts together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.columns import physical
from csirt.detect.columns.coded import Distinct
from csirt.detect.engine.views import Gathered, Views

TEXT = st.one_of(st.text(max_size=12), st.sampled_from(["ÆØÅ and more", "İstanbul", "ẞ", "A" * 40, "ABC", ""]))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(TEXT, max_size=6), max_size=4))
def test_as_they_are_and_folded(columns: list[list[str]]) -> None:
    """Slices of columns, empty ones, and letters that take another number of bytes in lower case."""
    texts = [pa.array(["before", *column], pa.string()).slice(1) for column in columns]
    made = [physical.described(Distinct(item, np.zeros(1, np.int32))) for item in texts]
    names = [str(place) for place in range(len(columns))]
    table = np.array([line for line, _ in made], np.int64).reshape(-1, physical.WIDTH)
    found, expected = Gathered(names, table), Views(list(zip(names, texts, strict=True)))
    assert found.bounds.tolist() == expected.bounds.tolist()
    for cased in (False, True):
        assert found.all(cased).to_pylist() == expected.all(cased).to_pylist()
