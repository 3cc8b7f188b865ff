"""A search in the cluster over a stretch of event time: how much there is, where it may matter, and those events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from csirt.clock import iso
from csirt.errors import Unreachable
from csirt.model.batch import Batch
from csirt.model.search import Search
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.events import names
from csirt.stores.elastic.hunt import ClusterEvents
from csirt.stores.elastic.sector import query

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from csirt.config import ElasticCluster

PATIENCE = 120.0  # seconds for one query
TOGETHER = 200  # groups that one query names
_TIMES = (0, 9_223_372_036_854_775)  # microseconds that the cluster can hold


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
        rows = self._ask(text, [_between(after - back, until)])
        if not rows:
            return Survey(0, 0, 0, 0, False)
        old, new, first, last, odd = (int(value or 0) for value in rows[0])
        return Survey(old, new, first // query.NANOS, last, bool(odd))

    def candidates(self, search: Search, after: int, until: int) -> list[Candidate] | None:
        """Where an alert may be that ends in (after, until]; None: anywhere, or in more groups than can be named."""
        if search.measure == "rows":
            return None
        since = after - search.timespan
        rows = self._ask(query.candidates(self._alias, search), [_between(since, until)])
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
            yield from self._fetched(search, [_between(after - search.timespan, until)])
            return
        for start in range(0, len(candidates), TOGETHER):
            some = [_of(search.group, one) for one in candidates[start : start + TOGETHER]]
            yield from self._fetched(search, [{"bool": {"should": some}}])

    def _fetched(self, search: Search, where: list[dict[str, Any]]) -> Iterator[Batch]:
        text = query.events(self._alias, search)
        after: list[dict[str, Any]] = []
        cluster = ClusterEvents(self._client, self._config)
        while True:
            rows = self._ask(text, [*where, *after])
            if rows:
                yield from cluster.events(ids=[str(id) for _, id in rows])
            if len(rows) < query.MOST:
                return
            after = [_later(int(rows[-1][0]) // query.NANOS, str(rows[-1][1]))]

    def _ask(self, text: str, where: list[dict[str, Any]]) -> list[list[Any]]:
        import elasticsearch as es

        client = self._client.options(request_timeout=PATIENCE)
        try:
            answer = client.esql.query(
                query=text, filter={"bool": {"filter": where}}, allow_partial_results=False, format="json"
            ).body
        except (es.ApiError, es.TransportError) as error:
            if isinstance(error, es.ApiError) and error.meta.status in (400, 405):  # 405: it has no ES|QL at all
                raise connect.Refusal(
                    f"the cluster does not take a search (it needs 8.19 or newer): {_said(error)}"
                ) from error
            raise connect.explain(error, self._config) from error
        if answer.get("is_partial"):
            raise Unreachable("the cluster answered a query in part: a shard did not answer; it is asked again")
        rows: list[list[Any]] = answer["values"]
        return rows


def _between(after: int, until: int) -> dict[str, Any]:
    """Event times in (after, until]. Bounds are given as the least that is in and the least that is not: a time written
    without all its digits would be rounded."""
    least, most = (min(max(time + 1, _TIMES[0]), _TIMES[1]) for time in (after, until))
    return {"range": {"@timestamp": {"gte": iso(least), "lt": iso(most)}}}


def _later(time: int, id: str) -> dict[str, Any]:
    """What comes after an event in the order of time and id."""
    then = {"bool": {"filter": [_between(time - 1, time), {"range": {"event.id": {"gt": id}}}]}}
    return {"bool": {"should": [_between(time, _TIMES[1]), then]}}


def _of(group: Sequence[str], candidate: Candidate) -> dict[str, Any]:
    """The events of a candidate."""
    wanted: list[dict[str, Any]] = [_between(candidate.since, candidate.until)]
    for name, value in zip(group, candidate.values, strict=True):
        there = {"exists": {"field": name}}
        wanted.append({"term": {name: value}} if value is not None else {"bool": {"must_not": [there]}})
    return {"bool": {"filter": wanted}}


def _said(error: Any) -> str:
    """What the cluster says of a query that it does not take."""
    body = error.body.get("error", {}) if isinstance(error.body, dict) else {}
    text = body.get("reason", "") if isinstance(body, dict) else str(body)
    return " ".join(str(text).split())[:300]
