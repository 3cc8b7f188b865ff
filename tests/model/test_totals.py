"""Sums of counters are those of whole numbers without end."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.model.totals import total

RATE = st.sampled_from([0, 1, 2, 100, 2**32 - 1])
RAW = st.sampled_from([0, 1, 1_500, 2**31, 2**52, 2**63, 2**64 - 1])


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(RAW, RATE), max_size=30))
def test_counters_are_summed_without_their_sampling_rate(rows: list[tuple[int, int]]) -> None:
    """Each value divided by its rate, rounded down, and added up, beyond 64 bits too; one rate for all or one each."""
    corrected = [min(raw * max(rate, 1), 2**64 - 1) for raw, rate in rows]
    rates = [rate for _, rate in rows]
    high, low = total(np.array(corrected, np.uint64), np.array(rates, np.uint32))
    wanted = sum(value // max(rate, 1) for value, rate in zip(corrected, rates, strict=True))
    assert (int(high) << 64) + int(low) == wanted
    same = [min(raw * 100, 2**64 - 1) for raw, _ in rows]
    high, low = total(np.array(same, np.uint64), np.array([100], np.uint32))
    assert (int(high) << 64) + int(low) == sum(value // 100 for value in same)
