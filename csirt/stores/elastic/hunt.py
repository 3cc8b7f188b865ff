"""Hunting in the cluster: the events it holds, asked for by time, dataset and what of a filter it can decide,
and looked at here by the lake's own code. So the answer is the same as far as both hold the same events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from csirt.clock import SECOND, iso
from csirt.model.batch import Batch
from csirt.model.filter_nodes import AllOf, AnyOf, Compare, Node
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.events import mapping, names, rebuild
from csirt.stores.elastic.pages import pages
from csirt.stores.embedded.lake import read

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from csirt.config import ElasticCluster
    from csirt.model.filter import Filter
    from csirt.stores.embedded.lake.ordered import Keep, Keys

PAGE = 2_000
_NANOS = 9_223_372_036 * SECOND  # what the cluster can hold of times
_SAFE = 1 << 62  # numbers above are cut there


class ClusterEvents:
    """What of a store's reading the hunt needs. `where`, `datasets`: what the caller will look for; documents that
    cannot pass are left where they are. Raises Unreachable with a sentence."""

    def __init__(
        self,
        client: Elasticsearch,
        config: ElasticCluster,
        where: Filter | None = None,
        datasets: frozenset[str] | None = None,
    ) -> None:
        self._client, self._config = client, config
        self._where = condition(where.node) if where is not None else None
        self._datasets = datasets

    def events(
        self,
        dataset: str | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        ids: list[str] | None = None,
        columns: list[str] | None = None,
    ) -> Iterator[Batch]:
        """Event tables, rows with event time in [since, until) or of these ids."""
        wanted: list[dict[str, Any]] = [{"terms": {"event.id": ids}}] if ids is not None else []
        for page in self._pages(dataset, since, until, wanted):
            for batch in rebuild.batches([rebuild.event(hit["_source"]) for hit in page]):
                rows = Batch(batch.dataset, read.between(batch.table, since, until))
                if rows.rows:
                    yield rows

    def in_time_order(
        self, dataset: str | None, *, since: int | None, until: int | None, keep: Keep, keys: Keys
    ) -> Iterator[list[Batch]]:
        """Rows that `keep` lets through, in groups of batches that follow each other in event time."""
        for group in self._stretches(dataset, since, until):
            kept = [
                keep(Batch(batch.dataset, read.between(batch.table, since, until))) for batch in rebuild.batches(group)
            ]
            yield [batch for batch in kept if batch.rows]

    def _stretches(self, dataset: str | None, since: int | None, until: int | None) -> Iterator[list[dict[str, Any]]]:
        """Events in groups that share no event time, rising; first and last those that the cluster has no time of."""
        none = [{"bool": {"must_not": {"exists": {"field": "@timestamp"}}}}]
        odd = [rebuild.event(hit["_source"]) for page in self._pages(dataset, None, None, none) for hit in page]
        early = [one for one in odd if not one.get("@timestamp", "-") > "1970"]
        if early:
            yield early
        waiting: list[dict[str, Any]] = []
        last = None
        timed = [{"exists": {"field": "@timestamp"}}]
        for page in self._pages(dataset, since, until, timed, "@timestamp"):
            for hit in page:
                if hit["sort"][0] != last and len(waiting) >= PAGE:
                    yield waiting
                    waiting = []
                last = hit["sort"][0]
                waiting.append(rebuild.event(hit["_source"]))
        if waiting:
            yield waiting
        late = [one for one in odd if one.get("@timestamp", "-") > "1970"]
        if late:
            yield late

    def _pages(
        self,
        dataset: str | None,
        since: int | None,
        until: int | None,
        more: list[dict[str, Any]],
        order: str = "_shard_doc",
    ) -> Iterator[list[dict[str, Any]]]:
        """Documents at one point in time, without those that cannot pass."""
        import elasticsearch as es

        query = self._query(dataset, since, until, more)
        try:
            yield from pages(self._client, layout.alias(self._config.prefix, names.EVENT), PAGE, [order], query=query)
        except (es.ApiError, es.TransportError) as error:
            raise connect.explain(error, self._config) from error

    def _query(
        self, dataset: str | None, since: int | None, until: int | None, more: list[dict[str, Any]]
    ) -> dict[str, Any]:
        needed = [*more]
        if dataset is not None:
            needed.append({"term": {"event.dataset": dataset}})
        if self._datasets is not None:
            needed.append({"terms": {"event.dataset": sorted(self._datasets)}})
        between = {}
        if since is not None and 0 <= since < _NANOS:
            between["gte"] = iso(since)
        if until is not None and 0 <= until < _NANOS:
            between["lt"] = iso(until)
        if between:  # rows whose time the cluster could not hold are looked at here
            timeless = {"bool": {"must_not": {"exists": {"field": "@timestamp"}}}}
            needed.append({"bool": {"should": [{"range": {"@timestamp": between}}, timeless]}})
        if self._where is not None:
            needed.append(self._where)
        return {"bool": {"filter": needed}}


def condition(node: Node) -> dict[str, Any] | None:
    """A query that every event fulfils that passes the filter, and few others; None when nothing can be said."""
    if isinstance(node, AllOf):
        found = [query for part in node.parts if (query := condition(part)) is not None]
        return {"bool": {"filter": found}} if found else None
    if isinstance(node, AnyOf):
        parts = [condition(part) for part in node.parts]
        return {"bool": {"should": parts}} if parts and all(part is not None for part in parts) else None
    return _compared(node) if isinstance(node, Compare) else None


def _compared(node: Compare) -> dict[str, Any] | None:
    """Equal numbers and addresses; the rest of the grammar folds and cuts text as no index does."""
    known = mapping.fields()
    if node.op != "=":
        return None
    found: list[dict[str, Any]] = []
    for name in node.fields:
        kind = known.get(name, {}).get("type")
        values = [_value(str(kind), literal) for literal in node.values]
        if kind not in ("long", "ip") or any(value is None for value in values):
            return None
        found += [{"term": {name: value}} for value in values]
    return {"bool": {"should": found}}


def _value(kind: str, literal: Any) -> Any:
    import ipaddress

    text = str(literal.text)
    if kind == "long":
        return int(text) if text.isdigit() and len(text) < 19 and int(text) < _SAFE else None
    try:
        return str(ipaddress.ip_network(text, strict=False)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError:
        return None
