"""Indicators in MISP's JSON: events, their attributes, and those of their objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PLAIN = ("ip-src", "ip-dst", "domain", "hostname")
PAIRS = ("ip-src|port", "ip-dst|port", "hostname|port")


def items(document: Any, name: str) -> Iterator[Any]:
    """Keyword arguments of `Raw`, or (place, reason, message) for what is none."""
    for place, event in _events(document, name):
        if not isinstance(event, dict):
            yield place, "item", "not an event"
            continue
        label = _tlp(event)
        yield from _attributes(event, place, label)
        for index, part in enumerate(_list(event, "Object")):
            if isinstance(part, dict):
                yield from _attributes(part, f"{place}.Object[{index}]", label)
            else:
                yield f"{place}.Object[{index}]", "item", "not an object"


def _events(document: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Events wherever MISP's exports put them."""
    if isinstance(document, dict) and "response" in document:
        document, name = document["response"], f"{name}: response"
    many = document if isinstance(document, list) else [document]
    for index, item in enumerate(many):
        place = f"{name}: [{index}]" if isinstance(document, list) else f"{name}: Event"
        yield place, item["Event"] if isinstance(item, dict) and "Event" in item else item


def _list(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _attributes(holder: dict[str, Any], place: str, label: str | None) -> Iterator[Any]:
    for index, item in enumerate(_list(holder, "Attribute")):
        yield from _attribute(item, f"{place}.Attribute[{index}]", label)


def _attribute(item: Any, place: str, label: str | None) -> Iterator[Any]:
    if not isinstance(item, dict) or not isinstance(item.get("value"), str):
        yield place, "item", "not an attribute with a value"
        return
    kind = str(item.get("type", ""))[:40]
    if item.get("deleted") in (True, "1", 1):
        yield place, "deleted", "deleted"
        return
    if item.get("to_ids") in (False, "0", 0):
        yield place, "context", "not for detection (to_ids is false)"
        return
    found = {"place": place, "tlp": _tlp(item) or label, "reference": str(item.get("uuid", ""))}
    if kind in PLAIN:
        yield {**found, "value": item["value"]}
    elif kind in PAIRS:
        yield {**found, "value": item["value"].rpartition("|")[0] or item["value"]}
    elif kind == "domain|ip":
        for value in item["value"].split("|")[:2]:
            yield {**found, "value": value}
    else:
        yield place, "kind", f"{kind or 'no type'!r} is nothing that events here have"


def _tlp(holder: dict[str, Any]) -> str | None:
    """The strictest label among the tags."""
    from csirt.model import tlp

    found = []
    for tag in _list(holder, "Tag"):
        said = tag.get("name") if isinstance(tag, dict) else None
        if isinstance(said, str) and said.lower().startswith("tlp:"):
            try:
                found.append(tlp.level(said))
            except ValueError:
                found.append("RED")  # a label we do not know may be as strict as any
    return tlp.strictest(found) or None
