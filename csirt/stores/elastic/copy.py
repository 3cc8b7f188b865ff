"""A store folder's documents to its cluster, once, without a daemon; then both are compared by canonical dump."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from csirt.clock import SYSTEM, Clock
from csirt.config import Config
from csirt.errors import Unreachable, Usage
from csirt.stores.elastic import outbox
from csirt.stores.elastic.dump import of_cluster
from csirt.stores.elastic.reader import Reader
from csirt.stores.elastic.store import ElasticStore, open_elastic
from csirt.stores.embedded import dump as embedded

KINDS = [kind for kind in embedded.DUMP_KINDS if kind != "event"]
STEP = 5.0  # seconds between two words about progress


def copy(
    directory: Path,
    config: Config,
    *,
    again: bool = False,
    clock: Clock = SYSTEM,
    progress: Callable[[int], None] = lambda left: None,
) -> dict[str, Any]:
    """Send what the cluster lacks (`again`: everything), wait for it, compare: csirt.store-copy/1. `progress` hears how
    many documents are left. Events stay in the lake. Raises Unreachable when the cluster does not take it: what it has
    stays there, and the rest is sent next time."""
    if config.stores.elasticsearch.node:
        raise Usage(
            "[stores.elasticsearch] node is set: several daemons share the cluster, and what they share gets there by "
            "itself; `csirt status` says what waits"
        )
    with open_elastic(directory, clock=clock, config=config.stores, retention=config.retention) as store:
        if again:
            with store.database.transaction("sending everything") as connection:
                outbox.add_all(connection)
            store.follower.everything()
        _settle(store, progress)
        dead = store.cluster()["dead_letters"]
        here, counts = digest(embedded.dump(store, KINDS))
        reader = Reader(store.shipper.client, store.config.elasticsearch)
        reader.refresh()
        there, _ = digest(line for kind in KINDS for line in of_cluster(reader, kind))
    return {
        "schema": "csirt.store-copy/1",
        "counts": counts,
        "embedded": here,
        "elasticsearch": there,
        "equal": here == there,
        "dead_letters": dead,
    }


def _settle(store: ElasticStore, progress: Callable[[int], None]) -> None:
    """Wait for the cluster as long as it takes documents."""
    left = store.shipper.waiting()
    while True:
        try:
            store.shipper.settle(STEP)
            return
        except Unreachable:
            now = store.shipper.waiting()
            if store.shipper.trouble or now >= left:
                raise
            left = now
            progress(left)


def digest(lines: Any) -> tuple[str, dict[str, int]]:
    """Of lines of a canonical dump, and how many there are of each kind."""
    import orjson

    found, counts = hashlib.sha256(), dict.fromkeys(KINDS, 0)
    for line in lines:
        found.update(line)
        counts[orjson.loads(line)["kind"]] += 1
    return found.hexdigest(), counts
