"""The canonical dump of a store whose documents are in a cluster: the same lines, read from there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from csirt.model.chunk import Position
from csirt.stores.elastic.reader import Reader
from csirt.stores.embedded import dump as lines
from csirt.stores.embedded.dump import chosen

if TYPE_CHECKING:
    from csirt.config import Stores
    from csirt.stores.elastic.ship import Shipper

PATIENCE = 60.0  # seconds the cluster has to get what it lacks


class Shipped(lines.Folder, Protocol):
    """What is read of a store whose documents are in a cluster."""

    config: Stores
    shipper: Shipper


def dump(store: Shipped, kinds: list[str] | None) -> Iterator[bytes]:
    """Lines with their line ends. Raises Usage for an unknown kind, Unreachable when the cluster lacks something."""
    wanted = chosen(kinds)
    if wanted != ["event"]:
        store.shipper.settle(PATIENCE)
    return _lines(store, wanted)


def _lines(store: Shipped, kinds: list[str]) -> Iterator[bytes]:
    reader = Reader(store.shipper.client, store.config.elasticsearch)
    if kinds != ["event"]:
        reader.refresh()
    for kind in kinds:
        if kind == "event":
            yield from lines.dump(store, ["event"])
        else:
            yield from of_cluster(reader, kind)


def of_cluster(reader: Reader, kind: str) -> Iterator[bytes]:
    """The lines of one kind that the cluster holds."""
    if kind == "audit":
        query = {"bool": {"filter": [{"term": {"csirt.category": "change"}}, {"term": {"csirt.actor": "system"}}]}}
        yield from lines.audit(reader.all("audit", query))
    elif kind == "position":
        found = (Position(**document) for document in reader.all("position"))
        yield from lines.positions((one.source, one.fingerprint, one.offset) for one in found)
    else:
        for document in reader.all(kind):
            yield lines.document(kind, document)
