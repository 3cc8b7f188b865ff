"""`csirt indicators`: lists of addresses and domains that others call bad."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from csirt.cli.command import group
from csirt.cli.common import Settings, listing, say, shared, write_json, write_rows

COLUMNS = ("list", "kind", "value", "confidence", "tlp", "expires", "added", "source", "reference")
SCREEN = ("list", "tlp", "confidence", "expires", "value")
PARTLY = 7
LIST = click.option("--list", "name", metavar="LIST", default="", help="Only of this list.")
REASON = click.option("-m", "--reason", required=True, metavar="REASON", help="Why; it goes into the audit.")
DRY = click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")


@group()
def indicators() -> None:
    """Lists of addresses, networks and domains that others call bad.

    \b
    Examples:
      csirt indicators import feed.json --list c2 --tlp amber -m "weekly feed"
      csirt indicators list 'confidence>=70'
    """


@indicators.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--list", "name", required=True, metavar="LIST", help="The list they go into.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "csv", "misp", "stix"]),
    default="auto",
    help="What FILE is; auto looks at it.",
)
@click.option("--confidence", type=click.IntRange(0, 100), default=50, show_default=True, help="Where FILE says none.")
@click.option("--tlp", default="AMBER", show_default=True, metavar="LABEL", help="Where FILE says none.")
@click.option(
    "--ttl", default="30d", show_default=True, metavar="TIME", help="How long they live, where FILE says none."
)
@REASON
@DRY
@shared
def import_(settings: Settings, file: Path, name: str, format_: str, **options: Any) -> int:
    """Take the indicators of FILE (MISP JSON, STIX 2.1, CSV; - is stdin) into a list.

    What cannot be used (hashes, URLs, whole top-level domains, wide networks, what is over) is told with its place and
    reason, and everything else counts: then the exit code is 7, or 1 when nothing was of use.

    \b
    Examples:
      csirt indicators import misp-event.json --list c2 -m "event 1234"
      csirt indicators import domains.csv --list phishing --confidence 80 --tlp green --ttl 7d -m "from the bank"
    """
    text, named = _read(file)
    asked = {"text": text, "name": named, "into": name, "format": format_, **options}
    document = settings.client().call("indicators.import", **asked)
    taken, refused = document["added"] + document["updated"], sum(document["refused"].values())
    if settings.as_json:
        write_json(document)
    else:
        write_rows([item["place"], item["reason"], item["message"]] for item in document["problems"])
        key = "would_import" if document["dry_run"] else "imported"
        counts = {key: document[key] for key in ("list", "added", "updated", "repeated")}
        say(_text(settings, key, **counts, refused=refused))
        for note in document["reload"]:
            say(note)
    return PARTLY if refused and taken else 1 if refused else 0


@indicators.command("list")
@click.argument("filter", required=False, default="")
@LIST
@listing
@shared
def list_(settings: Settings, filter: str, name: str) -> None:
    """The indicators that are alive, by list and value; FILTER picks among them.

    \b
    Examples:
      csirt indicators list --list c2
      csirt indicators list 'kind:domain tlp:red' --json
    """
    from csirt.cli.lists import write_list

    document = settings.client().call("indicators.list", filter=filter, of=name)
    write_list(settings, document, COLUMNS, noun="indicators", screen=SCREEN, empty="indicators.none")


@indicators.command()
@click.argument("values", nargs=-1)
@LIST
@REASON
@click.option("--yes", is_flag=True, help="Do not ask about several.")
@DRY
@shared
def expire(settings: Settings, values: tuple[str, ...], name: str, reason: str, yes: bool, dry_run: bool) -> None:
    """End the life of VALUES, of a whole list, or of VALUES in one list.

    \b
    Examples:
      csirt indicators expire 203.0.113.9 -m "shared hosting"
      csirt indicators expire --list c2 -m "the feed was withdrawn" --yes
    """
    client = settings.client()
    asked = {"values": list(values), "of": name, "reason": reason}
    document = client.call("indicators.expire", **asked, dry_run=True)
    if not dry_run:
        if document["count"] > 1 and not yes:
            _confirm(settings, document)
        document = client.call("indicators.expire", **asked, dry_run=False)
    if settings.as_json:
        write_json(document)
        return
    write_rows([item["list"], item["value"]] for item in document["items"])
    say(_text(settings, "would_expire" if dry_run else "expired", count=document["count"]))


def _confirm(settings: Settings, document: dict[str, Any]) -> None:
    """Several at once need a yes: typed on a terminal, `--yes` anywhere else."""
    from csirt.cli.common import is_terminal
    from csirt.errors import Usage

    sample = ", ".join(item["value"] for item in document["items"][:5])
    say(_text(settings, "bulk", count=document["count"], sample=sample))
    if not (sys.stdin.isatty() and is_terminal()):
        raise Usage(_text(settings, "bulk_yes", count=document["count"]))
    click.confirm(_text(settings, "bulk_ask", count=document["count"]), abort=True, err=True)


def _read(file: Path) -> tuple[str, str]:
    from csirt.errors import NotFound, Usage

    try:
        if str(file) == "-":
            return sys.stdin.buffer.read().decode("utf-8", "replace"), "stdin"
        return file.read_bytes().decode("utf-8", "replace"), file.name
    except FileNotFoundError as error:
        raise NotFound(f"{file}: no such file") from error
    except OSError as error:
        raise Usage(f"{file}: cannot be read: {error.strerror}") from error


def _text(settings: Settings, key: str, **fields: Any) -> str:
    from csirt.messages import text
    from csirt.safety import terminal

    shown = {name: terminal(value) for name, value in fields.items()}
    return text(f"indicators.{key}", settings.language(), **shown)
