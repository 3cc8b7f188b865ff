"""Compiled tables of keys say what dictionaries say."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.decode.netflow import numbering

SMALL = st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 7, 40]))
KEY = st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 7, 2**31, 2**62 + 5]))


@settings(max_examples=60, deadline=None)
@given(
    known=st.lists(KEY, unique=True) | st.lists(SMALL, unique=True),
    rows=st.lists((KEY | SMALL).flatmap(lambda key: st.just((*key, 2))), max_size=30),
)
def test_rows_find_their_keys(known: list[tuple[int, int]], rows: list[tuple[int, int, int]]) -> None:
    """Each row's key by what it is called, or null; codes in order of appearance, 0 under a null."""
    group = np.array([row[0] for row in rows], np.int64)
    records = np.array([row[2] for row in rows], np.int64)
    number = np.array([value for row in rows for value in (row[1], -1)], np.int64)
    text = np.array([at // 2 for at in range(len(known))], np.int32)  # two keys may be called the same
    codes, valid = np.empty(len(number), np.int32), np.zeros(-(-len(number) // 8), np.uint8)
    order = np.empty(len(known), np.int32)
    owner, ids = (np.array([key[part] for key in known], np.int64) for part in (0, 1))
    count = numbering.find_texts(group, records, number, owner, ids, text, codes, valid, order)
    table = {key: at // 2 for at, key in enumerate(known)}
    wanted = [at for row in rows for at in (table.get(row[:2]), None)]
    there = np.unpackbits(valid, bitorder="little", count=len(number)).tolist()
    found = [int(order[code]) if known else None for code, known in zip(codes.tolist(), there, strict=True)]
    assert found == wanted
    assert order[:count].tolist() == list(dict.fromkeys(at for at in wanted if at is not None))
    assert codes[~np.array(there, bool)].tolist() == [0] * there.count(0)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(KEY, KEY), max_size=40))
def test_keys_are_numbered_in_order_of_appearance(rows: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    """Equal rows share a number, and each number knows its first row."""
    parts = [np.array([(*a, *b)[part] for a, b in rows], np.int64) for part in range(4)]
    number, first = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    count = numbering.number_keys(*parts, number, first)
    seen = list(dict.fromkeys(rows))
    assert count == len(seen)
    assert number.tolist() == [seen.index(row) for row in rows]
    assert first[:count].tolist() == [rows.index(key) for key in seen]
