"""`csirt rules coverage`: ATT&CK techniques that rules look for, on telemetry that is there."""

from __future__ import annotations

import json
from pathlib import Path

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, say, shared, write_json, write_rows
from csirt.cli.ruleset import text
from csirt.errors import Usage


@command()
@click.option("-o", "output", metavar="FILE", type=click.Path(path_type=Path), help="Write the Navigator layer.")
@shared
def coverage(settings: Settings, output: Path | None) -> int:
    """ATT&CK techniques that the rules in use look for, on datasets the store has events of.

    One technique per line with how many rules see their events, and of how many. -o writes an ATT&CK Navigator layer
    (format 4.5); techniques whose rules have nothing to look at are in it, with score 0.

    \b
    Examples:
      csirt rules coverage
      csirt rules coverage -o layer.json --store /srv/replay
    """
    document = settings.client().call("rules.coverage")
    if output is not None:
        try:
            output.write_text(
                json.dumps(document["layer"], sort_keys=True, indent=2, ensure_ascii=False) + "\n", "utf-8"
            )
        except OSError as error:
            raise Usage(f"{output}: cannot be written: {error.strerror}") from error
    if settings.as_json:
        write_json(document)
    else:
        write_rows(
            [item["id"], item["score"], len(item["rules"]), "; ".join(rule["title"] for rule in item["rules"])]
            for item in document["techniques"]
        )
        say(text(settings, "covered", **{name: document[name] for name in ("covered", "blind", "untagged")}))
    return 0
