"""Stores with a cluster for the tests, and one that reads its documents from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from csirt.clock import Clock, Frozen
from csirt.config import ElasticCluster, Stores
from csirt.model.chunk import Position
from csirt.stores.elastic import connect, outbox, templates
from csirt.stores.elastic.reader import Reader
from csirt.stores.elastic.store import ElasticStore, open_elastic
from tests.stores import build

SECONDS = 30.0


def settings(url: str, prefix: str, **more: Any) -> Stores:
    """A store section with that cluster."""
    return Stores(
        kind="elasticsearch", elasticsearch=ElasticCluster(urls=[url], prefix=prefix, **{"timeout": "5s", **more})
    )


def install(url: str, prefix: str) -> None:
    """`csirt store init`."""
    with connect.client(settings(url, prefix).elasticsearch) as client:
        templates.install(client, prefix)


def reader(store: ElasticStore) -> Reader:
    """What the cluster holds now, everything committed included."""
    store.shipper.settle(SECONDS, patient=True)
    found = Reader(store.shipper.client, store.config.elasticsearch)
    found.refresh()
    return found


@contextmanager
def opened(folder: Path, url: str, prefix: str, *, clock: Clock | None = None, **more: Any) -> Iterator[ElasticStore]:
    """The store of a folder."""
    store = open_elastic(folder, clock=clock or Frozen(build.START), config=settings(url, prefix, **more))
    try:
        yield store
    finally:
        store.close()


class ReadsOfTheCluster:
    """A store whose documents and positions are read from the cluster, for the contract's suite: what the cluster
    answers is tried by it as what the catalogue answers."""

    _READS = ("get", "find", "count", "incidents_with", "case_events", "resolve")

    def __init__(self, store: ElasticStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name in self._READS:
            return self._from_the_cluster(name)
        return getattr(self._store, name)

    def _from_the_cluster(self, name: str) -> Callable[..., Any]:
        def ask(*given: Any, **named: Any) -> Any:
            while True:
                found = reader(self._store)
                # No request may be under way meanwhile: a refresh would show its first documents without the others.
                with self._store.database.transaction("a look"):
                    if not self._store.shipper.waiting():
                        found.refresh()
                        return getattr(found, name)(*given, **named)

        return ask

    def positions(self) -> list[Position]:
        """All positions the cluster holds."""
        return reader(self._store).positions()

    def position(self, source: str, fingerprint: str) -> Position | None:
        """The position of an input, as the cluster holds it."""
        found = [one for one in self.positions() if (one.source, one.fingerprint) == (source, fingerprint)]
        return found[0] if found else None


def empty(url: str, prefix: str) -> None:
    """Take every document out of the indices: quicker than making new ones. Stores begin above the versions of those
    before, for the cluster remembers for a while what was deleted."""
    outbox.FIRST_STEP += 1_000_000
    with connect.client(settings(url, prefix).elasticsearch) as client:
        for name in client.indices.get_settings(index=f"{prefix}-log-0*", name="index.uuid").body:
            client.indices.delete(index=name)
        client.indices.refresh(index=f"{prefix}-*")
        found = client.search(index=f"{prefix}-*", size=10_000, source=False)["hits"]["hits"]
        lines: list[Any] = [{"delete": {"_index": hit["_index"], "_id": hit["_id"]}} for hit in found]
        if lines:
            assert not client.bulk(operations=lines)["errors"]
        client.indices.refresh(index=f"{prefix}-*")
