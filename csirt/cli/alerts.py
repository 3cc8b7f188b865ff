"""`csirt alerts`: what rules found, before anything was made of it."""

from __future__ import annotations

import json
import sys

import click

from csirt.cli import complete
from csirt.cli.command import group
from csirt.cli.common import Settings, listing, shared, write, write_json, write_rows

COLUMNS = ("id", "severity", "last", "count", "rule_name", "group", "members")
SCREEN = ("id", "severity", "last", "count", "rule_name")
MORE = ("first", "rsit", "techniques", "dataset", "shadow", "incident", "rule_id", "rule_author", "rule_license")


@group()
def alerts() -> None:
    """What rules found.

    \b
    Examples:
      csirt alerts list 'severity>=high'
      csirt alerts list --follow
    """


@alerts.command("list")
@click.argument("filter", required=False, default="", shell_complete=complete.filters)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the newest.")
@click.option("--follow", is_flag=True, help="Stream alerts as JSON lines, as they open and grow.")
@listing
@shared
def list_(settings: Settings, filter: str, limit: int | None, follow: bool) -> None:
    """Alerts, the newest first; FILTER picks among them.

    \b
    Examples:
      csirt alerts list 'severity>=high member:m017'
      csirt alerts list --follow | jq .rule_name
    """
    client = settings.client()
    if follow:
        for item in client.stream("alerts.follow", filter=filter):
            write(json.dumps(item, sort_keys=True, ensure_ascii=False))
            sys.stdout.flush()
        return
    from csirt.cli.lists import write_list

    document = client.call("alerts.list", filter=filter, limit=limit)
    cells = {"id": lambda value: value[:8]}
    write_list(settings, document, COLUMNS, noun="alerts", screen=SCREEN, cells=cells, empty="alerts.none")


@alerts.command()
@click.argument("id", shell_complete=complete.alerts)
@shared
def show(settings: Settings, id: str) -> None:
    """One alert, by its id or the beginning of it.

    \b
    Examples:
      csirt alerts show 3f9a
      csirt alerts show 3f9a --json
    """
    document = settings.client().call("alerts.show", id=id)
    if settings.as_json:
        write_json(document)
        return
    from csirt.cli.lists import TIMES, label, plain, word
    from csirt.cli.times import Times

    alert, lang, times = document["alert"], settings.language(), Times(settings)
    for name in (*COLUMNS, *MORE):
        value = alert.get(name)
        if not value:
            continue
        shown = times.both(value) if name in TIMES else word("alerts", name, value, lang)
        write_rows([[label("alerts", name, lang), shown]])
    for name, values in alert["facts"].items():
        write_rows([[name, ", ".join(values)]])
    for entity in alert["entities"]:
        member = f" ({entity['member']})" if entity.get("member") else ""
        write_rows([[word("alerts", "role", entity["role"], lang), f"{entity['kind']} {entity['value']}{member}"]])
    write_rows([[_text(settings, "event"), plain(event)] for event in alert["events"]])


def _text(settings: Settings, key: str) -> str:
    from csirt.messages import text

    return text(f"alerts.{key}", settings.language())
