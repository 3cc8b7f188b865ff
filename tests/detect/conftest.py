"""Batches for the tests of detection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from csirt.model import address
from csirt.model.batch import Batch, address_columns, assemble, constant
from csirt.model.ecs import ADDRESSES, DATASETS

SEGMENT = "0123456789abcdef"


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """A maker of batches from rows of logical fields; addresses as text, times in microseconds."""

    def make(dataset: str, rows: list[dict[str, Any]]) -> Batch:
        columns: dict[str, Any] = {
            "csirt.segment": constant(SEGMENT, len(rows)),
            "csirt.ordinal": pa.array(np.arange(len(rows), dtype=np.uint64)),
        }
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [row.get(name) for row in rows]
            if name in ADDRESSES:
                parts = [(0, 0, 0) if value is None else address.from_text(value) for value in values]
                family, high, low = (np.array([part[i] for part in parts], np.uint64) for i in range(3))
                columns |= address_columns(name, family, high, low)
            else:
                kind = DATASETS[dataset].get(name)
                plain = kind is None or pa.types.is_dictionary(kind)
                columns[name] = pa.array(values) if plain else pa.array(values, kind)
        return assemble(dataset, columns)

    return make
