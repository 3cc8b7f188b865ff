"""The contract's suite, unchanged, on a store with a cluster: as the daemon reads it, and as the cluster answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csirt.clock import MINUTE, Frozen
from csirt.stores.base import Store
from csirt.stores.elastic.store import ElasticStore, open_elastic
from tests.elastic import desk
from tests.stores import build
from tests.stores.contract import Contract
from tests.stores.contract.reading import Reopen

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def folder_store(elasticsearch: str, installed: str, tmp_path: Path) -> Iterator[Callable[[], ElasticStore]]:
    """Opens the store of a folder, again and again."""
    prefix = installed
    desk.empty(elasticsearch, prefix)
    clock = Frozen(build.START)
    opened: list[ElasticStore] = []

    def again() -> ElasticStore:
        if opened:
            opened.pop().close()
        opened.append(open_elastic(tmp_path / "store", clock=clock, config=desk.settings(elasticsearch, prefix)))
        return opened[0]

    yield again
    for store in opened:
        store.close()


class Elastic(Contract):
    """The contract with a clock that tests move."""

    def pass_time(self, store: Any) -> None:
        store.clock.time += 61 * MINUTE


class TestElastic(Elastic):
    """The store as the daemon has it."""

    @pytest.fixture
    def reopen(self, folder_store: Callable[[], ElasticStore]) -> Reopen:
        """The store itself."""
        return folder_store


class TestCluster(Elastic):
    """The same promises, the documents and positions read from the cluster."""

    @pytest.fixture
    def reopen(self, folder_store: Callable[[], ElasticStore]) -> Reopen:
        """The store, read through the cluster."""

        def again() -> Store:
            return desk.ReadsOfTheCluster(folder_store())  # type: ignore[return-value]

        return again
