"""A document of indicators: MISP JSON, STIX 2.1 or CSV, from anybody. Every item that cannot be used is told with its
place and reason; the others count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from csirt.enrich.indicators import misp, rows, stix
from csirt.enrich.indicators.values import Indicator, Refused, canonical
from csirt.errors import Usage
from csirt.model import tlp

FORMATS = ("auto", "csv", "misp", "stix")
MAX_BYTES = 4 * 1024 * 1024
MAX_ITEMS = 200_000
MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Raw:
    """What a format says of one item. None: it says nothing of that. `until` in microseconds."""

    place: str
    value: str
    confidence: int | None = None
    tlp: str | None = None
    until: int | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where the document says nothing, and of the list as a whole."""

    list: str
    now: int
    ttl: int
    longest: int
    source: str = ""
    confidence: int = 50
    tlp: str = "AMBER"


@dataclass
class Parsed:
    """`items` by value, each once; `refused` counts by reason; `problems`: the first of them, with their place."""

    format: str
    items: dict[str, Indicator] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    problems: list[dict[str, str]] = field(default_factory=list)
    repeated: int = 0

    def refuse(self, place: str, reason: str, message: str) -> None:
        """An item that does not count."""
        self.refused[reason] += 1
        if len(self.problems) < MAX_SHOWN:
            self.problems.append({"place": place, "reason": reason, "message": message})


def parse(text: str, name: str, format_: str, defaults: Defaults) -> Parsed:
    """The indicators of a document. Raises Usage for one that is of no format at all, or too large."""
    raw = text.encode("utf-8", "replace")
    if len(raw) > MAX_BYTES:
        raise Usage(f"{name}: larger than {MAX_BYTES // 1024 // 1024} MiB; split it")
    document = None if format_ == "csv" else _json(raw, name, sure=format_ != "auto")
    if format_ == "auto":
        format_ = "csv" if document is None else "stix" if stix.looks_like(document) else "misp"
    result = Parsed(format_)
    for number, item in enumerate(_items(text, name, format_, document)):
        if number >= MAX_ITEMS:
            result.refuse(name, "many", f"more than {MAX_ITEMS} items: the rest is left out")
            break
        if isinstance(item, Raw):
            _take(result, item, defaults)
        else:
            result.refuse(*item)
    return result


def _json(raw: bytes, name: str, *, sure: bool) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if sure or raw.lstrip()[:1] in (b"{", b"["):
            raise Usage(f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
        return None


def _items(text: str, name: str, format_: str, document: Any) -> Iterator[Any]:
    if format_ == "csv":
        found: Iterator[Any] = rows.items(text, name)
    elif format_ == "stix":
        found = stix.items(document, name)
    else:
        found = misp.items(document, name)
    for item in found:
        yield Raw(**item) if isinstance(item, dict) else item


def _take(result: Parsed, raw: Raw, defaults: Defaults) -> None:
    try:
        kind, value = canonical(raw.value)
        label = defaults.tlp if raw.tlp is None else tlp.level(raw.tlp)
        confidence = defaults.confidence if raw.confidence is None else raw.confidence
        if not 0 <= confidence <= 100:
            raise Refused("confidence", f"the confidence {confidence} is not from 0 to 100")
        expires = min(raw.until or defaults.now + defaults.ttl, defaults.now + defaults.longest)
        if expires <= defaults.now:
            raise Refused("over", "its time is over")
    except Refused as error:
        result.refuse(raw.place, error.reason, str(error))
        return
    except ValueError as error:
        result.refuse(raw.place, "tlp", str(error))
        return
    item = Indicator(
        defaults.list, kind, value, confidence, label, defaults.now, expires, defaults.source, raw.reference[:100]
    )
    before = result.items.get(value)
    result.repeated += before is not None
    result.items[value] = item if before is None else before.joined(item)
