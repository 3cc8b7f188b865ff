"""Retention in the cluster: dated indices go as a whole once all they hold is over its time.

Of an index that holds a month of a dataset, what is over its time goes document by document meanwhile, so that no event
stays longer there than in the lake. Minute sums name no person: they go by whole months.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from csirt.clock import HOUR
from csirt.config import Retention, duration
from csirt.model.audit import AuditEntry
from csirt.stores.elastic.events import names

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

PAGE = 1_000


@dataclass(slots=True)
class Retired:
    """What went."""

    indices: list[str] = field(default_factory=list)
    events: int = 0

    def entry(self, now: int) -> AuditEntry:
        """For the audit."""
        detail: dict[str, Any] = {"indices": self.indices, "events": self.events}
        return AuditEntry(time=now, actor="system", category="operation", action="cluster.retention", detail=detail)


def retire(client: Elasticsearch, prefix: str, retention: Retention, now: int) -> Retired:
    """Delete what is over its time. The last index of a kind stays, for the alias is on it: it is emptied instead.
    Raises what the client raises."""
    gone = Retired()
    for kind in names.KINDS:
        answer = client.options(ignore_status=404).indices.get_alias(name=f"{prefix}-{kind}").body
        dated = {name: found for name in answer if (found := names.parse(prefix, name)) is not None}
        last = max(dated, key=lambda name: (dated[name].begin, name), default="")
        for name, index in sorted(dated.items()):
            cutoff = now - kept_for(retention, index)
            if index.end <= cutoff and name != last:
                client.options(ignore_status=404).indices.delete(index=name)
                gone.indices.append(name)
            elif index.begin <= cutoff and (kind == names.EVENT or index.end <= cutoff):
                gone.events += _empty(client, name, cutoff // HOUR * HOUR - HOUR)
    return gone


def kept_for(retention: Retention, index: names.Dated) -> int:
    """How long what an index holds is kept, in microseconds."""
    from csirt.stores.embedded.retention import kept_for as events

    return duration(retention.minutes) if index.kind == names.MINUTE else events(retention, index.dataset)


def _empty(client: Elasticsearch, name: str, cutoff: int) -> int:
    """Delete the documents of rows taken in hours up to that one."""
    client.indices.refresh(index=name)
    gone = 0
    while True:
        answer = client.search(
            index=name,
            query={"range": {"lake.received": {"lte": cutoff // 1000, "format": "epoch_millis"}}},
            size=PAGE,
            source=False,
            sort=["_doc"],
        )
        lines: list[Any] = [{"delete": {"_index": name, "_id": hit["_id"]}} for hit in answer["hits"]["hits"]]
        if not lines:
            return gone
        done = client.bulk(operations=lines, refresh=True)
        deleted = sum(item["delete"]["status"] < 300 for item in done["items"])
        if not deleted:
            return gone  # what stands in the way is said by the next request that writes
        gone += deleted
