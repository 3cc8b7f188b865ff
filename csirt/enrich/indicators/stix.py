"""Indicators in STIX 2.1: patterns that name values, one or the other of which is enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from csirt.enrich.indicators.when import moment
from csirt.model import tlp

MAX_PATTERN = 10_000
# A comparison, a bracket, OR, or space: all a pattern may be made of.
_TOKEN = re.compile(
    r"\s+|(?P<mark>\[|\]|\bOR\b)"
    r"|(?P<kind>ipv4-addr|ipv6-addr|domain-name):value\s*(?:=|\bISSUBSET\b)\s*'(?P<value>[^'\\]{1,300})'"
)
# The markings that STIX itself defines, TLP 1 and 2.
MARKINGS = {
    "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": "CLEAR",
    "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": "GREEN",
    "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": "AMBER",
    "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": "RED",
    "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487": "CLEAR",
    "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb": "GREEN",
    "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421": "AMBER",
    "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003": "AMBER+STRICT",
    "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1": "RED",
}


def looks_like(document: Any) -> bool:
    """Whether it is a bundle."""
    return isinstance(document, dict) and document.get("type") == "bundle"


def items(document: Any, name: str) -> Iterator[Any]:
    """Keyword arguments of `Raw`, or (place, reason, message) for what is none; objects that are no indicators
    (reports, relations, markings) are passed over."""
    objects = document.get("objects") if isinstance(document, dict) else None
    if not isinstance(objects, list):
        yield name, "item", "not a bundle with objects"
        return
    markings = {**MARKINGS, **dict(_own(objects))}
    for index, item in enumerate(objects):
        place = f"{name}: objects[{index}]"
        if not isinstance(item, dict):
            yield place, "item", "not an object"
        elif item.get("type") == "indicator":
            yield from _indicator(item, place, markings)


def _own(objects: list[Any]) -> Iterator[tuple[str, str]]:
    """Labels that the bundle defines itself."""
    for item in objects:
        if isinstance(item, dict) and item.get("type") == "marking-definition":
            inner = item.get("definition")
            said = inner.get("tlp") if isinstance(inner, dict) else item.get("name")
            try:
                yield str(item.get("id")), tlp.level(str(said))
            except ValueError:
                continue


def _indicator(item: dict[str, Any], place: str, markings: dict[str, str]) -> Iterator[Any]:
    pattern, confidence = item.get("pattern"), item.get("confidence")
    if item.get("revoked") is True:
        yield place, "deleted", "revoked"
        return
    if not isinstance(pattern, str) or item.get("pattern_type", "stix") != "stix":
        yield place, "pattern", "no STIX pattern"
        return
    values = _values(pattern)
    if values is None:
        yield place, "pattern", "its pattern asks for more than one address or domain, or for something else"
        return
    found: dict[str, Any] = {"place": place, "reference": str(item.get("id", ""))}
    if confidence is not None:
        if isinstance(confidence, bool) or not isinstance(confidence, int):
            yield place, "confidence", "the confidence is not from 0 to 100"
            return
        found["confidence"] = confidence
    if item.get("valid_until") is not None:
        found["until"] = moment(item["valid_until"])
        if found["until"] is None:
            yield place, "until", "valid_until is no time"
            return
    found["tlp"] = _label(item.get("object_marking_refs"), markings)
    for value in values:
        yield {**found, "value": value}


def _label(refs: Any, markings: dict[str, str]) -> str | None:
    """The strictest of the markings; one that nobody defines may be as strict as any."""
    if not isinstance(refs, list) or not refs:
        return None
    return tlp.strictest(markings.get(str(ref), "RED") for ref in refs)


def _values(pattern: str) -> list[str] | None:
    """The values any of which a pattern asks for; None for a pattern that asks for anything else."""
    if len(pattern) > MAX_PATTERN:
        return None
    values: list[str] = []
    shape: list[str] = []
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            return None
        at = token.end()
        if token["value"] is not None:
            values.append(token["value"])
            shape.append("v")
        elif token["mark"]:
            shape.append({"OR": "|"}.get(token["mark"], token["mark"]))
    whole = "".join(shape)
    return values if re.fullmatch(r"\[v(\|v)*\](\|\[v(\|v)*\])*", whole) else None
