"""Pairing of what was sent with what came back."""

from __future__ import annotations

import numpy as np

from csirt.detect.windows import fold


def test_an_empty_second_side_settles_nothing() -> None:
    """Nothing is answered when there are no answers."""
    none = np.array([], np.int64)
    assert fold.settled(np.array([1, 2]), np.array([5, 6]), none, none, np.array([15, 16])).tolist() == [False, False]


def test_an_answer_counts_from_the_event_to_the_deadline_for_its_own_key() -> None:
    """Both ends of the time belong to it; an earlier answer, a later one and another key's do not."""
    keys, times, due = np.array([1, 1, 1, 2, 3]), np.array([10, 20, 31, 10, 10]), np.array([20, 30, 41, 20, 20])
    found = fold.settled(keys, times, np.array([1, 2, 3]), np.array([30, 21, 10]), due)
    assert found.tolist() == [False, True, False, False, True]
