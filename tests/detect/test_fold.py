"""Kernels: windows and distinct values, compiled or not."""

from __future__ import annotations

import numpy as np

from csirt.detect import fold


def test_distinct_values_are_the_same_compiled_and_interpreted() -> None:
    """The compiled kernel is the interpreted one, and both are what sets say."""
    rng = np.random.default_rng(1)
    times = np.sort(rng.integers(0, 1000, 400))
    groups = np.sort(rng.integers(0, 4, 400))
    order = np.lexsort((times, groups))
    times, groups = times[order], groups[order]
    values = rng.integers(0, 20, 400)
    starts = fold.window_starts(groups, times, 50)
    expected = [
        len({int(values[j]) for j in range(i + 1) if groups[j] == groups[i] and times[j] >= times[i] - 50})
        for i in range(400)
    ]
    assert fold.distinct_counts(starts, values).tolist() == expected
    compiled = np.zeros(400, np.int64)
    fold._compiled()(starts.astype(np.int64), values.astype(np.int64), np.zeros(20, np.int64), compiled)
    assert compiled.tolist() == expected


def test_an_empty_second_side_settles_nothing() -> None:
    """Nothing is answered when there are no answers."""
    none = np.array([], np.int64)
    assert fold.settled(np.array([1, 2]), np.array([5, 6]), none, none, 10).tolist() == [False, False]
