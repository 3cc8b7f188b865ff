"""Documents and indices as csirt made them before each fact was there once (templates of version 1), for tests of what
becomes of them."""

from __future__ import annotations

from typing import Any

import orjson

from csirt.clock import iso
from csirt.model.severity import RANK
from csirt.stores.elastic import fields, layout
from csirt.stores.embedded.catalogue import documents

_WORD: dict[str, Any] = {"type": "keyword", "ignore_above": 8191}
_LONG = {"type": "long"}


def mapping(kind: str) -> dict[str, Any]:
    """Of an index of that kind."""
    nested = fields.nested
    own = {name: _LONG if name in fields.NUMBERS else _WORD for name in documents.KINDS[kind].fields}
    more = dict.fromkeys(("kind", "id", "entities", "aliases", "members", "rsit"), _WORD)
    return {
        "dynamic": False,
        "properties": {
            "@timestamp": {"type": "date_nanos"},
            "ecs": nested(version=_WORD),
            "message": {"type": "text"},
            "event": nested(kind=_WORD, id=_WORD, action=_WORD, severity=_LONG),
            "rule": nested(**dict.fromkeys(fields.RULE, _WORD)),
            "threat": nested(tactic=nested(name=_WORD), technique=nested(id=_WORD)),
            "related": nested(ip={"type": "ip", "ignore_malformed": True}, hosts=_WORD),
            "user": nested(name=_WORD),
            "csirt": nested(**own, **more, urgency=_LONG),
        },
    }


def body(kind: str, document: dict[str, Any]) -> dict[str, Any]:
    """Of an alert or an incident."""
    entities = [(one["kind"], one["value"]) for one in document["entities"]]
    own = {name: document[name] for name in (*documents.KINDS[kind].fields, "members", "rsit")}
    own |= {"kind": kind, "id": document["id"], "urgency": RANK[document["severity"]]}
    found: dict[str, Any] = {
        "@timestamp": iso(document["last"]),
        "event": {"kind": "alert", "id": document["id"], "severity": RANK[document["severity"]]},
        "threat": {"tactic": {"name": document["tactics"]}, "technique": {"id": document["techniques"]}},
        "related": {"ip": sorted({value for of, value in entities if of == "host"})},
        "csirt": own,
        "ecs": {"version": "8.17.0"},
        layout.TEXT: documents.text(document),
    }
    if kind == "alert":
        rule = {name: document[f"rule_{name}"] for name in fields.RULE if document[f"rule_{name}"]}
        return {**found, "message": document["rule_name"], "rule": rule}
    own |= {"entities": sorted(f"{of}:{value}" for of, value in entities), "aliases": document["aliases"]}
    return {**found, "message": document["title"]}


def made(client: Any, prefix: str) -> None:
    """Every kind's index as it was; the rest as it is."""
    for kind in documents.KINDS:
        name = layout.alias(prefix, kind)
        client.indices.delete(index=f"{name}-000001")
        aliases = {name: {"is_write_index": True}}
        client.indices.create(index=f"{name}-000001", mappings=mapping(kind), aliases=aliases)


def lines(prefix: str, kind: str, found: list[dict[str, Any]]) -> list[Any]:
    """The lines of a request that brings documents as they were, in version 1."""
    made: list[Any] = []
    for document in found:
        where = {"_index": layout.alias(prefix, kind), "_id": document["id"], "version": 1, "version_type": "external"}
        made += [{"index": where}, orjson.dumps(body(kind, document))]
    return made
