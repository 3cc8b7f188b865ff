"""Steps of settling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from csirt.biflow.stage import Pairing
from csirt.clock import MINUTE, SECOND, SYSTEM
from csirt.metrics import Metrics
from csirt.model import ecs
from csirt.model.batch import Batch
from csirt.model.hits import none
from csirt.settle import Settler
from csirt.stores.base import Commit
from csirt.stores.embedded import open_embedded
from tests.stores import build


def test_a_gap_within_a_part_holds_nothing_up(tmp_path: Path) -> None:
    """Rows that came together and are due far apart are settled when they are due; a step in between, for which there
    is nothing to settle or to look at, goes on."""
    table = build.fresh(10).table
    due = np.array([build.START + (number // 5) * 10 * MINUTE for number in range(10)], np.int64)
    place = table.schema.get_field_index(ecs.DUE)
    column = pa.array(due).cast(table.schema.field(place).type)
    with open_embedded(tmp_path / "store", clock=SYSTEM) as store:
        store.commit(Commit(fresh=[Batch("flow", table.set_column(place, ecs.DUE, column))]))
        settler = Settler(
            store=store, pairing=Pairing({}), match=lambda _: none(), late=lambda _: 0, clock=SYSTEM,
            metrics=Metrics(), spent={},
        )  # fmt: skip
        left = []
        for until in (0, SECOND, 3 * MINUTE, 5 * MINUTE, 11 * MINUTE):
            assert settler.settle(build.START + until) == build.START + until
            with store.waiting() as found:
                left.append(sum(part.rows for part in found))
        assert left == [5, 5, 5, 5, 0]
