"""`csirt rules backtest`: what a rule would have found in stored events, two versions side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, shared, write_json, write_rows
from csirt.errors import Usage


@command()
@click.argument("rule", type=click.Path(path_type=Path))
@click.option("--since", required=True, metavar="TIME", help="Event time from: 30d, 2026-11-23T04:00Z, yesterday.")
@click.option("--until", metavar="TIME", help="Event time up to, not including.")
@click.option("--from", "origin", type=click.Choice(["store", "cluster"]), help="Where to look; default: store.")
@click.option("--against", metavar="FILE", type=click.Path(path_type=Path), help="Another version, side by side.")
@shared
def backtest(
    settings: Settings, rule: Path, since: str, until: str | None, against: Path | None, origin: str | None
) -> int:
    """What the rules of a file would have found in stored events.

    Hits per day and kind of member, alerts, members touched, the share of events that have each field, CPU seconds per
    million events, and which single exemption would remove most hits. Every record ends with its number, of --against
    with both numbers.

    \b
    Examples:
      csirt rules backtest my-rules/telnet.yml --since 30d
      csirt rules backtest new.yml --against old.yml --since 7d --json
    """
    asked: dict[str, Any] = {"text": _read(rule), "since": since}
    if until is not None:
        asked["until"] = until
    if against is not None:
        asked["against"] = _read(against)
    if origin is not None:
        asked["origin"] = origin
    document = settings.client().call("rules.backtest", **asked)
    if settings.as_json:
        write_json(document)
        return 0
    write_rows(_records(document))
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Usage(f"{path}: not valid UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise Usage(f"{path}: cannot be read: {error.strerror}") from error


def _records(document: dict[str, Any]) -> Iterator[list[object]]:
    """A record per figure: which rule, what it is, and its number in each version (empty where one has none)."""
    sides = [dict(_figures(items)) for items in (document["rules"], document["against"]) if items is not None]
    for key in dict.fromkeys(key for side in sides for key in side):
        yield [*key, *(side.get(key, "") for side in sides)]


def _figures(items: list[dict[str, Any]]) -> Iterator[tuple[tuple[object, ...], object]]:
    for item in items:
        title = item["title"]
        for name in ("events", "hits", "alerts", "cpu_s_per_million"):
            yield (title, name, ""), "" if item[name] is None else item[name]
        for day in item["days"]:
            yield (title, "day", day["day"]), day["hits"]
            for kind, count in day["kinds"].items():
                yield (title, "kind", f"{day['day']} {kind or '-'}"), count
        for member in item["members"]:
            yield (title, "member", member["id"]), member["hits"]
        for field in item["fields"]:
            yield (title, "field", field["field"]), field["filled"]
        for exemption in item["exemptions"]:
            yield (title, "exempt", f"{exemption['field']}={exemption['value']}"), exemption["removes"]
