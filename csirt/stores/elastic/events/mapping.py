"""How events and minute sums are searched in the cluster: every column of the schema under its ECS name.

What no column names (`netflow.*`) is in the document and not searched. A value that the field cannot hold (an address
that is none, a time before 1970) leaves the field out of the search and stays in the document.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from csirt.model import ecs

_WORD: dict[str, Any] = {"type": "keyword", "ignore_above": 8191}
_LONG: dict[str, Any] = {"type": "long", "ignore_malformed": True}
_DATE: dict[str, Any] = {"type": "date_nanos", "ignore_malformed": True}
_IP: dict[str, Any] = {"type": "ip", "ignore_malformed": True}
_FLOAT: dict[str, Any] = {"type": "double", "ignore_malformed": True}
# Columns that are made where an event becomes text.
_COMPUTED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            "event.id", "event.dataset", "event.module", "event.kind", "event.category", "event.type", "ecs.version",
            "network.type", "network.transport", "network.community_id",
        ),
        _WORD,
    ),
    **dict.fromkeys(
        ("event.duration", "source.bytes", "source.packets", "destination.bytes", "destination.packets"), _LONG
    ),
    "event.end": _DATE,
    "related.ip": _IP,
}  # fmt: skip
_HIDDEN = {ecs.DUE, "csirt.segment", "csirt.ordinal", "netflow.next_hop", "netflow.bgp_next_hop"}
# Numbers that name something are words in ECS.
_NAMES = frozenset({"network.iana_number", "network.vlan.id", "dns.id", "observer.ingress.interface.id"})
_NAMED = _NAMES | {"observer.egress.interface.id"}
_LAKE: dict[str, dict[str, Any]] = {"lake.received": {"type": "date"}, "lake.store": _WORD}


def fields() -> dict[str, dict[str, Any]]:
    """Every field of an event that is searched, by its dotted name."""
    found: dict[str, dict[str, Any]] = {}
    for columns in ecs.DATASETS.values():
        for name, kind in columns.items():
            if name not in _HIDDEN and not name.startswith("netflow."):
                found[name] = _WORD if name in _NAMED else _IP if name == "observer.ip" else _field(kind)
    found |= {name: _IP for name in ecs.ADDRESSES if name not in _HIDDEN}
    return {**found, **_COMPUTED, **_LAKE}


def kinds() -> dict[str, str]:
    """The type of every field of an event that is searched."""
    return {name: str(body["type"]) for name, body in fields().items()}


def minute_fields() -> dict[str, dict[str, Any]]:
    """Every field of a minute sum."""
    known = fields()
    names = (
        "@timestamp", "ecs.version", "event.kind", "event.duration", "network.bytes", "network.packets",
        "network.iana_number", "network.transport", "source.bytes", "source.packets", "destination.bytes",
        "destination.packets", "destination.port",
        *(f"csirt.{end}.{name}" for end in ("source", "destination") for name in ("member.id", "member.name", "zone")),
    )  # fmt: skip
    return {**{name: known[name] for name in names}, "csirt.minute.records": _LONG, **_LAKE}


def _field(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_timestamp(kind):
        return _DATE
    if pa.types.is_boolean(kind):
        return {"type": "boolean"}
    if pa.types.is_floating(kind):
        return _FLOAT
    return _LONG if pa.types.is_integer(kind) else _WORD


def mappings(names: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The mapping of an index with these fields."""
    properties: dict[str, Any] = {}
    for name, field in names.items():
        *outer, last = name.split(".")
        node = properties
        for key in outer:
            node = node.setdefault(key, {}).setdefault("properties", {})
        node[last] = field
    return {"dynamic": False, "properties": properties}
