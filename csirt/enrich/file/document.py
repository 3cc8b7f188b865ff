"""The register's bytes as a plain value with the position of every node, from YAML or TOML."""

from __future__ import annotations

import re
import tomllib

from csirt.content import BadContent, Document, parse_yaml
from csirt.errors import Problem

MAX_BYTES = 64 * 1024 * 1024
MAX_NODES = 8_000_000

_HEADER = re.compile(r"^\s*\[(\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
_LINE = re.compile(r"line (\d+), column (\d+)")


def parse(raw: bytes, name: str) -> Document:
    """The one document of a register file; TOML when the name ends in `.toml`. Raises BadContent with the line."""
    if name.lower().endswith(".toml"):
        return parse_toml(raw, name)
    documents = parse_yaml(raw, name, max_nodes=MAX_NODES)
    if len(documents) != 1:
        advice = "keep one document, without `---` between parts"
        raise BadContent(Problem(name, 1, f"holds {len(documents)} documents, not one", advice=advice))
    return documents[0]


def parse_toml(raw: bytes, name: str) -> Document:
    """TOML text with the line of every table and key. Raises BadContent with line and column."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadContent(Problem(name, line, "not valid UTF-8", advice="save the file as UTF-8")) from error
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _LINE.search(str(error))
        line, column = (int(found.group(1)), int(found.group(2))) if found else (text.count("\n") + 1, 1)
        message = _LINE.sub("", str(error)).replace("(at )", "").strip()
        raise BadContent(Problem(name, line, message, column=column, advice="correct the TOML")) from error
    except RecursionError as error:
        raise BadContent(Problem(name, 1, "nested too deeply", advice="flatten the document")) from error
    return Document(name, value, _toml_marks(text))


def _toml_marks(text: str) -> dict[tuple[str | int, ...], tuple[int, int]]:
    """Where tables and keys stand. Values inside inline tables and arrays have their key's line; the text is valid."""
    marks: dict[tuple[str | int, ...], tuple[int, int]] = {(): (1, 1)}
    counts: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    quote = ""  # the delimiter of a multi-line string that is open
    for number, line in enumerate(text.split("\n"), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        header = _HEADER.match(line)
        key = None if header else _KEY.match(line)
        if header:
            table = _resolve(_parts(header.group(2)), counts, bool(header.group(1)))
            for depth in range(1, len(table) + 1):
                marks.setdefault(table[:depth], (number, 1))
        elif key:
            marks.setdefault((*table, *_parts(key.group(1))), (number, key.start(1) + 1))
        for mark in ('"""', "'''"):
            if line.count(mark) % 2:
                quote = mark
    return marks


def _parts(dotted: str) -> list[str]:
    return [a or b or c for a, b, c in _PART.findall(dotted)]


def _resolve(names: list[str], counts: dict[tuple[str | int, ...], int], array: bool) -> tuple[str | int, ...]:
    """The path of a table header: each name, with the index of the newest element where it is an array of tables."""
    path: tuple[str | int, ...] = ()
    for position, name in enumerate(names):
        path = (*path, name)
        if array and position == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path
