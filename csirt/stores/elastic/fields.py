"""How the documents of each kind are searched: one field for each fact, under the name the document gives it, and its
ECS name as an alias of that.

Fields are columns (doc values) without an index: searched, sorted and added up by them, at half the server's time for a
document that comes. A search reads the column of the time range it is about.
"""

from __future__ import annotations

from typing import Any

from csirt.stores.embedded.catalogue import documents

NUMBERS = frozenset({"first", "last", "created", "updated", "started", "due", "version", "level", "seq", "offset"})
RULE = ("id", "name", "version", "author", "license", "reference")
TIME: dict[str, Any] = {"type": "date_nanos"}
_WORD: dict[str, Any] = {"type": "keyword", "ignore_above": 8191, "index": False}
_NUMBER: dict[str, Any] = {"type": "long", "index": False}
_ADDRESS: dict[str, Any] = {"type": "ip", "index": False, "ignore_malformed": True}
# Words of a title are found; where they stand is not kept.
_TITLE: dict[str, Any] = {"type": "text", "norms": False, "index_options": "docs"}


def nested(**properties: Any) -> dict[str, Any]:
    """The mapping of an object."""
    return {"properties": properties}


def _alias(path: str) -> dict[str, Any]:
    return {"type": "alias", "path": path}


def mapping(kind: str) -> dict[str, Any]:
    """The whole mapping of a kind of `documents.KINDS`."""
    of = documents.KINDS[kind]
    own = {name: _NUMBER if name in NUMBERS else _WORD for name in ("id", *of.fields)}
    event = {"kind": _WORD, "id": _alias("csirt.id")}
    found: dict[str, Any] = {"@timestamp": TIME, "event": nested(**event)}
    if of.ranked:
        event["severity"] = _NUMBER
        own |= {"urgency": _alias("event.severity"), "members": _WORD, "rsit": _WORD}
        found["event"] = nested(**event)
    if kind in ("alert", "incident"):
        own |= {"tactics": _WORD, "techniques": _WORD}
        tactic, technique = nested(name=_alias("csirt.tactics")), nested(id=_alias("csirt.techniques"))
        found["threat"] = nested(tactic=tactic, technique=technique)
        found["related"] = nested(ip=_ADDRESS, hosts=_WORD)
    if kind == "alert":
        own |= {f"rule_{name}": _WORD for name in RULE}
        found["rule"] = nested(**{name: _alias(f"csirt.rule_{name}") for name in RULE})
        found["message"] = _alias("csirt.rule_name")
    if kind in ("incident", "case"):
        own["title"], found["message"] = _TITLE, _alias("csirt.title")
    if kind == "incident":
        own |= {"aliases": _WORD, "entities": nested(value=_WORD)}
    return {"dynamic": False, "properties": {**found, "csirt": nested(**own)}}


def former(have: dict[str, Any]) -> bool:
    """Whether an index of such a kind, with that mapping, was made for documents of an older csirt and refuses those of
    this one: it has a fact again that is an alias now."""
    event = have.get("properties", {}).get("event", {}).get("properties", {})
    return bool(event.get("id", {}).get("type", "alias") != "alias")
