"""`csirt status`: what the daemon sees, loses and does not see; what is wrong now comes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, colour, is_terminal, shared, width, write, write_json, write_rows

EXPORTER = ("address", "version", "domain", "received", "decoded", "sequence_lost", "malformed", "held", "expired")
_VERSIONS = {105: "sFlow 5"}  # of exporters; the others are what they say


@command()
@click.option(
    "--check",
    "monitor",
    is_flag=True,
    help="Exit 1 when something is stopped, deaf, behind or dropping; 6 when the cluster is away.",
)
@click.option("--exporter", metavar="ADDRESS", default="", help="The page of one exporter: what it sends and loses.")
@shared
def status(settings: Settings, monitor: bool, exporter: str) -> int:
    """What is stopped, deaf, behind or dropping; then stages, rates, backlog and losses by reason.

    \b
    Examples:
      csirt status
      csirt status --check --json
    """
    if exporter:
        return _exporter(settings, exporter)
    document = settings.client().call("status.show")
    if settings.as_json:
        write_json(document)
    elif is_terminal():
        _Screen(settings, document).write()
    else:
        _records(document)
    wrong = [item["what"] for item in document["warnings"] if item["kind"] != "due"] if monitor else []
    return 6 if "cluster" in wrong else 1 if wrong else 0


def _exporter(settings: Settings, address: str) -> int:
    from csirt.cli import exporterscreen

    document = settings.client().call("exporter.show", address=address)
    if settings.as_json:
        write_json(document)
    elif is_terminal():
        _Screen(settings, document).exporter()
    else:
        exporterscreen.records(document)
    return 0


def _records(document: dict[str, Any]) -> None:
    """One record a line for pipes, the kind of record first."""
    write_rows([["store", document["store"]], ["watermark", document["watermark"] or ""]])
    write_rows(
        ["warning", *(item[name] for name in ("kind", "what", "subject", "reason", "count", "recent", "seconds"))]
        for item in document["warnings"]
    )
    if cluster := document.get("cluster"):
        write_rows([["cluster", ",".join(cluster["urls"]), cluster["waiting"], cluster["dead_letters"]]])
        write_rows([["cluster_content", cluster["content"], cluster["events"]["sent"], cluster["minutes"]["sent"]]])
        fields = ("node", "applied", "mark", "active", "absent")
        write_rows(["node", *(item[name] for name in fields)] for item in cluster.get("nodes", ()))
        if log := cluster.get("log"):
            taken = log["snapshot"] or {"number": "", "time": "", "octets": ""}
            kept = [log[name] for name in ("first", "entries", "octets", "segments")]
            write_rows([["log", *kept, taken["number"], taken["time"], taken["octets"]]])
    for item in document.get("sector", {}).get("rules", ()):
        write_rows([["sector", *(item[name] for name in ("id", "title", "until", "behind_s", "failure"))]])
    for stage in document["stages"]:
        counts = (stage["name"], stage["in"], stage["out"], sum(stage["dropped"].values()))
        write_rows([["stage", *counts, stage.get("rate", ""), stage["lag_s"]]])
        write_rows(["dropped", stage["name"], reason, number] for reason, number in sorted(stage["dropped"].items()))
    write_rows(["exporter", *(item[name] for name in EXPORTER)] for item in document["exporters"])
    write_rows(["receiver", *row] for row in _receivers(document))
    for item in document["receivers"]:
        name, size = _folder(item), item["receive_buffer"]
        write_rows([["buffer", name, size["asked"], size["granted"]]] if size["asked"] else [])
        write_rows(["closed", name, reason, number] for reason, number in sorted(item.get("closed", {}).items()))
    for what, numbers in sorted(document["windows"].items()):
        write_rows(["windows", what, name, number] for name, number in sorted(numbers.items()))


def _receivers(document: dict[str, Any]) -> list[list[object]]:
    """A row for each; what waits in the spool stands with the first of a source's."""
    rows: list[list[object]] = []
    waiting = dict(document["backlog"])
    for item in document["receivers"]:
        counts = [item["received"], item["spooled"], item["kernel_dropped"], sum(item["spool_dropped"].values())]
        rows.append([_folder(item), ",".join(item["listen"]), *counts, waiting.pop(item["source"], 0)])
    return rows


def _folder(item: dict[str, Any]) -> str:
    from csirt.model.spool import lane_name

    return lane_name(item["source"], item.get("lane", ""))


class _Screen:
    """The screen of 03:00: at most 80 columns, the worst first."""

    def __init__(self, settings: Settings, document: dict[str, Any]) -> None:
        from csirt.cli.times import Times

        self._settings = settings
        self._lang = settings.language()
        self._times = Times(settings)
        self._paint = colour(settings)
        self._document = document

    def write(self) -> None:
        """Print it."""
        document = self._document
        self._head()
        self._warnings()
        write()
        write(self._say("stages"))
        heads = [self._say(name) for name in ("stage_name", "in", "out", "dropped", "rate", "lag")]
        rows = [self._stage(stage) for stage in document["stages"]]
        self._table(heads, rows)
        for stage in document["stages"]:
            for reason, number in sorted(stage["dropped"].items()):
                self._line("dropped_by", stage=stage["name"], reason=reason, number=self._number(number))
        for reason, number in sorted(document["windows"]["dropped"].items()):
            self._line("windows_dropped", reason=reason, number=self._number(number))
        for rule, number in sorted(document["windows"]["learning"].items()):
            self._line("windows_learning", rule=rule, number=self._number(number))
        if document["exporters"]:
            write()
            write(self._say("exporters"))
            self._table(
                [self._say(f"x_{name}") for name in EXPORTER], [self._exporter(x) for x in document["exporters"]]
            )
        if document["receivers"]:
            write()
            write(self._say("receivers"))
            names = ("r_source", "r_listen", "r_received", "r_spooled", "r_kernel", "r_spool", "r_waiting")
            known = [[self._cell(part) for part in row] for row in _receivers(document)]
            self._table([self._say(name) for name in names], known)
            for item in document["receivers"]:
                self._connections(item)

    def exporter(self) -> None:
        """Print the page of one exporter."""
        from csirt.cli.exporterscreen import Page

        Page(self._settings, self._say, self._line, self._table).write(self._document)

    def _head(self) -> None:
        document = self._document
        state = self._say("live" if document["live"] else "not_live")
        self._line("store", store=document["store"], state=state)
        if cluster := document.get("cluster"):
            self._line("cluster_line", urls=", ".join(cluster["urls"]), waiting=self._number(cluster["waiting"]))
            sent = {name: self._number(cluster[name]["sent"]) for name in ("events", "minutes")}
            self._line("cluster_content", content=cluster["content"], **sent)
            for item in cluster.get("nodes", ()):
                self._node(cluster, item)
            if log := cluster.get("log"):
                self._log(log)
        if sector := document.get("sector"):
            until = self._times.both(sector["until"]) if sector["until"] else self._say("nothing_yet")
            self._line("sector_line", rules=len(sector["rules"]), every=sector["every_s"], time=until)
        mark = document["watermark"]
        self._line("watermark", time=self._times.both(mark) if mark else self._say("nothing_yet"))
        kinds = [f"{name} {self._number(number)}" for name, number in document["events"].items()]
        self._line("events", events=", ".join(kinds) or self._say("none"))

    def _node(self, cluster: dict[str, Any], item: dict[str, Any]) -> None:
        """One of the daemons that share the cluster."""
        role = "node_gone" if item["absent"] else "node_leads" if item["node"] == cluster["leader"] else "node_follows"
        self._line(
            "node_line",
            node=item["node"],
            own=self._say("node_own") if item["node"] == cluster["node"] else "",
            state=self._say(role),
            applied=self._number(item["applied"]),
            time=self._times.both(item["mark"]) if item["mark"] else self._say("nothing_yet"),
        )

    def _log(self, log: dict[str, Any]) -> None:
        """What is kept of the log that nodes share."""
        taken = log["snapshot"]
        self._line(
            "log_line",
            entries=self._number(log["entries"]),
            first=self._number(log["first"]),
            octets=self._number(log["octets"]),
            time=self._times.both(taken["time"]) if taken else self._say("nothing_yet"),
        )

    def _warnings(self) -> None:
        from csirt.cli.lists import PLAIN, RED, YELLOW

        write()
        if not self._document["warnings"]:
            write(self._say("all_well"))
            return
        for item in self._document["warnings"]:
            fields = {**item, "count": self._number(item["count"]), "recent": self._number(item["recent"])}
            span = self._times.span(item["seconds"] * 1_000_000)
            said = self._say(item["what"], **{**fields, "span": span})
            label = f"{self._say('kind_' + item['kind']):<10}"
            mark = (RED if item["kind"] in ("stopped", "deaf") else YELLOW) if self._paint else ""
            for line in self._fold(said, label):
                write(f"{mark}{line}{PLAIN}" if mark else line)

    def _stage(self, stage: dict[str, Any]) -> list[str]:
        lag = self._times.span(int(stage["lag_s"] * 1_000_000)) if stage["lag_s"] else "-"
        numbers = (stage["in"], stage["out"], sum(stage["dropped"].values()))
        return [stage["name"], *(self._number(number) for number in numbers), self._cell(stage.get("rate", "-")), lag]

    def _exporter(self, item: dict[str, Any]) -> list[str]:
        version = _VERSIONS.get(item["version"], str(item["version"]))
        return [version if name == "version" else self._cell(item[name]) for name in EXPORTER]

    def _connections(self, item: dict[str, Any]) -> None:
        """What of a receiver is not as it should be: a small buffer, connections that were ended."""
        size = {name: self._number(value // 1024) for name, value in item["receive_buffer"].items()}
        if item["receive_buffer"]["granted"] < item["receive_buffer"]["asked"]:
            self._line("buffer", receiver=_folder(item), **size)
        for reason, number in sorted(item.get("closed", {}).items()):
            self._line("closed", receiver=_folder(item), reason=reason, number=self._number(number))

    def _say(self, key: str, **fields: Any) -> str:
        from csirt.messages import text
        from csirt.safety import terminal

        return text(f"status.{key}", self._lang, **{name: terminal(value) for name, value in fields.items()})

    def _line(self, key: str, **fields: Any) -> None:
        for line in self._fold(self._say(key, **fields), ""):
            write(line)

    def _fold(self, said: str, label: str) -> list[str]:
        from csirt.cli.casescreen import fold

        return fold(said, label, " " * (len(label) or 2))

    def _number(self, number: float) -> str:
        return f"{number:,}".replace(",", " " if self._lang == "nb" else ",")

    def _cell(self, value: object) -> str:
        from csirt.safety import terminal

        return self._number(value) if isinstance(value, (int, float)) else terminal(value)

    def _table(self, heads: Sequence[str], rows: list[list[str]]) -> None:
        """Text to the left, numbers to the right; text is cut where the screen is too narrow."""
        from csirt.cli.lists import cut
        from csirt.safety import terminal

        rows = [[terminal(cell) for cell in row] for row in rows]
        widths = [max(len(row[n]) for row in [list(heads), *rows]) for n in range(len(heads))]
        left = [not all(_numeric(row[n]) for row in rows) or n == 0 for n in range(len(heads))]
        while (
            sum(widths) + 2 * len(widths) > width() and max(w for w, text in zip(widths, left, strict=True) if text) > 8
        ):
            widest = max((n for n in range(len(widths)) if left[n]), key=lambda n: widths[n])
            widths[widest] -= 1
        for row in [list(heads), *rows]:
            cells = [
                f"{cut(value, size):<{size}}" if first else f"{value:>{size}}"
                for value, size, first in zip(row, widths, left, strict=True)
            ]
            write(("  " + "  ".join(cells)).rstrip())


def _numeric(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(" ", "").replace(".", "").isdigit()
