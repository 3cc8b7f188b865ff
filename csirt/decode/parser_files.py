"""Parsers from their files: every one that is right, and every problem of those that are not."""

from __future__ import annotations

from pathlib import Path

from csirt.content import BadContent, Document, read_yaml
from csirt.decode.parser import EXAMPLES, Parser
from csirt.decode.parser_check import build
from csirt.errors import Problem


def load_parsers(folder: Path) -> tuple[dict[str, Parser], list[Problem]]:
    """Every parser of a folder by name, and everything wrong with them; a broken file stops no other."""
    parsers: dict[str, Parser] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.yml")):
        if path.name.endswith(EXAMPLES):
            continue
        parser, found = load_parser(path, root=folder)
        problems += found
        if parser is None:
            continue
        if parser.name in parsers:
            other = parsers[parser.name].file
            problems.append(Problem(str(path), 1, f"the parser {parser.name!r} is already in {other}", check="name"))
        else:
            parsers[parser.name] = parser
    return parsers, problems


def load_parser(path: Path, *, root: Path | None = None) -> tuple[Parser | None, list[Problem]]:
    """One parser, or None with everything wrong with it (file, line, column and what to do)."""
    try:
        documents: list[Document] = read_yaml(path, root=root)
    except BadContent as error:
        return None, [error.problem]
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        return None, [Problem(str(path), 1, "a parser is one YAML mapping", advice="see docs/parsers.md")]
    return build(documents[0])
