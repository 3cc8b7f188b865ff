"""The page of one exporter, in 80 columns: what it sends, what of it is lost, known and waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from csirt.cli.common import Settings, write, write_rows

SHOWN = 20  # of a list; the rest is in --json


def records(document: dict[str, Any]) -> None:
    """One record a line for pipes, the kind of record first."""
    write_rows([["exporter", *(document[name] for name in ("address", "name", "listed", "heard"))]])
    write_rows(["counter", name, number] for name, number in document["counters"].items())
    for domain in document["domains"]:
        where = (domain["version"], domain["domain"])
        write_rows([["domain", *where, domain["source"], domain["first"], domain["heard"], domain["skew_s"]]])
        for template in domain["templates"]:
            fields = ",".join(field["name"] for field in template["fields"])
            write_rows([["template", *where, template["id"], template["options"], template["refreshed"], fields]])
        write_rows(["sampler", *where, s["id"], s["interface"], s["name"] or "", s["rate"]] for s in domain["samplers"])
        for kind, names in domain["names"].items():
            write_rows(["name", *where, kind, item["id"], item["name"]] for item in names)
        held = domain["held"]
        write_rows([["held", *where, held["sets"], held["octets"], held["since"] or ""]])


class Page:
    """Writes it with the status screen's words: `say`, `line` and `table` are the screen's."""

    def __init__(
        self,
        settings: Settings,
        say: Callable[..., str],
        line: Callable[..., None],
        table: Callable[[Sequence[str], list[list[str]]], None],
    ) -> None:
        from csirt.cli.times import Times

        self._times = Times(settings)
        self._say, self._line, self._table = say, line, table

    def write(self, document: dict[str, Any]) -> None:
        """Print it."""
        listed = self._say("e_listed" if document["listed"] else "e_not_listed")
        heard = self._times.both(document["heard"]) if document["heard"] else self._say("nothing_yet")
        self._line("e_head", address=document["address"], name=document["name"] or "-", listed=listed)
        self._line("e_heard", time=heard)
        write()
        rates = document["rates"]
        rows = [[name, str(number), str(rates.get(name, "-"))] for name, number in document["counters"].items()]
        self._table([self._say("e_counter"), self._say("e_total"), self._say("rate")], rows)
        for domain in document["domains"]:
            self._domain(domain)

    def _domain(self, domain: dict[str, Any]) -> None:
        write()
        skew = f"{domain['skew_s']:+.1f} s"
        self._line("e_domain", **{name: domain[name] for name in ("version", "domain", "source")}, skew=skew)
        held = domain["held"]
        if held["sets"]:
            waiting = ", ".join(str(ident) for ident in held["templates"][:SHOWN])
            since = self._times.both(held["since"])
            self._line("e_held", sets=held["sets"], octets=held["octets"], templates=waiting, since=since)
        templates = domain["templates"][:SHOWN]
        if templates:
            heads = [self._say(name) for name in ("e_template", "e_refreshed", "e_fields")]
            self._table(heads, [self._template(template) for template in templates])
            self._rest(domain["templates"])
        for sampler in domain["samplers"][:SHOWN]:
            self._line("e_sampler", which=_which(sampler), rate=sampler["rate"])
        for kind, names in domain["names"].items():
            label = self._say("e_sampler_names" if kind == "sampler" else f"e_{kind}")
            some = ", ".join(f"{item['id']} {item['name']}" for item in names[:SHOWN])
            self._line("e_names", kind=label, names=some)
            self._rest(names)

    def _template(self, template: dict[str, Any]) -> list[str]:
        names = [field["name"] for field in template["fields"]]
        kind = " *" if template["options"] else ""
        return [
            f"{template['id']}{kind}",
            self._times.relative(template["refreshed"]),
            f"{len(names)}: {' '.join(names)}",
        ]

    def _rest(self, items: list[Any]) -> None:
        if len(items) > SHOWN:
            self._line("e_more", number=len(items) - SHOWN)


def _which(sampler: dict[str, Any]) -> str:
    if sampler["interface"] is not None:
        return f"ifIndex {sampler['interface']}"
    return "-" if sampler["id"] is None else f"{sampler['id']} {sampler['name'] or ''}".strip()
