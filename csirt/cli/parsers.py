"""`csirt parsers`: the log parsers, for those who write them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csirt.cli.command import group
from csirt.cli.common import Settings, listing, say, shared, write_json, write_rows

if TYPE_CHECKING:
    from csirt.decode.parser import Parser
    from csirt.errors import Problem


@group()
def parsers() -> None:
    """Log parsers: declarative YAML with examples beside it.

    \b
    Examples:
      csirt parsers list
      csirt parsers test
    """


def _load(paths: tuple[Path, ...]) -> tuple[list[Parser], list[Problem]]:
    """The parsers of the given files and folders, or the shipped ones, by name."""
    from csirt.content import folder
    from csirt.decode.parser import EXAMPLES
    from csirt.decode.parser_files import load_parser, load_parsers
    from csirt.errors import NotFound

    found: list[Parser] = []
    problems: list[Problem] = []
    for path in paths or (folder("parsers"),):
        if not path.exists():
            raise NotFound(f"{path}: no such file or folder")
        if path.is_dir():
            some, wrong = load_parsers(path)
            found += some.values()
        elif path.name.endswith(EXAMPLES):
            raise NotFound(f"{path}: examples are read with their parser; name {path.name.replace(EXAMPLES, '.yml')}")
        else:
            one, wrong = load_parser(path)
            found += [one] if one else []
        problems += wrong
    return sorted(found, key=lambda parser: (parser.name, parser.file)), problems


def _row(parser: Parser) -> dict[str, Any]:
    """One parser for people and JSON."""
    return {
        "name": parser.name,
        "title": parser.title,
        "form": parser.form,
        "dataset": parser.dataset,
        "patterns": len(parser.patterns),
        "fields": sorted(field.column for field in parser.fields.values() if field.column),
    }


@parsers.command("list")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@listing
@shared
def list_(settings: Settings, paths: tuple[Path, ...]) -> int:
    """Parsers by name: the shipped ones, or those in PATHS.

    \b
    Examples:
      csirt parsers list
      csirt parsers list --json
    """
    from csirt.cli.lists import write_list

    found, problems = _load(paths)
    items = [_row(parser) for parser in found]
    for problem in problems:
        say(str(problem))
    document = {"schema": "csirt.parsers/1", "count": len(items), "items": items}
    columns = ("name", "form", "dataset", "patterns", "title")
    write_list(settings, document, columns, noun="parsers", empty="parsers.none")
    return 7 if problems and items else 1 if problems else 0


@parsers.command("check")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@shared
def check(settings: Settings, paths: tuple[Path, ...]) -> int:
    """Every problem of the parsers, with file, line and column; exits 1 if there is an error.

    \b
    Examples:
      csirt parsers check
      csirt parsers check my-relay.yml
    """
    found, problems = _load(paths)
    return _report(settings, "csirt.parsers-check/1", len(found), problems, {})


@parsers.command("test")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@shared
def test(settings: Settings, paths: tuple[Path, ...]) -> int:
    """Run the examples beside the parsers; exits 1 if one fails.

    \b
    Examples:
      csirt parsers test
      csirt parsers test my-relay.yml --json
    """
    from csirt.decode.examples import run

    found, problems = _load(paths)
    examples: list[dict[str, Any]] = []
    for parser in found:
        outcomes, wrong = run(parser)
        problems += wrong
        examples += [
            {"parser": parser.name, "name": outcome.name, "line": outcome.line, "passed": outcome.passed}
            for outcome in outcomes
        ]
    return _report(settings, "csirt.parsers-test/1", len(found), problems, {"examples": examples})


def _report(settings: Settings, schema: str, count: int, problems: list[Problem], more: dict[str, Any]) -> int:
    errors = sum(problem.level == "error" for problem in problems)
    if settings.as_json:
        items = [problem.as_dict() for problem in problems]
        write_json({"schema": schema, "parsers": count, "errors": errors, "count": len(items), "items": items, **more})
        return 1 if errors else 0
    examples = more.get("examples")
    if examples is None:
        write_rows([problem] for problem in problems)
    else:
        for problem in problems:
            say(str(problem))
    from csirt.messages import text

    lang = settings.language()
    write_rows(
        [text("parsers.passed" if item["passed"] else "parsers.failed", lang), item["parser"], item["name"]]
        for item in examples or ()
    )
    say(text("parsers.said", lang, count=count, errors=errors, warnings=len(problems) - errors))
    return 1 if errors else 0
