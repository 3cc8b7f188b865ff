"""A register to enrich with: the sample of docs/register.md, and small batches."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from csirt.enrich.register import Register
from csirt.model import ecs
from csirt.model.address import from_text
from csirt.model.batch import Batch, address_columns, assemble

DOCS = Path(__file__).resolve().parents[2] / "docs" / "register.md"


def _sample_text() -> str:
    """The commented sample of the documentation."""
    return max(re.findall(r"```yaml\n(.*?)```", DOCS.read_text("utf-8"), re.S), key=len)


def _write(folder: Path, text: str, name: str = "register.yaml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def sample_file(tmp_path: Path) -> Path:
    return _write(tmp_path, _sample_text())


@pytest.fixture
def register(sample_file: Path) -> Register:
    found, problems = Register.load(sample_file)
    assert found is not None, [str(problem) for problem in problems]
    return found


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """Load a register from text; gives (register, problem texts)."""

    def run(text: str, name: str = "register.yaml") -> tuple[Register | None, list[str]]:
        found, problems = Register.load(_write(tmp_path, text, name))
        return found, [str(problem).replace(str(tmp_path), "") for problem in problems]

    return run


def _addresses(name: str, texts: list[str | None]) -> dict[str, pa.Array]:
    parts = [(0, 0, 0) if text is None else from_text(text) for text in texts]
    family = np.array([part[0] for part in parts], np.uint8)
    high = np.array([part[1] for part in parts], np.uint64)
    low = np.array([part[2] for part in parts], np.uint64)
    return address_columns(name, family, high, low)


def _flows(rows: list[tuple[str | None, str | None, int]], time: int | list[int] = 0, **more: Any) -> Batch:
    """Flow rows of (source, destination, destination port)."""
    times = time if isinstance(time, list) else [time] * len(rows)
    columns: dict[str, Any] = {
        "@timestamp": pa.array(times, pa.timestamp("us", "UTC")),
        "destination.port": pa.array([row[2] for row in rows], pa.uint16()),
        "network.iana_number": pa.array([6] * len(rows), pa.uint8()),
        **_addresses("source.ip", [row[0] for row in rows]),
        **_addresses("destination.ip", [row[1] for row in rows]),
        **more,
    }
    return assemble("flow", columns)


def _column(batch: Batch, name: str) -> list[Any]:
    return list(batch.table.column(name).to_pylist())


def _follows_schema(batch: Batch) -> None:
    """Every enrichment column has the type the schema says, and the table is valid."""
    batch.table.validate(full=True)
    schema = ecs.DATASETS[batch.dataset]
    for name in batch.table.column_names:
        if name in schema:
            assert batch.table.schema.field(name).type == schema[name], name


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Helpers: `flows`, `addresses`, `column`, `follows_schema`, `write`, `sample_text`."""
    return SimpleNamespace(
        flows=_flows,
        addresses=_addresses,
        column=_column,
        follows_schema=_follows_schema,
        write=_write,
        sample_text=_sample_text,
    )
