"""Addresses as text: both ways of writing them agree with the standard library."""

from __future__ import annotations

import ipaddress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.model import address_columns, jit
from csirt.model.batch import Identities, codes, event_ids


@settings(deadline=None)  # the first call loads the compiler
@given(st.lists(st.integers(0, 2**32 - 1), max_size=30), st.sampled_from([("", ""), ("host:", ""), ('{"é":"', '"}')]))
def test_addresses_are_written_between_two_texts(values: list[int], around: tuple[str, str]) -> None:
    """By Arrow, as a few are, and compiled, as many are."""
    assert jit.kernel  # the compiler is loaded: many are written by it
    wanted = [f"{around[0]}{ipaddress.IPv4Address(value)}{around[1]}" for value in values]
    for few in (0, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(address_columns, "_FEW", few)
            if few:
                patch.setattr(address_columns, "_KERNEL", "not loaded yet")
            found = address_columns.dotted(np.array(values, np.uint64), *around)
        found.validate(full=True)
        assert found.to_pylist() == wanted


@pytest.mark.parametrize("names", [["0123456789abcdef", "f" * 16], ["short", "f" * 16], [None, "f" * 16]])
def test_event_ids_are_segment_and_ordinal(names: list[str | None]) -> None:
    """Of all rows and of some, whatever the segments are called."""
    segments = codes(np.array([1, 0, 1]), names)
    table = pa.table({"csirt.segment": segments, "csirt.ordinal": pa.array([1, 2, 2**64 - 1], pa.uint64())})
    wanted = [
        None if segment is None else f"{segment}{ordinal:016x}"
        for segment, ordinal in zip(segments.to_pylist(), (1, 2, 2**64 - 1), strict=True)
    ]
    for pieces in (table, pa.concat_tables([table.slice(0, 1), table.slice(1)])):
        assert event_ids(pieces).to_pylist() == wanted
        assert Identities(pieces).texts(np.array([2, 0])).to_pylist() == [wanted[2], wanted[0]]
