"""One exporter: what it sends, what of it is known, lost and waited for."""

from __future__ import annotations

from typing import Any

from csirt.clock import iso
from csirt.control.trouble import exporter_name
from csirt.control.verbs import Context, verb
from csirt.control.verbs.status import EXPORTER, exporters
from csirt.errors import NotFound, Usage
from csirt.model.address import from_text, to_text
from csirt.sources.lanes import lanes_of


@verb("exporter.show", right="status")
def show(context: Context, address: str) -> dict[str, Any]:
    """`csirt.exporter/1`: domains with templates, samplers, names, held sets; counters with rates; last heard."""
    try:
        wanted = to_text(*from_text(address))
    except ValueError as error:
        raise Usage(f"{address!r} is not an address") from error
    counted = [row for row in exporters(context.store.counts()) if row["address"] == wanted]
    rates = _rates(context, counted)
    domains = []
    for source, key in _keys(context):
        for item in context.part("exporters")(context.store.state(f"decoder:{key}"), wanted):
            domains.append({"source": source, **_dated(item)})
    listed = next((item for item in context.config.decode.exporters if _same(item.address, wanted)), None)
    if not counted and not domains and listed is None:
        known = sorted({row["address"] for row in exporters(context.store.counts())})
        raise NotFound(f"nothing ever came from {wanted}; there are: {', '.join(known[:20]) or 'none'}")
    return {
        "schema": "csirt.exporter/1",
        "address": wanted,
        "name": listed.name if listed else "",
        "listed": listed is not None,
        "heard": max((item["heard"] for item in domains if item["heard"]), default=None),
        "counters": {name: sum(row[name] for row in counted) for name in EXPORTER},
        "rates": rates,
        "domains": domains,
    }


def _rates(context: Context, counted: list[dict[str, Any]]) -> dict[str, float]:
    """Datagrams, and what was lost, a second over the last minute; nothing without a daemon."""
    daemon = context.part("daemon")
    if not daemon:
        return {}
    numbers = {
        f"{exporter_name(row)}.{key}": row[key] for row in counted for key in ("received", "sequence_lost", "malformed")
    }
    found: dict[str, float] = {}
    for name, rate in daemon.recent.rates(context.clock.monotonic(), numbers).items():
        key = name.rpartition(".")[2]
        found[key] = round(found.get(key, 0.0) + rate, 1)
    return found


def _keys(context: Context) -> list[tuple[str, str]]:
    """Sources of datagrams and the keys of their decoders' states: one for every lane of each."""
    sources = [source for source in context.config.sources if source.type == "netflow"]
    found = {lane: source.id for source in sources for lane in lanes_of(source, context.config)}
    for position in context.store.positions():
        found.setdefault(position.source, position.source)
    return sorted((source, key) for key, source in found.items())


def _dated(item: dict[str, Any]) -> dict[str, Any]:
    """The same with times as text."""
    dated = {**item, "first": iso(item["first"]), "heard": iso(item["heard"])}
    dated["templates"] = [{**template, "refreshed": iso(template["refreshed"])} for template in item["templates"]]
    since = item["held"]["since"]
    dated["held"] = {**item["held"], "since": iso(since) if since else None}
    return dated


def _same(text: str, wanted: str) -> bool:
    try:
        return to_text(*from_text(text)) == wanted
    except ValueError:
        return False
