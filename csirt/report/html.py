"""Facts as one HTML page: escaped by Jinja's autoescape, no script, no style but its own, nothing loaded from outside.

Two pages: `full` for those with their own security people, `plain` for offices without IT staff. The page is also
well-formed XML, prints on A4, and carries the TLP 2.0 label (FIRST, August 2022: colours fixed on black, at least
12 point, right-justified) at the head and foot of every page.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from csirt.clock import HOUR
from csirt.messages import text
from csirt.report import times
from csirt.report.facts import Exchange, MemberFacts, Message
from csirt.report.kinds import PLAIN, advice_for
from csirt.safety import terminal

TLP = {
    "RED": "#FF2B2B",
    "AMBER+STRICT": "#FFC000",
    "AMBER": "#FFC000",
    "GREEN": "#33FF00",
    "CLEAR": "#FFFFFF",
}
STEPS = 5
DO = 4
MAX_ROWS = 300
PLAIN_ROWS = 6
PLAIN_SENTENCES = 3
PLAIN_MACHINES = 4


@dataclass(frozen=True, slots=True)
class Sender:
    """Who writes: name, telephone, and the time zone of the page."""

    issuer: str
    phone: str = ""
    timezone: str = "Europe/Oslo"


def render(
    facts: MemberFacts, lang: str, sender: Sender, *, issued: int, aware: int | None = None, recipient: str = ""
) -> str:
    """The page. `issued`: when it was written, `aware`: when the member's deadlines begin (default: then), both in
    microseconds. Same arguments, same text. Raises KeyError for a label or language that does not exist."""
    page = _Page(facts, lang, sender, issued if aware is None else aware)
    plain = facts.member.kind in PLAIN
    style = _source("page.css")
    template = _environment().get_template("plain.html" if plain else "full.html")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return template.render(
        page=page,
        facts=facts,
        lang=lang,
        t=page.t,
        style=Markup(style),  # noqa: S704 our own file, and the hash in the policy covers exactly it
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        tlp_class=facts.tlp.lower().replace("+", "-"),
        issued=page.time(issued),
        recipient=recipient,
    )


class _Page:
    """What the templates ask for: sentences and rows in the page's language."""

    def __init__(self, facts: MemberFacts, lang: str, sender: Sender, aware: int) -> None:
        self.facts, self.lang, self.sender, self.aware_us = facts, lang, sender, aware
        self.phone = sender.phone or self.t("no_phone")
        self.aware = self.time(aware, seconds=False)
        self.h24 = self.time(aware + 24 * HOUR, seconds=False)
        self.h72 = self.time(aware + 72 * HOUR, seconds=False)
        groups = [advice_for(finding.kind, finding.acting) for finding in facts.findings]
        self.advice = list(dict.fromkeys(groups))

    def t(self, key: str, **fields: Any) -> str:
        return text(f"report.{key}", self.lang, **fields)

    def time(self, us: int, *, seconds: bool = True) -> str:
        return times.moment(us, self.lang, self.sender.timezone, seconds=seconds)

    def title(self, kind: str) -> str:
        return self.t(f"kind.{kind}.title")

    def sentences(self, style: str = "") -> list[str]:
        """What happened, one sentence per kind, the worst first."""
        keys = [f"kind.{f.kind}.{style}{'acting' if f.acting else 'reached'}" for f in self.facts.findings]
        sentences = [self.t(key) for key in dict.fromkeys(keys)]
        return sentences[:PLAIN_SENTENCES] if style else sentences

    def steps(self) -> list[str]:
        """The five steps of the plain page: those of the worst finding."""
        supplier = ""
        if self.facts.supplier_name:
            phone = f", {self.facts.supplier_phone}" if self.facts.supplier_phone else ""
            supplier = self.t("step.supplier", name=self.facts.supplier_name, phone=phone)
        involved = [machine.address for machine in self.facts.machines]
        fields = {
            "supplier": supplier,
            "address": involved[0] if involved else self.facts.member.name,
            "case": self.facts.case,
            "phone": self.phone,
        }
        return [self.t(f"step.{self.advice[0]}.{number}", **fields) for number in range(1, STEPS + 1)]

    def actions(self) -> list[tuple[str, list[str]]]:
        """(heading, what the full page asks for) by group."""
        return [
            (self.t(f"do.{group}.title"), [self.t(f"do.{group}.{number}") for number in range(1, DO + 1)])
            for group in self.advice
        ]

    def timeline(self) -> list[tuple[str, str]]:
        """(time, event) in order."""
        entries = []
        for finding in self.facts.findings:
            title = self.title(finding.kind)
            entries.append((finding.first, self.t("timeline.first", title=title)))
            if finding.last != finding.first:
                entries.append((finding.last, self.t("timeline.last", title=title)))
        entries = sorted(set(entries))
        entries.append((self.aware_us, self.t("timeline.aware")))
        return [(self.time(us), event) for us, event in entries]

    def service(self, exchange: Exchange) -> str:
        return times.service(exchange.protocol, exchange.port)

    def volume(self, exchange: Exchange) -> str:
        packets = self.t("packets", count=exchange.packets)
        return f"{times.octets(exchange.octets, self.lang)}, {packets}" if exchange.packets else ""

    def other(self, row: Exchange | Message) -> str:
        """The counterpart's address, and its name when that was released."""
        address = row.other or self.t("any_other")
        if isinstance(row, Message) and row.dataset == "edi" and row.other:
            address = self.t("her", id=row.other)
        return f"{row.name} ({address})" if row.name else address

    def what(self, message: Message) -> str:
        kind = self.t(f"dataset.{message.dataset}")
        return f"{kind} {message.what}".strip()

    def state(self, message: Message) -> str:
        known = message.state.lower() in _STATES
        return self.t(f"state.{message.state.lower() if known else 'unknown'}")

    def indicators(self) -> list[tuple[str, str]]:
        """(address, where) of every counterpart of a connection to or from outside the member."""
        where = {e.other: e.outside for e in self.facts.exchanges if e.direction != "own" and e.other}
        rows = sorted(where.items(), key=lambda item: (not item[1], item[0]))
        return [(address, self.t("indicators.outside" if out else "indicators.inside")) for address, out in rows]

    def seen(self) -> list[str]:
        """The plain page's few lines on what was seen: connections by who began and service, then messages."""
        groups: dict[tuple[str, str], list[Exchange]] = {}
        for exchange in self.facts.exchanges:
            begins = self.other(exchange) if exchange.direction == "in" else exchange.own
            groups.setdefault((begins, self.service(exchange)), []).append(exchange)
        lines = []
        for (begins, service), rows in groups.items():
            ends = sorted({row.own if row.direction == "in" else self.other(row) for row in rows})
            to = ends[0] if len(ends) == 1 else self.t("plain.addresses", count=len(ends))
            when = self.span(min(row.first for row in rows), max(row.last for row in rows))
            count = sum(row.count for row in rows)
            fields = {"when": when, "source": begins, "destination": to, "service": service, "count": count}
            lines.append(self.t("plain.seen_line", **fields))
        for message in self.facts.messages:
            fields = {"when": self.span(message.first, message.last), "what": self.what(message)}
            fields |= {"state": self.state(message), "count": message.count, "other": self.other(message)}
            lines.append(self.t("plain.seen_message", direction=self.t(f"direction.{message.direction}"), **fields))
        if len(lines) > PLAIN_ROWS:
            return [*lines[:PLAIN_ROWS], self.t("plain.seen_more", count=len(lines) - PLAIN_ROWS)]
        return lines

    def cautions(self) -> list[str]:
        """What unplugging would stop."""
        said = {"medical_device": "plain.medical", "msh": "plain.msh"}
        machines = self.plain_machines()[:PLAIN_MACHINES]
        return [self.t(said[m.role], address=m.address) for m in machines if m.role in said]

    def span(self, first: int, last: int) -> str:
        return times.span(first, last, self.lang, self.sender.timezone)

    def cut(self, rows: tuple[Any, ...]) -> tuple[Any, ...]:
        return rows[:MAX_ROWS]

    def left_off(self, rows: tuple[Any, ...]) -> int:
        return max(0, len(rows) - MAX_ROWS)

    def plain_machines(self) -> tuple[Any, ...]:
        """The machines to look for: those that act, or all when none does."""
        acting = tuple(machine for machine in self.facts.machines if machine.acting)
        return acting or self.facts.machines


_STATES = frozenset(
    (
        *("sent", "received", "acknowledged", "application_receipt", "error", "retry", "given_up"),
        *("delivered", "deferred", "bounced", "expired", "reject", "rejected"),
    )
)


def _safe(value: Any) -> Any:
    """Every expression's text, with controls and direction marks made visible; then autoescape escapes it."""
    return value if isinstance(value, Markup) else terminal(value)


@cache
def _environment() -> jinja2.Environment:
    names = ("base.html", "full.html", "plain.html")
    return jinja2.Environment(
        loader=jinja2.DictLoader({name: _source(name) for name in names}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _source(name: str) -> str:
    return files("csirt.report").joinpath("templates", name).read_text("utf-8")
