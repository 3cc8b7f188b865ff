"""Empty indices for each test."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from csirt.stores.elastic import connect
from tests.elastic import cluster, desk

# It takes minutes: a proof of `make chaos`, which says how many kills.
collect_ignore = [] if "CSIRT_NODE_KILLS" in os.environ else ["test_chaos.py"]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder, in memory where there is room: what is tried is no disk."""
    folder = cluster.quick_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(elasticsearch: str, installed: str) -> tuple[str, str]:
    """URL and prefix of indices that hold nothing and remember no version of what they held."""
    desk.empty(elasticsearch, installed)
    with connect.client(desk.settings(elasticsearch, installed).elasticsearch) as client:
        client.indices.put_settings(index=f"{installed}-*", settings={"index.gc_deletes": "0s"})
        time.sleep(0.1)
        client.indices.refresh(index=f"{installed}-*")
    return elasticsearch, installed
