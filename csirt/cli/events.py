"""`csirt events query|show`: hunting in stored events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csirt.cli import complete
from csirt.cli.command import group
from csirt.cli.common import Settings, is_terminal, listing, say, shared, write, write_json, write_rows
from csirt.errors import Usage

if TYPE_CHECKING:
    from csirt.control.client import Client

_ENDS = ("source.ip", "source.port", "destination.ip", "destination.port")
_SHOWN: dict[str, tuple[str, ...]] = {
    "flow": ("network.transport", "network.packets", "network.bytes"),
    "flow_counters": ("csirt.interface.index", "csirt.interface.in.bytes", "csirt.interface.out.bytes"),
    "dns": ("dns.question.name", "dns.question.type", "dns.response_code"),
    "tls": ("tls.client.server_name", "tls.version"),
    "http": ("http.request.method", "url.domain", "url.path", "http.response.status_code"),
    "mail": ("event.action", "email.from.address", "email.to.address", "csirt.mail.status", "csirt.mail.queue_id"),
    "edi": ("event.action", "csirt.edi.message_id", "csirt.edi.her_from", "csirt.edi.her_to", "csirt.edi.status"),
    "self": ("event.action", "csirt.self.subject", "csirt.self.value"),
}


@group()
def events() -> None:
    """Hunt in stored events.

    \b
    Examples:
      csirt events query --dataset flow --where 'destination.port:445' --since 2h
      csirt events show 4f1c09d2a7b3e8550000000000c80000
    """


@events.command()
@click.option("--dataset", metavar="NAME", help=f"{', '.join(complete.DATASETS)}.", shell_complete=complete.datasets)
@click.option("--since", metavar="TIME", help="Event time from: 2h, 2026-11-23T04:00Z, yesterday.")
@click.option("--until", metavar="TIME", help="Event time up to, not including.")
@click.option("--where", metavar="EXPR", help="The filter grammar: csirt help filters.")
@click.option("--rule", metavar="FILE", type=click.Path(), help="Only events that a Sigma rule of FILE matches.")
@click.option("--sql", metavar="QUERY", help='SELECT over the datasets, columns in double quotes: "source.ip".')
@click.option("--top", metavar="FIELDS", help="Sums per value of these fields, most bytes first.")
@click.option(
    "--order", type=click.Choice(["bytes", "packets", "events"]), default="bytes", help="What --top sorts by."
)
@click.option("--duplicates", is_flag=True, help="Also records of flows that other routers' records count already.")
@click.option("--from", "origin", type=click.Choice(["store", "cluster"]), help="Where to look; default: store.")
@click.option("--limit", type=click.IntRange(0), help="At most so many events or rows.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a header line.")
@click.option("--parquet", metavar="FILE", type=click.Path(), help="Write the events to a Parquet file.")
@listing
@shared
def query(settings: Settings, **options: Any) -> int:
    """Events that pass all conditions, sorted by time and id; sums with --top, anything with --sql.

    \b
    Examples:
      csirt events query --dataset flow --where 'source.ip:10.31.0.0/16' --top destination.port --limit 10
      csirt events query --sql 'SELECT "source.ip", count(*) AS n FROM flow GROUP BY 1 ORDER BY n DESC LIMIT 5'
    """
    options = {**options, "fields": settings.fields, "jsonl": settings.jsonl}
    forms = [name for name in ("sql", "top", "jsonl", "as_csv", "parquet") if options[name]]
    written = [name for name in forms if name in ("jsonl", "as_csv")]
    if len(written) + (settings.as_json or bool(options["parquet"])) > 1:
        raise Usage("choose one of --json, --jsonl, --csv and --parquet")
    if options["sql"] and options["top"]:
        raise Usage("choose one of --sql and --top")
    asked = {
        name: options[name] for name in ("dataset", "since", "until", "where", "limit") if options[name] is not None
    }
    if options["duplicates"]:
        asked["duplicates"] = True
    if options["origin"]:
        if options["sql"]:
            raise Usage("--sql reads the store: leave out --from")
        asked["origin"] = options["origin"]
    if options["rule"]:
        asked["rule"] = _rule_text(options["rule"])
    client = settings.client()
    if options["sql"] or options["top"]:
        return _table(settings, client, asked, options)
    if options["parquet"]:
        from csirt.cli.parquet import write_parquet

        return write_parquet(settings, client, asked, str(options["parquet"]))
    return _events(settings, client, asked, options)


def _rule_text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Usage(f"{path}: not valid UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise Usage(f"{path}: cannot be read: {error.strerror}") from error


def _events(settings: Settings, client: Client, asked: dict[str, Any], options: dict[str, Any]) -> int:
    from csirt.cli.store import write_text

    fields = options["fields"].split(",") if options["fields"] else None
    end: dict[str, Any] = {}
    blocks = _blocks(client.stream("events.query", **asked), end)
    if options["jsonl"] and fields is None:
        for block in blocks:
            write_text(block)
    elif options["jsonl"]:
        for line in _split(blocks):
            write(json.dumps(_pick(json.loads(line), fields or []), sort_keys=True, ensure_ascii=False))
    elif settings.as_json:
        found = [json.loads(line) for line in _split(blocks)]
        found = found if fields is None else [_pick(event, fields) for event in found]
        told = {"count": len(found), "truncated": end["truncated"], "duplicates": end["duplicates"]}
        write_json({"schema": "csirt.events/1", **told, "events": found})
    else:
        _rows(settings, blocks, fields, options)
    if not settings.as_json:
        _said(settings, end)
    return 0


def _said(settings: Settings, end: dict[str, Any]) -> None:
    """What is not in the answer."""
    if end.get("truncated"):
        _say(settings, "events.truncated", count=end["count"])
    if end.get("duplicates"):
        _say(settings, "events.duplicates", count=end["duplicates"])


def _blocks(items: Iterator[dict[str, Any]], end: dict[str, Any]) -> Iterator[str]:
    """The text blocks; the last item goes to `end`."""
    for item in items:
        if "lines" in item:
            yield item["lines"]
        else:
            end.update(item)


def _split(blocks: Iterator[str]) -> Iterator[str]:
    for block in blocks:
        yield from block.split("\n")[:-1]


def _rows(settings: Settings, blocks: Iterator[str], fields: list[str] | None, options: dict[str, Any]) -> None:
    """Tab-separated records, CSV with a header, or a screen for people."""
    dataset = options["dataset"]
    if fields is None and is_terminal() and not options["as_csv"]:
        from csirt.cli.eventscreen import EventScreen

        screen = EventScreen(settings, dict(_SHOWN), ("event.action", "network.bytes", "observer.name"))
        for line in _split(blocks):
            screen.write(json.loads(line))
        return
    if fields is None:
        more = _SHOWN.get(dataset, ()) if dataset else ("event.action", "network.bytes", "observer.name")
        fields = ["@timestamp", "event.dataset", "event.id", *(() if dataset in ("mail", "edi") else _ENDS), *more]
    rows = ([_cell(value(json.loads(line), name)) for name in fields or []] for line in _split(blocks))
    _write(settings, rows, fields, as_csv=options["as_csv"])


def _table(settings: Settings, client: Client, asked: dict[str, Any], options: dict[str, Any]) -> int:
    """Sums or the rows of a query."""
    if options["parquet"] or options["fields"]:
        raise Usage("--parquet and --fields are for events; choose columns in --top or --sql itself")
    if options["sql"]:
        document = client.call("events.sql", text=options["sql"], **asked)
        heads, rows = document["columns"], document["rows"]
    else:
        fields = [name.strip() for name in options["top"].split(",")]
        document = client.call("events.top", fields=fields, order=options["order"], **asked)
        heads = [*fields, "events", "packets", "bytes"]
        rows = [[item[name] for name in heads] for item in document["items"]]
    if settings.as_json:
        write_json(document)
    elif options["jsonl"]:
        for row in rows:
            write(json.dumps(dict(zip(heads, row, strict=True)), sort_keys=True, ensure_ascii=False))
    else:
        _write(settings, ([_cell(item) for item in row] for row in rows), heads, as_csv=options["as_csv"])
    if not settings.as_json:
        _said(settings, document)
    return 0


def _write(settings: Settings, rows: Iterator[list[object]], heads: list[str], *, as_csv: bool) -> None:
    """CSV, a table for people, or tab-separated records."""
    if as_csv:
        from csirt.safety import csv_line

        write(csv_line(list(heads)))
        for row in rows:
            write(csv_line(row))
        return
    if is_terminal():
        from csirt.cli.lists import table

        items = [dict(zip(heads, row, strict=True)) for row in rows]
        table(settings, items, heads, "events", {name: lambda value: value for name in heads})
        return
    if settings.header:
        write_rows([heads])
    write_rows(rows)


def value(event: dict[str, Any], name: str) -> Any:
    """A field of a nested event by its dotted name; None when it is absent."""
    node: Any = event
    for key in name.split("."):
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return node


def _pick(event: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """The event with these fields only, nested as it was."""
    picked: dict[str, Any] = {}
    for name in fields:
        found = value(event, name)
        if found is None:
            continue
        *outer, last = name.split(".")
        node = picked
        for key in outer:
            node = node.setdefault(key, {})
        node[last] = found
    return picked


def _cell(item: Any) -> object:
    if isinstance(item, list):
        return ",".join(str(part) for part in item)
    if isinstance(item, dict):
        return json.dumps(item, sort_keys=True, ensure_ascii=False)
    return "" if item is None else item


@events.command()
@click.argument("id")
@click.option("--raw", is_flag=True, help="The line, datagram or dissected packet, while its source has it.")
@click.option("--file", "files", multiple=True, type=click.Path(), help="Where --raw looks in a store of a replay.")
@shared
def show(settings: Settings, id: str, raw: bool, files: tuple[str, ...]) -> int:
    """One event, whole. ID may be the start of one, 17 digits at least.

    \b
    Examples:
      csirt events show 4f1c09d2a7b3e8550000000000c80000
      csirt events show 4f1c09d2a7b3e8550000000000c80000 --raw
    """
    client = settings.client()
    if not raw:
        document = client.call("events.show", id=id)
        if settings.as_json:
            write_json(document)
        else:
            write_rows(sorted(_leaves(document["event"], "")))
            write_rows([["alert", name] for name in document["alerts"]])
            write_rows([_observation(item) for item in document["observations"]])
        return 0
    extra = {"files": [str(Path(name).absolute()) for name in files]} if files else {}
    document = client.call("events.raw", id=id, **extra)
    if settings.as_json:
        write_json(document)
    else:
        said = str(document.get("text") or document.get("hex") or "").rstrip("\n")
        # A dissection has a line per field; a log line is one line, whatever it holds.
        write_rows([line] for line in (said.split("\n") if document["kind"] == "packet" else [said]))
    return 0


def _observation(said: dict[str, Any]) -> list[object]:
    """Another router's record of the same flow: whether that one counts or repeats it, who, when, how much."""
    role = "counted_by" if said["counts"] else "repeated_by"
    numbers = [f"{name.split('.')[1]}={said[name]}" for name in ("network.bytes", "network.packets") if name in said]
    return [
        role,
        said["id"],
        " ".join([said.get("observer.name") or said.get("observer.ip", ""), said["@timestamp"], *numbers]),
    ]


def _leaves(node: dict[str, Any], prefix: str) -> Iterator[list[object]]:
    for key, item in node.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(item, dict):
            yield from _leaves(item, name)
        else:
            yield [name, _cell(item)]


def _say(settings: Settings, key: str, **fields: Any) -> None:
    from csirt.messages import text

    say(text(key, settings.language(), **fields))
