"""Condensing: one row per group and bucket, whatever the columns hold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from csirt.detect.columns.columns import AddressColumn
from csirt.detect.windows import condense
from csirt.detect.windows.codes import joined
from csirt.detect.windows.speakers import speakers

ADDRESSES = st.sampled_from([(0, 0, 0), (4, 0, 1), (4, 0, 2**32 - 1), (6, 0, 1), (6, 1, 1), (6, 2**64 - 1, 2**64 - 1)])


@given(st.lists(ADDRESSES, min_size=1, max_size=30), st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_two_rows_have_one_number_when_their_addresses_are_one(
    addresses: list[tuple[int, int, int]], other: list[int]
) -> None:
    """Of either family, and beside another column, missing addresses too."""
    family, high, low = (np.array(column, np.uint64) for column in zip(*addresses, strict=True))
    column = AddressColumn(family.astype(np.uint8), high, low)
    codes = condense.codes_of(column, np.arange(len(addresses)))
    assert [code == 0 for code in codes.tolist()] == [one[0] == 0 for one in addresses]
    both = joined(np.array(other[: len(addresses)]), codes)
    known: dict[tuple[object, int], int] = {}
    for key, code in zip(zip(addresses, other, strict=False), both.tolist(), strict=True):
        assert known.setdefault(key, code) == code
    assert len(set(known.values())) == len(known)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 4), st.sampled_from([0.0, 1.0, -2.0, float("nan")]), st.integers(0, 3), st.integers(0, 2**64)
    ),
    max_size=40,
    unique_by=lambda row: row[3],
)


@given(ROWS)
def test_the_greatest_number_speaks_and_of_those_the_first_event(rows: list[tuple[int, float, int, int]]) -> None:
    """By number, time and event id; a number that is none is the least."""
    codes, numbers, times = (
        np.array([row[place] for row in rows], kind) for place, kind in ((0, int), (1, float), (2, int))
    )
    events = pa.array([f"{row[3]:032x}" for row in rows], pa.string())
    order, firsts, chosen = speakers(codes, numbers, times, lambda some: events.take(pa.array(some)))
    assert codes[order].tolist() == sorted(codes.tolist())
    groups = sorted({row[0] for row in rows})
    assert codes[order][firsts].tolist() == groups
    ordered = sorted(rows, key=lambda row: (row[0], np.inf if row[1] != row[1] else -row[1], row[2], row[3]))
    expected = [next(row[3] for row in ordered if row[0] == group) for group in groups]
    assert [rows[place][3] for place in chosen.tolist()] == expected
