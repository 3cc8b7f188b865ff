"""A search in the cluster over a stretch of event time: how much there is, where it may matter, and those events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from csirt.model.batch import Batch
from csirt.model.search import Search
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.events import names
from csirt.stores.elastic.hunt import ClusterEvents
from csirt.stores.elastic.sector import esql, query

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from csirt.config import ElasticCluster

TOGETHER = 200  # groups that one query names


@dataclass(frozen=True, slots=True)
class Survey:
    """Events that may matter: `old` of the time before a stretch, `new` in it, the `first` of those (microseconds),
    `last` of the time before the end. `odd`: groups cannot be told apart."""

    old: int
    new: int
    first: int
    last: int
    odd: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group's values in the order of `Search.group`, and the time in which its candidate buckets lie."""

    values: tuple[Any, ...]
    since: int
    until: int


class Searcher:
    """Asks one cluster. Raises Unreachable with a sentence."""

    def __init__(self, client: Elasticsearch, config: ElasticCluster) -> None:
        self._client, self._config = client, config
        self._alias = layout.alias(config.prefix, names.EVENT)

    def refresh(self) -> None:
        """Let searches see everything that was sent."""
        import elasticsearch as es

        try:
            self._client.indices.refresh(index=self._alias)
        except (es.ApiError, es.TransportError) as error:
            raise connect.explain(error, self._config) from error

    def survey(self, search: Search, after: int, until: int, back: int) -> Survey:
        """Of the stretch (after, until], and of the `back` microseconds before `after` and before `until`."""
        text = query.survey(self._alias, search, after, until - back)
        rows = esql.rows(self._client, self._config, text, [esql.between(after - back, until)])
        if not rows:
            return Survey(0, 0, 0, 0, False)
        old, new, first, last, odd = (int(value or 0) for value in rows[0])
        return Survey(old, new, first // query.NANOS, last, bool(odd))

    def candidates(self, search: Search, after: int, until: int) -> list[Candidate] | None:
        """Where an alert may be that ends in (after, until]; None: anywhere, or in more groups than can be named."""
        if search.measure == "rows":
            return None
        since = after - search.timespan
        text = query.candidates(self._alias, search)
        rows = esql.rows(self._client, self._config, text, [esql.between(since, until)])
        if len(rows) >= query.MOST:
            return None
        span = search.timespan
        return [
            Candidate(tuple(values), max(since, first * span - 1), min(until, (last + 2) * span))
            for first, last, *values in rows
        ]

    def batches(
        self, search: Search, after: int, until: int, candidates: Sequence[Candidate] | None
    ) -> Iterator[Batch]:
        """The events that may matter, each once: of the candidates, or all of them."""
        if candidates is None:
            yield from self._fetched(search, [esql.between(after - search.timespan, until)])
            return
        for start in range(0, len(candidates), TOGETHER):
            some = [_of(search.group, one) for one in candidates[start : start + TOGETHER]]
            yield from self._fetched(search, [{"bool": {"should": some}}])

    def _fetched(self, search: Search, where: list[dict[str, Any]]) -> Iterator[Batch]:
        cluster = ClusterEvents(self._client, self._config)
        for ids in esql.events(self._client, self._config, query.events(self._alias, search), where):
            yield from cluster.events(ids=ids)


def _of(group: Sequence[str], candidate: Candidate) -> dict[str, Any]:
    """The events of a candidate."""
    wanted: list[dict[str, Any]] = [esql.between(candidate.since, candidate.until)]
    for name, value in zip(group, candidate.values, strict=True):
        there = {"exists": {"field": name}}
        wanted.append({"term": {name: value}} if value is not None else {"bool": {"must_not": [there]}})
    return {"bool": {"filter": wanted}}
