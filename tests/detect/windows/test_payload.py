"""The held hits in pieces: a row keeps its number whatever is merged and whatever leaves."""

from __future__ import annotations

import numpy as np

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
