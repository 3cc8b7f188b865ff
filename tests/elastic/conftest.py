"""The server that these tests share, and a corner of their own in it for each."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.elastic import cluster, desk


@pytest.fixture(scope="session")
def elasticsearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server, one for all workers."""
    cluster.require()
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "elasticsearch"
    with cluster.shared(place) as url:
        yield url


@pytest.fixture(scope="session")
def installed(elasticsearch: str) -> str:
    """The name of indices that are there already, for tests that empty them first."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    desk.install(elasticsearch, name)
    return name


@pytest.fixture
def prefix() -> str:
    """A name of indices that no other test uses."""
    return f"test-{uuid.uuid4().hex[:10]}"
