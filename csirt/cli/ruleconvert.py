"""`csirt rules convert`: rules as queries of other engines."""

from __future__ import annotations

from pathlib import Path

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, say, shared, write_json, write_rows
from csirt.cli.ruleset import load, tell_problems, text


@command()
@click.argument("paths", nargs=-1, required=True, metavar="RULES...", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Choice(["esql", "lucene"]), required=True, help="The query language.")
@shared
def convert(settings: Settings, paths: tuple[Path, ...], target: str) -> int:
    """Rules as Elasticsearch queries over this schema, with pySigma's backend: one id and query per line.

    What cannot be converted is refused by name: types of our own, and correlations in Lucene.

    \b
    Examples:
      csirt rules convert rules/net --to esql
      csirt rules convert my-rules/telnet.yml --to lucene --json
    """
    from csirt.detect.authors.convert import convert as converted

    loaded, _ = load(settings, paths)
    found = converted(loaded, target)
    if settings.as_json:
        counts = {"count": len(found.items), "unread": loaded.refused}
        write_json(
            {"schema": "csirt.rules-convert/1", "to": target, **counts, "items": found.items, "refused": found.refused}
        )
    else:
        write_rows([[item["id"], " ".join(item["query"].split("\n"))] for item in found.items])
    tell_problems(loaded)
    for item in found.refused:
        place = f"{item['file']}:{item['line']}"
        say(text(settings, "not_converted", place=place, title=item["title"], reason=item["reason"]))
    if not found.items:
        return 1
    return 7 if found.refused or loaded.refused else 0
