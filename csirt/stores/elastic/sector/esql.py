"""ES|QL: one query, and the events that one finds, as many as there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from csirt.clock import iso
from csirt.errors import Unreachable
from csirt.stores.elastic import connect
from csirt.stores.elastic.sector import query

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from csirt.config import ElasticCluster

PATIENCE = 120.0  # seconds for one query
_TIMES = (0, 9_223_372_036_854_775)  # microseconds that the cluster can hold


def rows(client: Elasticsearch, config: ElasticCluster, text: str, where: list[dict[str, Any]]) -> list[list[Any]]:
    """What a query answers of the documents that fulfil all of `where`. Raises Unreachable, and Refusal where the
    cluster does not take it."""
    import elasticsearch as es

    try:
        answer = (
            client.options(request_timeout=PATIENCE)
            .esql.query(query=text, filter={"bool": {"filter": where}}, allow_partial_results=False, format="json")
            .body
        )
    except (es.ApiError, es.TransportError) as error:
        if isinstance(error, es.ApiError) and error.meta.status in (400, 405):  # 405: it has no ES|QL at all
            raise connect.Refusal(
                f"the cluster does not take a search (it needs 8.19 or newer): {_said(error)}"
            ) from error
        raise connect.explain(error, config) from error
    if answer.get("is_partial"):
        raise Unreachable("the cluster answered a query in part: a shard did not answer; it is asked again")
    found: list[list[Any]] = answer["values"]
    return found


def events(
    client: Elasticsearch, config: ElasticCluster, text: str, where: list[dict[str, Any]]
) -> Iterator[list[str]]:
    """The ids that `query.events` finds, in the order of time and id, in lists of what a cluster gives at once."""
    after: list[dict[str, Any]] = []
    while True:
        found = rows(client, config, text, [*where, *after])
        if found:
            yield [str(id) for _, id in found]
        if len(found) < query.MOST:
            return
        after = [_later(int(found[-1][0]) // query.NANOS, str(found[-1][1]))]


def between(after: int, until: int) -> dict[str, Any]:
    """Event times in (after, until]. Bounds are given as the least that is in and the least that is not: a time written
    without all its digits would be rounded."""
    least, most = (min(max(time + 1, _TIMES[0]), _TIMES[1]) for time in (after, until))
    return {"range": {"@timestamp": {"gte": iso(least), "lt": iso(most)}}}


def _later(time: int, id: str) -> dict[str, Any]:
    """What comes after an event in the order of time and id."""
    then = {"bool": {"filter": [between(time - 1, time), {"range": {"event.id": {"gt": id}}}]}}
    return {"bool": {"should": [between(time, _TIMES[1]), then]}}


def _said(error: Any) -> str:
    """What the cluster says of a query that it does not take."""
    body = error.body.get("error", {}) if isinstance(error.body, dict) else {}
    text = body.get("reason", "") if isinstance(body, dict) else str(body)
    return " ".join(str(text).split())[:300]
