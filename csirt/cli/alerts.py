"""`csirt alerts`: what rules found, before anything was made of it."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from csirt.cli.common import Settings, is_terminal, shared, write, write_json, write_rows

COLUMNS = ("id", "severity", "last", "count", "rule_name", "group", "members")


@click.group()
def alerts() -> None:
    """What rules found.

    \b
    Examples:
      csirt alerts list 'severity>=high'
      csirt alerts list --follow
    """


@alerts.command("list")
@click.argument("filter", required=False, default="")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the newest.")
@click.option("--follow", is_flag=True, help="Stream alerts as JSON lines, as they open and grow.")
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
    document = client.call("alerts.list", filter=filter, limit=limit)
    if settings.as_json:
        write_json(document)
        return
    if is_terminal():
        write_rows([[_text(settings, name) for name in COLUMNS]])
    write_rows([[_cell(item, name) for name in COLUMNS] for item in document["items"]])


@alerts.command()
@click.argument("id")
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
    alert = document["alert"]
    for name in (
        *COLUMNS,
        "first",
        "rsit",
        "techniques",
        "dataset",
        "incident",
        "rule_id",
        "rule_author",
        "rule_license",
    ):
        if alert.get(name):
            write_rows([[_text(settings, name), _cell(alert, name)]])
    for name, values in alert["facts"].items():
        write_rows([[name, ", ".join(values)]])
    for entity in alert["entities"]:
        member = f" ({entity['member']})" if entity.get("member") else ""
        write_rows([[_text(settings, entity["role"]), f"{entity['kind']} {entity['value']}{member}"]])
    write_rows([[_text(settings, "event"), event] for event in alert["events"]])


def _cell(item: dict[str, Any], name: str) -> str:
    value = item[name]
    if isinstance(value, dict):
        return ", ".join(f"{key}={part}" for key, part in sorted(value.items()))
    return ", ".join(value) if isinstance(value, list) else str(value)


def _text(settings: Settings, key: str) -> str:
    from csirt.messages import text

    return text(f"alerts.{key}", settings.language())
