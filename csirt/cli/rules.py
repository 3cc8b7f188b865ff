"""`csirt rules`: what a rule author works with. Most of it needs no daemon and no store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from csirt.cli.command import group
from csirt.cli.common import Settings, listing, say, shared, write, write_json, write_rows
from csirt.cli.rulebacktest import backtest
from csirt.cli.ruleconvert import convert
from csirt.cli.rulecoverage import coverage
from csirt.cli.ruledeploy import deploy
from csirt.cli.ruleexplain import explain
from csirt.cli.ruleset import load, tell_problems, text
from csirt.errors import EXIT_CODES, CsirtError

PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
PARTLY = 7
assert EXIT_CODES[PARTLY] == "partly done"


@group()
def rules() -> None:
    """Sigma rules: list, check, test, run, explain, convert, coverage, backtest, deploy.

    \b
    Examples:
      csirt rules check
      csirt rules run rules/net --on events.ndjson
    """


@rules.command("list")
@PATHS
@listing
@shared
def list_(settings: Settings, paths: tuple[Path, ...]) -> int:
    """The rules that are loaded: id, level, how they are deployed, datasets, title.

    \b
    Examples:
      csirt rules list
      csirt rules list rules/net --json
    """
    from csirt.cli.lists import write_list
    from csirt.detect.authors.describe import items

    loaded, _ = load(settings, paths)
    rows = items(loaded)
    document = {"schema": "csirt.rules/1", "count": len(rows), "refused": loaded.refused, "items": rows}
    columns = ("id", "level", "kind", "datasets", "title", "state")
    cells = {"id": lambda value: value[:8]}
    write_list(settings, document, columns, noun="rules", cells=cells, empty="rules.none")
    tell_problems(loaded)
    return PARTLY if loaded.refused else 0


@rules.command()
@PATHS
@click.option("--no-tests", is_flag=True, help="Do not run the examples beside the rules, nor ask for them.")
@shared
def check(settings: Settings, paths: tuple[Path, ...], no_tests: bool) -> int:
    """Every problem of the rules, with file, line, column and advice; exit 1 when one is an error.

    \b
    Examples:
      csirt rules check
      csirt rules check my-rules/ --no-tests
    """
    from csirt.clock import SYSTEM
    from csirt.configfile import load as configuration
    from csirt.detect.authors.check import ruleset
    from csirt.scope import problems as unheld

    loaded, files = load(settings, paths)
    problems = ruleset(loaded, files, now=SYSTEM.now(), tested=not no_tests, searched=searched)
    problems += unheld(loaded, configuration(settings.config_file()), held=True)
    errors = sum(problem.level == "error" for problem in problems)
    numbers = {"rules": len(loaded.rules), "correlations": len(loaded.correlations), "refused": loaded.refused}
    if settings.as_json:
        found = [problem.as_dict() for problem in problems]
        write_json({"schema": "csirt.rules-check/1", **numbers, "errors": errors, "problems": found})
    else:
        for problem in problems:
            write_rows([[str(problem)]])
        say(text(settings, "checked", **numbers, errors=errors, warnings=len(problems) - errors))
    return 1 if errors else 0


def searched() -> dict[str, str]:
    """The fields that a cluster searches, and the type of each."""
    from csirt.stores.elastic.events.mapping import kinds

    return kinds()


@rules.command()
@PATHS
@click.option("--junit", metavar="FILE", type=click.Path(path_type=Path), help="Write the outcomes as JUnit XML too.")
@shared
def test(settings: Settings, paths: tuple[Path, ...], junit: Path | None) -> int:
    """Run the examples beside the rules; exit 1 when one fails or none is there.

    \b
    Examples:
      csirt rules test
      csirt rules test rules/net --junit outcomes.xml
    """
    from csirt.detect.authors import examples

    loaded, files = load(settings, paths)
    outcomes, unreadable = examples.run(loaded, files)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    problems = [problem for problem in [*loaded.problems, *unreadable] if problem.level == "error"]
    if junit is not None:
        from csirt.detect.authors.junit import document

        try:
            junit.write_bytes(document(outcomes, problems))
        except OSError as error:
            raise CsirtError(f"{junit}: cannot be written ({error.strerror})") from error
    if settings.as_json:
        shown = [
            {name: getattr(item, name) for name in ("rule", "name", "file", "line", "positive", "passed", "message")}
            for item in outcomes
        ]
        found = [problem.as_dict() for problem in problems]
        counts = {"passed": len(outcomes) - len(failed), "failed": len(failed)}
        write_json({"schema": "csirt.rules-test/1", **counts, "examples": shown, "problems": found})
    else:
        write_rows([[f"{item.file}:{item.line}", item.name, item.message] for item in failed])
        for problem in problems:
            say(str(problem))
        say(text(settings, "tested", passed=len(outcomes) - len(failed), failed=len(failed)))
    return 1 if failed or problems or not outcomes else 0


@rules.command()
@click.argument("paths", nargs=-1, required=True, metavar="RULES...", type=click.Path(path_type=Path))
@click.option("--on", "events", required=True, metavar="FILE", help="NDJSON or Parquet; - is NDJSON from stdin.")
@click.option(
    "--fields",
    type=click.Choice(["raw", "mapped"]),
    default="mapped",
    show_default=True,
    help="raw: keys as given, every rule sees every event; mapped: our schema, rules see their log source.",
)
@click.option("--counts", is_flag=True, help="Per loaded rule how often it matches, instead of the matches.")
@shared
def run(settings: Settings, paths: tuple[Path, ...], events: str, fields: str, counts: bool) -> int:
    """Print what the rules match in a file of events, as JSON lines, and nothing else.

    \b
    Examples:
      csirt rules run rules/net --on events.ndjson
      csirt rules run my.yml --on windows.ndjson --fields raw --counts
    """
    from csirt.detect.authors import runner
    from csirt.detect.columns import files

    loaded, _ = load(settings, paths, mapped=fields == "mapped")
    tell_problems(loaded)
    if not loaded.rules and not loaded.correlations:
        say(text(settings, "none"))
        return 1
    found = runner.run(loaded, files.read(Path(events)), mapped=fields == "mapped")
    if counts:
        lines: list[dict[str, Any]] = [
            {"rule_id": name, "matches": number} for name, number in sorted(found.counts.items())
        ]
    else:
        lines = found.lines
    for line in lines:
        write(json.dumps(line, sort_keys=True, ensure_ascii=False))
    if found.untimed:
        say(text(settings, "untimed", count=found.untimed))
    return PARTLY if loaded.refused else 0


rules.add_command(explain)
rules.add_command(convert)
rules.add_command(coverage)
rules.add_command(backtest)
rules.add_command(deploy)
