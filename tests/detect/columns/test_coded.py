"""Codes in every form say the same of each row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.columns.coded import Distinct, Packed, of_dictionary
from tests.detect.loops import compiled

CODES = st.lists(st.integers(-1, 3), min_size=1, max_size=300)
TEXTS = pa.array(["a", "b", "c", "d"])


def forms(codes: list[int]) -> list[Distinct]:
    """The same column: a code for every row, with a bitmap from an odd bit on, and packed."""
    every = np.array(codes, np.int32)
    rows = np.flatnonzero(every >= 0)
    indices = pa.array([None, None, None, *(code if code >= 0 else None for code in codes)], pa.int32())
    sparse = of_dictionary(pa.DictionaryArray.from_arrays(indices, TEXTS).slice(3))
    return [Distinct(TEXTS, every), sparse, Distinct(TEXTS, None, sparse=Packed(len(codes), rows, every[rows]))]


@settings(max_examples=200, deadline=None)
@given(CODES, st.data())
def test_every_form_gives_the_same_codes(codes: list[int], data: st.DataObject) -> None:
    """Of some rows, of those with a value, of all, and how many there are."""
    asked = np.array(data.draw(st.lists(st.integers(0, len(codes) - 1), max_size=40)), np.int64)
    expected = np.array(codes)
    for loops in (False, True):
        for found in forms(codes):
            with compiled(loops):
                assert found.count == len(codes)
                assert found.empty().tolist() == (expected < 0).tolist()
                assert found.at(asked).tolist() == expected[asked].tolist()
                members, theirs = found.members()
                assert members.tolist() == np.flatnonzero(expected >= 0).tolist()
                assert theirs.tolist() == expected[expected >= 0].tolist()
                assert found.codes.tolist() == codes
