"""`csirt audit list|verify|seal`."""

from __future__ import annotations

import json
from typing import Any

import click

from csirt.cli.command import group
from csirt.cli.common import Settings, is_terminal, listing, say, shared, write, write_json, write_rows

COLUMNS = ("seq", "time", "actor", "category", "action", "subject", "detail", "on_behalf")


@group()
def audit() -> None:
    """Who did what; verify the chain; seal its head.

    \b
    Examples:
      csirt audit list --since 24h
      csirt audit verify --head "$(cat /safe/head)"
    """


@audit.command("list")
@click.option("--where", default="", metavar="FILTER", help="The filter grammar: category, action, actor, subject.")
@click.option("--since", default="", metavar="TIME", help="2h, 2026-11-23T04:00Z, yesterday.")
@click.option("--until", default="", metavar="TIME", help="Up to, not including.")
@click.option("--after", type=int, default=0, metavar="SEQ", help="Entries after this sequence number.")
@click.option("--limit", type=click.IntRange(0), help="At most so many, oldest first.")
@listing
@shared
def list_(settings: Settings, where: str, since: str, until: str, after: int, limit: int | None) -> int:
    """The audit trail in order.

    \b
    Examples:
      csirt audit list --since 24h --where 'category:refused'
      csirt audit list --json --after 1200
    """
    entries = settings.client().stream("audit.list", where=where, since=since, until=until, after=after, limit=limit)
    if settings.jsonl and not settings.fields:
        for entry in entries:
            write(json.dumps(entry, sort_keys=True, ensure_ascii=False))
        return 0
    if not (settings.as_json or settings.jsonl or settings.fields or settings.header or is_terminal()):
        write_rows([entry[name] if name != "detail" else _detail(entry) for name in COLUMNS] for entry in entries)
        return 0
    from csirt.cli.lists import write_list

    items = list(entries)
    document = {"schema": "csirt.audit/1", "count": len(items), "items": items}
    screen = ("seq", "time", "actor", "action", "subject")
    write_list(settings, document, COLUMNS, noun="audit", screen=screen, cells={"subject": lambda value: value[:12]})
    return 0


def _detail(entry: dict[str, Any]) -> str:
    return json.dumps(entry["detail"], sort_keys=True, ensure_ascii=False) if entry["detail"] else ""


@audit.command()
@click.option(
    "--head", "heads", multiple=True, metavar="SEALED", help="A head kept elsewhere, as `audit seal` gave it."
)
@shared
def verify(settings: Settings, heads: tuple[str, ...]) -> int:
    """Walk the chain; exit 1 and name the first bad sequence number when it is broken.

    \b
    Examples:
      csirt audit verify
      csirt audit verify --head 1200:5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592
    """
    document = settings.client().call("audit.verify", heads=list(heads))
    if settings.as_json:
        write_json(document)
    else:
        from csirt.messages import text

        key = "audit.whole" if document["whole"] else "audit.broken"
        say(text(key, settings.language(), **{name: document[name] for name in document if name != "schema"}))
    return 0 if document["whole"] else 1


@audit.command()
@shared
def seal(settings: Settings) -> int:
    """Print the chain's head, to be kept where nobody who can write the store can write.

    \b
    Examples:
      csirt audit seal > /safe/head
      csirt audit seal --json
    """
    document = settings.client().call("audit.seal")
    if settings.as_json:
        write_json(document)
    else:
        from csirt.messages import text

        write(document["head"])
        say(text("audit.sealed", settings.language(), head=document["head"]))
    return 0
