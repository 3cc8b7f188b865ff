"""Steps of settling."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from csirt.biflow.stage import Pairing
from csirt.clock import MINUTE, SYSTEM
from csirt.metrics import Metrics
from csirt.model import ecs
from csirt.model.batch import Batch
from csirt.model.hits import none
from csirt.settle import Settler
from csirt.stores.base import Commit, Store
from csirt.stores.embedded import open_embedded
from tests.stores import build

minutes = st.integers(0, 30)


def due(number: int, times: list[int]) -> Batch:
    """Rows that come together, each due so many minutes after the start."""
    table = build.fresh(len(times), name=f"part{number}").table
    place = table.schema.get_field_index(ecs.DUE)
    moments = pa.array(np.array([build.START + time * MINUTE for time in times], np.int64))
    return Batch("flow", table.set_column(place, ecs.DUE, moments.cast(table.schema.field(place).type)))


def settler(store: Store, step: int) -> Settler:
    """One that marks rows and matches nothing."""
    return Settler(
        store=store, pairing=Pairing({}), match=lambda _: none(), late=lambda _: 0, clock=SYSTEM, metrics=Metrics(),
        spent={}, step=step,
    )  # fmt: skip


def waiting(store: Store) -> int:
    """How many rows wait."""
    with store.waiting() as found:
        return sum(part.rows for part in found)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(minutes, min_size=1, max_size=6), min_size=1, max_size=3),
    st.lists(minutes, max_size=6),
    st.sampled_from([1, 3, 250_000]),
)
@example([[0, 10]], [1, 2, 3], 250_000)  # in between there is nothing to settle, nor to look at
def test_rows_are_settled_when_they_are_due(parts: list[list[int]], moments: list[int], step: int) -> None:
    """Whatever came together and however far apart it is due, in steps of any size: what is due is settled, what is not
    waits, all of it is there at any moment, and a moment at which nothing is due holds nothing up."""
    whole = sum(map(len, parts))
    with (
        tempfile.TemporaryDirectory() as folder,
        open_embedded(Path(folder) / "store", clock=SYSTEM) as store,
    ):
        store.commit(Commit(fresh=[due(number, times) for number, times in enumerate(parts)]))
        one = settler(store, step)
        for moment in [*sorted(moments), 31]:
            until = build.START + moment * MINUTE
            assert one.settle(until) == until
            assert waiting(store) == sum(time > moment for times in parts for time in times)
            assert sum(batch.rows for batch in store.events("flow")) == whole
