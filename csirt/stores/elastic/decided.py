"""What of a filter the cluster decides, so that few events are fetched, or none where only sums are asked for.

`exact` is true of just the events that pass, `wide` of those and maybe more, both as far as the index says what an
event says. Of events of which it does not (`Decided.odd`) nothing may be concluded: they are fetched and looked at
here. Text is compared here, too: the cluster is asked which texts a field has, and then for those that pass.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import cache
from typing import Any

import pyarrow as pa

from csirt.model import ecs
from csirt.model.filter import Filter
from csirt.model.filter_nodes import AllOf, AnyOf, Compare, Flag, Node, Not
from csirt.model.literal import TIMES, Literal, compare
from csirt.stores.elastic.events import mapping
from csirt.stores.elastic.events.rebuild import COMPUTED

Query = dict[str, Any]
LONGEST = (1 << 63) - 1  # larger numbers are cut to this one
_SAFE = 1 << 62
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_MADE = frozenset({"event.dataset", "network.transport"})  # computed, and the same in a table as in a document
NOTHING: Query = {"match_none": {}}
EVERYTHING: Query = {"match_all": {}}


@cache
def kind(name: str) -> str:
    """How the cluster searches a column, as tables hold it: keyword, long, ip or boolean; empty where the two do not
    say the same."""
    if name in COMPUTED and name not in _MADE:
        return ""
    found = str(mapping.fields().get(name, {}).get("type", ""))
    if name in ecs.ADDRESSES or name in _MADE:
        return found
    if found == "ip":  # text in a table
        return ""
    columns = {str(columns[name]) for columns in ecs.DATASETS.values() if name in columns}
    return found if len(columns) == 1 and found in ("keyword", "long", "boolean") else ""


@cache
def several(name: str) -> bool:
    """Whether an event may have several values of it."""
    return any(columns.get(name) == ecs.LIST for columns in ecs.DATASETS.values())


def typed(name: str, text: Any) -> Any:
    """A value as the tables hold it: some numbers are words to the cluster."""
    for columns in ecs.DATASETS.values():
        if name in columns and pa.types.is_integer(columns[name]):
            return int(text)
    return text


class Decided:
    """Translates one filter. `texts(field)`: all the texts a field has among the events asked for, None for too many.
    `looked`: the fields that what was said hangs on."""

    def __init__(self, where: Filter, texts: Callable[[str], list[str] | None]) -> None:
        self._where, self._texts = where, texts
        self._known: dict[str, list[str] | None] = {}
        self.looked: set[str] = set()

    def exact(self) -> Query | None:
        """True of just the events that pass; None when that cannot be said."""
        return self._exact(self._where.node)

    def wide(self) -> Query | None:
        """True of the events that pass and maybe of others; None when nothing can be said."""
        found = self._wide(self._where.node)
        if found is None or not self.looked:
            return found
        return {"bool": {"should": [found, odd(self.looked)]}}

    def _wide(self, node: Node) -> Query | None:
        if isinstance(node, AllOf):
            parts = [query for part in node.parts if (query := self._wide(part)) is not None]
            return {"bool": {"filter": parts}} if parts else None
        if isinstance(node, AnyOf):
            found = [self._wide(part) for part in node.parts]
            return {"bool": {"should": found}} if found and None not in found else None
        before = set(self.looked)
        query = self._compared(node, wide=True) if isinstance(node, Compare) else self._exact(node)
        if query is None:
            self.looked = before
        return query

    def _exact(self, node: Node) -> Query | None:
        if isinstance(node, AllOf | AnyOf):
            found = [self._exact(part) for part in node.parts]
            if None in found:
                return None
            if not found:
                return EVERYTHING if isinstance(node, AllOf) else NOTHING
            return {"bool": {"filter" if isinstance(node, AllOf) else "should": found}}
        if isinstance(node, Not):
            inner = self._exact(node.part)
            return {"bool": {"must_not": [inner]}} if inner is not None else None
        if isinstance(node, Flag):
            return self._flagged(node)
        return self._compared(node, wide=False) if isinstance(node, Compare) else None

    def _flagged(self, node: Flag) -> Query | None:
        found = []
        for name in node.fields:
            if _nowhere(name):
                continue
            if kind(name) != "boolean":
                return None
            self.looked.add(name)
            found.append({"term": {name: True}})
        return {"bool": {"should": found}} if found else NOTHING

    def _compared(self, node: Compare, *, wide: bool) -> Query | None:
        found: list[Query] = []
        for name in node.fields:
            if _nowhere(name):
                continue
            made = None if name in TIMES else self._field(name, node.op, node.values, wide)
            if made is None:
                return None
            found += made
        return {"bool": {"should": found}} if found else NOTHING

    def _field(self, name: str, op: str, values: tuple[Literal, ...], wide: bool) -> list[Query] | None:
        known = kind(name)
        if known == "ip":
            if not wide:
                self.looked.add(name)
            return _addresses(name, op, values)
        self.looked.add(name)
        if known == "long":
            found = [_number(name, op, value) for value in values]
            return None if None in found else [query for query in found if query is not None]
        if known == "boolean":
            return [{"term": {name: value.truth}} for value in values if op == "=" and value.truth is not None]
        return self._words(name, op, values) if known == "keyword" else None

    def _words(self, name: str, op: str, values: tuple[Literal, ...]) -> list[Query] | None:
        """Those of the field's texts that pass."""
        if name not in self._known:
            self._known[name] = self._texts(name)
        texts = self._known[name]
        if texts is None:
            return None
        now = self._where.now
        passed = [text for text in texts if any(compare(typed(name, text), op, one, False, now) for one in values)]
        return [{"terms": {name: passed}}] if passed else []


def _nowhere(name: str) -> bool:
    """Whether no event has a field of that name: what people say of cases, or short for several fields."""
    return "." not in name and not any(name in columns for columns in ecs.DATASETS.values())


def _number(name: str, op: str, value: Literal) -> Query | None:
    """A test of a whole number."""
    wanted = value.amount
    if wanted is None:
        return NOTHING
    if not isinstance(wanted, int):
        return NOTHING if op == "=" else None
    if abs(wanted) >= _SAFE:
        return None
    return {"term": {name: wanted}} if op == "=" else {"range": {name: {_RANGES[op]: wanted}}}


def _addresses(name: str, op: str, values: tuple[Literal, ...]) -> list[Query] | None:
    """Addresses and prefixes; none of IPv4 within IPv6, which is IPv4 to the cluster."""
    found = []
    for value in values:
        if op != "=" or value.network is None:
            return None
        network = ipaddress.ip_network(value.text, strict=False)
        if network.version == 6 and network.overlaps(_MAPPED):
            return None
        found.append({"term": {name: str(network)}})
    return found


def odd(fields: set[str]) -> Query:
    """Events of whose values in these fields the index may say something else than the event does: too long or
    malformed, cut, of another family, or in a dataset without such a column."""
    found: list[Query] = [{"exists": {"field": "_ignored"}}]
    for name in sorted(fields):
        there = {"exists": {"field": name}}
        lacking = sorted(dataset for dataset in ecs.DATASETS if not _has(dataset, name))
        if lacking:
            found.append({"bool": {"filter": [{"terms": {"event.dataset": lacking}}, there]}})
        if kind(name) == "long":
            found.append({"term": {name: LONGEST}})
        if kind(name) == "ip":
            plain = {"term": {"network.type": "ipv4"}}
            found.append({"bool": {"filter": [{"term": {name: "0.0.0.0/0"}}], "must_not": [plain]}})
    return {"bool": {"should": found}}


def _has(dataset: str, name: str) -> bool:
    made = name == "event.dataset" or (name == "network.transport" and dataset == "flow")
    return made or name in ecs.ADDRESSES or name in ecs.DATASETS[dataset]
