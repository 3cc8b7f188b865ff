"""Hunting in the cluster: the events it holds, asked for by time, dataset and what of a filter it can decide,
and looked at here by the lake's own code. Sums are the cluster's where it decides all of a question. So the answer is
the same as far as both hold the same events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from csirt.clock import SECOND, iso
from csirt.model import ecs
from csirt.model.batch import Batch
from csirt.stores.elastic import connect, layout, sums
from csirt.stores.elastic.decided import EVERYTHING, Decided, odd
from csirt.stores.elastic.events import names, rebuild
from csirt.stores.elastic.pages import pages
from csirt.stores.embedded.lake import read

if TYPE_CHECKING:
    import pyarrow as pa
    from elasticsearch import Elasticsearch

    from csirt.config import ElasticCluster
    from csirt.model.filter import Filter
    from csirt.model.search import Search
    from csirt.stores.embedded.lake.ordered import Keep, Keys
    from csirt.stores.hunt.select import Question

PAGE = 2_000
_NANOS = 9_223_372_036 * SECOND  # what the cluster can hold of times
_TEXTS = 10_000  # of a field that are looked at here
_TIMED = {"exists": {"field": "@timestamp"}}
_TIMELESS = {"bool": {"must_not": _TIMED}}


class ClusterEvents:
    """What of a store's reading the hunt needs. `where`, `datasets`: what the caller will look for; documents that
    cannot pass are left where they are. `only`: a query that all must fulfil. `search`: ES|QL that finds them, where
    the cluster has that. Raises Unreachable with a sentence."""

    def __init__(
        self,
        client: Elasticsearch,
        config: ElasticCluster,
        where: Filter | None = None,
        datasets: frozenset[str] | None = None,
        *,
        only: dict[str, Any] | None = None,
        search: Search | None = None,
    ) -> None:
        self._client, self._config = client, config
        self._alias = layout.alias(config.prefix, names.EVENT)
        self._where, self._datasets, self._only = where, datasets, only
        self._search = search

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
        both = [[*wanted, one] for one in (_TIMED, _TIMELESS)] if self._search is not None else [wanted]
        for page in (page for more in both for page in self._pages(dataset, since, until, more)):
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
        pages = self._pages(dataset, None, None, [_TIMELESS])
        timeless = [rebuild.event(hit["_source"]) for page in pages for hit in page]
        early = [one for one in timeless if not one.get("@timestamp", "-") > "1970"]
        if early:
            yield early
        waiting: list[dict[str, Any]] = []
        last = None
        for page in self._pages(dataset, since, until, [_TIMED], "@timestamp"):
            for hit in page:
                if hit["sort"][0] != last and len(waiting) >= PAGE:
                    yield waiting
                    waiting = []
                last = hit["sort"][0]
                waiting.append(rebuild.event(hit["_source"]))
        if waiting:
            yield waiting
        late = [one for one in timeless if one.get("@timestamp", "-") > "1970"]
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

        try:
            if self._where is not None and _TIMELESS not in more:
                wide = self._decided(self._where, dataset, since, until).wide()
                more = [*more, *([wide] if wide is not None else [])]
            query = self._query(dataset, since, until, more)
            for some in self._found(query) if _TIMED in more else [query]:
                yield from pages(self._client, self._alias, PAGE, [order], query=some)
        except (es.ApiError, es.TransportError) as error:
            raise connect.explain(error, self._config) from error

    def _found(self, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Queries for the events of that query which the search finds, a part of the time after the other."""
        from csirt.stores.elastic.sector import esql
        from csirt.stores.elastic.sector.query import events

        if self._search is None:
            yield query
            return
        begun = False
        try:
            for ids in esql.events(self._client, self._config, events(self._alias, self._search), [query]):
                begun = True
                yield {"terms": {"event.id": ids}}
        except connect.Refusal:  # no ES|QL: all are looked at here
            if begun:
                raise
            yield query

    def sums(self, question: Question, fields: list[str]) -> tuple[pa.Table, ClusterEvents] | None:
        """Sums per value of the fields, of the events of which the cluster decides all of the question, and where to
        look for the others; None when that is better done here."""
        import elasticsearch as es

        if question.match is not None or not all(sums.exact(name) for name in fields) or self._outside(question):
            return None
        try:
            about = question.dataset, question.since, question.until
            decided = None if question.where is None else self._decided(question.where, *about)
            passed = EVERYTHING if decided is None else decided.exact()
            if passed is None:
                return None
            looked = {*fields, *sums.SUMMED, *(decided.looked if decided is not None else ())}
            apart = {"bool": {"should": [odd(looked), _TIMELESS, {"exists": {"field": ecs.DUPLICATE}}]}}
            plain = {"bool": {"must_not": [apart]}}
            query = self._query(*about, [passed, plain])
            table = sums.table(self._client, self._alias, query, fields)
        except (es.ApiError, es.TransportError) as error:
            raise connect.explain(error, self._config) from error
        if table is None:
            return None
        return table, ClusterEvents(self._client, self._config, self._where, self._datasets, only=apart)

    def _outside(self, question: Question) -> bool:
        """Whether it is about times that the cluster cannot hold."""
        since, until = question.since, question.until
        return (since is not None and since >= _NANOS) or (until is not None and until <= 0)

    def _decided(self, where: Filter, dataset: str | None, since: int | None, until: int | None) -> Decided:
        query = self._query(dataset, since, until, [])
        return Decided(where, lambda name: sums.texts(self._client, self._alias, query, name, _TEXTS))

    def _query(
        self, dataset: str | None, since: int | None, until: int | None, more: list[dict[str, Any]]
    ) -> dict[str, Any]:
        needed = [*more, *([self._only] if self._only is not None else [])]
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
            needed.append({"bool": {"should": [{"range": {"@timestamp": between}}, _TIMELESS]}})
        return {"bool": {"filter": needed}}
