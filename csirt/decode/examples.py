"""Examples beside a parser: lines, and the rows and drops they must give. `csirt parsers test` runs them.

One document per example: `name`, `lines`, `rows` (columns as in NDJSON; only those named are compared, `null` means
absent), `dropped` (exact counts by reason), optional `timezone` and `reference` (for headers without a year).
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np

from csirt.clock import iso, parse_iso
from csirt.content import BadContent, Document, read_yaml
from csirt.decode.parser import Parser
from csirt.decode.privacy import Privacy
from csirt.decode.textlog import LogDecoder
from csirt.errors import Problem
from csirt.model.address import to_text
from csirt.model.batch import Decoded
from csirt.model.chunk import Chunk, Lines
from csirt.model.ecs import ADDRESSES

# Examples must give the same pseudonyms everywhere; this key protects nothing.
_KEY = b"examples of parsers, not a secret"
_DOMAINS = ("edi.helsenett.example",)
_KEYS = {"name", "lines", "rows", "dropped", "timezone", "reference"}


@dataclass(slots=True)
class Outcome:
    """One example's verdict. `covered`: names of the patterns its lines matched; `negative`: it expects no row."""

    name: str
    line: int
    passed: bool
    covered: set[str]
    negative: bool


def run(parser: Parser) -> tuple[list[Outcome], list[Problem]]:
    """Run every example of a parser; each failure is a problem at the example's line."""
    path = parser.examples
    if not path.exists():
        advice = f"write {path.name} with at least one example that gives a row and one that gives none"
        return [], [Problem(parser.file, 1, "no examples beside the parser", advice=advice, check="examples")]
    try:
        documents = read_yaml(path)
    except BadContent as error:
        return [], [error.problem]
    outcomes: list[Outcome] = []
    problems: list[Problem] = []
    for document in documents:
        outcome, found = _one(parser, document)
        outcomes.append(outcome)
        problems += found
    for wanted, there in (("gives a row", not all(o.negative for o in outcomes)),
                          ("gives none", any(o.negative for o in outcomes))):  # fmt: skip
        if not there:
            problems.append(Problem(str(path), 1, f"no example that {wanted}", check="examples"))
    covered = set().union(*(outcome.covered for outcome in outcomes)) if outcomes else set()
    for pattern in parser.patterns:
        if pattern.role != "ignore" and pattern.name not in covered:
            line, column = parser.pattern_marks[pattern.name]
            message = f"no example reaches the pattern {pattern.name!r}"
            problems.append(
                Problem(parser.file, line, message, column=column, check="coverage", level="warning",
                        advice=f"add one to {path.name}")
            )  # fmt: skip
    return outcomes, problems


def _one(parser: Parser, document: Document) -> tuple[Outcome, list[Problem]]:
    body = document.value if isinstance(document.value, dict) else {}
    problems = [
        document.problem((key,), f"unknown key {key!r}", f"known: {', '.join(sorted(_KEYS))}", "key")
        for key in body
        if key not in _KEYS
    ]
    name = str(body.get("name", ""))
    lines = body.get("lines")
    if not name or not isinstance(lines, list) or not lines or not all(isinstance(text, str) for text in lines):
        problems.append(document.problem((), "an example needs `name` and `lines`, a list of texts", check="examples"))
        return Outcome(name, document.mark(())[0], False, set(), False), problems
    reference = str(body.get("reference", "2026-07-01T00:00:00Z"))
    try:
        decoder = LogDecoder(
            "example", parser, timezone=str(body.get("timezone", "Europe/Oslo")), observer="",
            privacy=Privacy(_KEY, _DOMAINS), reference_us=parse_iso(reference),
        )  # fmt: skip
    except Exception as error:
        problems.append(document.problem(("timezone",), f"not a zone or time: {error}", check="examples"))
        return Outcome(name, document.mark(())[0], False, set(), False), problems
    first = decoder.decode(_chunk(lines))
    found = rows(first) + rows(decoder.finish())
    found.sort(key=lambda row: row["log.offset"])
    expected = body.get("rows") or []
    problems += _compare(document, expected, found)
    dropped = body.get("dropped") or {}
    if dropped != first.dropped:
        message = f"{name}: dropped {first.dropped or '{}'}, expected {dropped or '{}'}"
        problems.append(document.problem(("dropped",), message, "correct the pattern or the example", "example"))
    covered = decoder.matched
    return Outcome(name, document.mark(())[0], not problems, covered, not expected), problems


def _compare(document: Document, expected: list[Any], found: list[dict[str, Any]]) -> list[Problem]:
    problems = []
    if len(expected) != len(found):
        message = f"{document.value['name']}: {len(found)} rows, expected {len(expected)}"
        problems.append(document.problem(("rows",), message, "correct the pattern or the example", "example"))
    for index, (wanted, row) in enumerate(zip(expected, found, strict=False)):
        for column, value in (wanted if isinstance(wanted, dict) else {}).items():
            got = row.get(column)
            value = _json(value)
            if got != value:
                message = f"{document.value['name']}: {column} is {got!r}, expected {value!r}"
                problems.append(document.problem(("rows", index, column), message, check="example"))
    return problems


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    """Rows as people and JSON see them: addresses and times as text, nulls left out."""
    found = []
    for batch in decoded.batches:
        for row in batch.table.to_pylist():
            for name in ADDRESSES:
                family = row.pop(f"{name}:f", None)
                high, low = row.pop(f"{name}:hi", None), row.pop(f"{name}:lo", None)
                if family:
                    row[name] = to_text(family, high, low)
            found.append({name: _json(value) for name, value in row.items() if value is not None})
    return found


def _json(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        delta = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return iso((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)
    return value


def _chunk(lines: list[str]) -> Chunk:
    raw = [text.encode() for text in lines]
    length = np.array([len(text) for text in raw], np.int64)
    offset = np.cumsum(length + 1) - length - 1
    buffer = np.frombuffer(b"".join(text + b"\n" for text in raw), np.uint8)
    data = Lines(buffer, offset, length, offset, np.zeros(len(raw), np.int64))
    return Chunk("example", "example", "0" * 16, 0, len(buffer), data)
