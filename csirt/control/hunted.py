"""Where a hunt looks: the store's own lake, or the cluster that follows it."""

from __future__ import annotations

from typing import Any

from csirt.errors import Usage
from csirt.stores.embedded.store import as_embedded
from csirt.stores.hunt.select import Hunted, Question

ORIGINS = ("store", "cluster")


def hunted(store: Any, origin: str, question: Question | None = None) -> Hunted:
    """What to ask. `question`: what of it the cluster can decide is asked there. Raises Usage for a store without a
    cluster, and for what the cluster does not hold."""
    if origin not in ORIGINS:
        raise Usage(f"unknown origin {origin!r}: {' or '.join(ORIGINS)}")
    if origin == "store":
        return as_embedded(store)
    if not hasattr(store, "shipper"):
        raise Usage('no cluster follows this store: [stores] kind = "elasticsearch", and ask the daemon')
    if question is not None and question.duplicates:
        raise Usage("the cluster has no records of flows that others count already: leave out --from cluster")
    from csirt.stores.elastic.events.mapping import kinds
    from csirt.stores.elastic.hunt import ClusterEvents

    client, config = store.shipper.client, store.config.elasticsearch
    if question is None:
        return ClusterEvents(client, config)
    search = question.search(kinds()) if question.search is not None else None
    return ClusterEvents(client, config, question.where, question.routed, search=search)
