"""The documents as the cluster holds them, by the same questions as the catalogue answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from csirt.errors import Usage
from csirt.model.chunk import Position
from csirt.model.severity import SEVERITIES
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.pages import pages
from csirt.stores.embedded.catalogue import documents

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from csirt.config import ElasticCluster

PAGE = 1_000
_RANGES = ("gte", "gt", "lte", "lt")


class Reader:
    """Reads what was acknowledged; `refresh` makes all of it seen. Raises Unreachable with a sentence."""

    def __init__(self, client: Elasticsearch, config: ElasticCluster) -> None:
        self._client, self._config = client, config

    def refresh(self) -> None:
        """Make everything that was written so far seen by searches."""
        with self._explained():
            self._client.indices.refresh(index=layout.alias(self._config.prefix, "*"))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import elasticsearch as es

        try:
            yield
        except (es.ApiError, es.TransportError) as error:
            raise connect.explain(error, self._config) from error

    def texts(self, kind: str, query: dict[str, Any], order: list[Any], limit: int | None = None) -> Iterator[str]:
        """The texts of all documents that match, page by page at one point in time."""
        index, source = layout.alias(self._config.prefix, kind), {"includes": layout.WHOLE}
        with self._explained():
            for hits in pages(self._client, index, PAGE, order, limit=limit, query=query, source=source):
                yield from (layout.text(hit["_source"]) for hit in hits)

    def all(self, kind: str, query: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Every document of a kind, by id."""
        for text in self.texts(kind, query or {"match_all": {}}, ["csirt.id"]):
            yield orjson.loads(text)

    def raw(self, kind: str, id: str) -> dict[str, Any] | None:
        """The document of exactly that id."""
        with self._explained():
            answer = self._client.options(ignore_status=404).get(
                index=layout.alias(self._config.prefix, kind), id=id, source=layout.WHOLE
            )
        if not answer.get("found"):
            return None
        found: dict[str, Any] = orjson.loads(layout.text(answer["_source"]))
        return found

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        """The document of that id; an incident merged into another resolves to the one that took it over."""
        found = self.raw(documents.kind(kind).name, id)
        if kind != "incident":
            return found
        seen = {id}
        while True:
            if found is not None and not found["merged_into"]:
                return found
            target = found["merged_into"] if found is not None else self._heir(id)
            if not target or target in seen:
                return found
            seen.add(target)
            id, found = target, self.raw(kind, target)

    def _heir(self, alias: str) -> str:
        found = list(self.texts("incident", {"term": {"csirt.aliases": alias}}, ["csirt.id"], 1))
        return str(orjson.loads(found[0])["id"]) if found else ""

    def find(
        self,
        kind: str,
        where: dict[str, Any] | None = None,
        *,
        order: str = "id",
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """Documents of a kind, as the store's contract says. Raises Usage."""
        of = documents.kind(kind)
        query, sort = _query(of, where or {}), _order(of, order, descending)
        texts = self.texts(kind, query, sort, None if limit is None else limit + offset)
        return [orjson.loads(text) for place, text in enumerate(texts) if place >= offset]

    def count(self, kind: str, where: dict[str, Any] | None = None) -> int:
        """How many documents `find` would give."""
        query = _query(documents.kind(kind), where or {})
        with self._explained():
            answer = self._client.count(index=layout.alias(self._config.prefix, kind), query=query)
        return int(answer["count"])

    def incidents_with(self, entities: list[tuple[str, str]], since: int, until: int) -> list[dict[str, Any]]:
        """Incidents not merged away that have any of the entities and overlap [since, until], in id order. Of kind
        `alert`: that hold the alert of that id; after mergers, those that took it over."""
        pairs = {pair for pair in entities if pair[0] != "alert"}
        own = self._holding([value for kind, value in entities if kind == "alert"])
        values = sorted({value for _, value in pairs})
        filters: list[dict[str, Any]] = [
            {"bool": {"should": [{"terms": {"csirt.entities.value": values}}, {"ids": {"values": own}}]}},
            {"term": {"csirt.merged_into": ""}},
            {"range": {"csirt.last": {"gte": since}}},
            {"range": {"csirt.first": {"lte": until}}},
        ]
        found = self.all("incident", {"bool": {"filter": filters}})
        # The cluster knows the values, and not of which kind each is.
        return [one for one in found if one["id"] in own or _entities(one) & pairs]

    def _holding(self, alerts: list[str]) -> list[str]:
        """The ids of the incidents that these alerts say they are in, and of those that took them over."""
        found: set[str] = set()
        more = {item["incident"] for item in self.find("alert", {"id": alerts})} if alerts else set()
        while more := more - found - {""}:
            found |= more
            more = {item["merged_into"] for item in self.find("incident", {"id": sorted(more)})}
        return sorted(found)

    def case_events(self, case: str) -> list[dict[str, Any]]:
        """All events of a case in order."""
        texts = self.texts("case_event", {"term": {"csirt.case": case}}, ["csirt.seq"])
        return [orjson.loads(text) for text in texts]

    def resolve(self, kind: str, prefix: str) -> list[str]:
        """Ids whose number or id starts with the text, letter case ignored; a whole one stands alone; at most 20."""
        of = documents.kind(kind)
        if not prefix:
            return []
        low, up = prefix.lower(), prefix.upper()
        names = {"id": low, **({"number": up} if "number" in of.fields else {})}
        for name, value in names.items():
            exact = self._ids(kind, {"term": {f"csirt.{name}": value}}, name)
            if exact:
                return exact
        found = [one for name, value in names.items() for one in self._ids(kind, _starts(name, value), name)]
        if kind == "incident":
            found += self._ids(kind, _starts("aliases", low), "id")
        return list(dict.fromkeys(found))[:20]

    def _ids(self, kind: str, query: dict[str, Any], order: str) -> list[str]:
        return [str(orjson.loads(text)["id"]) for text in self.texts(kind, query, [f"csirt.{order}", "csirt.id"], 20)]

    def positions(self) -> list[Position]:
        """All positions, by source and fingerprint."""
        texts = self.texts("position", {"match_all": {}}, ["csirt.source", "csirt.fingerprint"])
        return [Position(**orjson.loads(text)) for text in texts]


def _entities(incident: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["kind"], one["value"]) for one in incident["entities"]}


def _starts(name: str, value: str) -> dict[str, Any]:
    return {"range": {f"csirt.{name}": {"gte": value, "lt": value + "\U0010ffff"}}}


def _query(of: documents.Kind, where: dict[str, Any]) -> dict[str, Any]:
    """The contract's conditions as a query. Raises Usage."""
    needed: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for key, value in where.items():
        field, _, suffix = key.partition("__")
        if suffix not in ("", "ne", *_RANGES) or (field != "id" and field not in of.fields):
            known = ", ".join(("id", *of.fields))
            raise Usage(f"{of.name}: cannot find by {key!r}; fields: {known}, with __gte, __gt, __lte, __lt, __ne")
        name = f"csirt.{field}"
        if suffix in _RANGES:
            if field == "severity" and of.ranked:
                name, value = "csirt.urgency", _rank(value)
            needed.append({"range": {name: {suffix: value}}})
        elif suffix == "ne":
            needed.append({"exists": {"field": name}})
            refused.append({"term": {name: value}})
        elif isinstance(value, list | tuple | set | frozenset):
            needed.append({"terms": {name: list(value)}})
        else:
            needed.append({"term": {name: value}} if value is not None else {"match_none": {}})
    return {"bool": {"filter": needed, "must_not": refused}} if needed or refused else {"match_all": {}}


def _rank(severity: str) -> int:
    if severity not in SEVERITIES:
        raise Usage(f"unknown severity {severity!r}; severities: {', '.join(SEVERITIES)}")
    return SEVERITIES.index(severity)


def _order(of: documents.Kind, order: str, descending: bool) -> list[dict[str, Any]]:
    """The contract's order as a sort; the id decides ties. Raises Usage."""
    found: list[dict[str, Any]] = []
    for item in [*order.split(","), "id"]:
        field = item.strip()
        down = item != "id" and descending != field.startswith("-")
        down = down or (item == "id" and order.strip() == "id" and descending)
        field = field.lstrip("-")
        if field != "id" and field not in of.fields:
            raise Usage(f"{of.name}: cannot order by {field!r}; fields: {', '.join(('id', *of.fields))}")
        name = "csirt.urgency" if of.ranked and field == "severity" else f"csirt.{field}"
        way = {"order": "desc" if down else "asc", "missing": "_last" if down else "_first"}
        found.append({name: way})
        if field == "id":
            return found
    return found
