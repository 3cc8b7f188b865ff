"""The held hits in pieces: a row keeps its number whatever is merged and whatever leaves."""

from __future__ import annotations

import numpy as np
import pytest

from csirt.detect.windows import payload
from csirt.detect.windows.payload import MERGED, Payload
from tests.stores.build import hits


def test_rows_keep_their_numbers_when_a_piece_between_others_leaves() -> None:
    """Pieces come in any order of time and leave by their time; what is merged then are neighbours only."""
    held = Payload()
    times: dict[int, int] = {}

    def add(*some: int) -> None:
        base = held.append(hits(list(some)))
        times.update({base + place: time for place, time in enumerate(some)})

    add(900, 901)  # of a quiet stretch: later than what follows
    add(10, 11)
    add(300)
    held.expire(100)
    for number in range(4 * MERGED):
        add(400 + number)
    left = np.array([row for row, time in times.items() if time > 100])
    found = held.take(left).column("time")
    assert found.to_pylist() == [times[row] for row in left.tolist()]
    assert len(held.pieces) < 2 * MERGED


def test_rows_that_somebody_will_take_stay_until_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that have left are there for who said so; when they are too many he is called, and then they are gone."""
    monkeypatch.setattr(payload, "PIECE", 3)
    held = Payload()
    found: list[list[int]] = []

    def called() -> None:
        found.append(held.take(np.arange(4)).column("time").to_pylist())
        held.taken()

    held.append(hits([1, 2]))
    held.append(hits([3, 4]))
    held.append(hits([9, 9]))
    held.leaving = called
    held.expire(2)
    assert not found and held.take(np.array([5, 1])).column("time").to_pylist() == [9, 2]
    held.expire(4)
    assert found == [[1, 2, 3, 4]]
    assert [piece.base for piece in held.pieces] == [4] and held.leaving is None
