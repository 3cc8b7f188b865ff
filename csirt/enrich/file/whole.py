"""The whole file: members, mail domains, agreements, supplier windows and resolvers, then the checks across them."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

from csirt.content import BadContent, read_bytes
from csirt.enrich.file import checks, document
from csirt.enrich.file.entries import Entries
from csirt.enrich.file.fields import Fields, Path
from csirt.enrich.file.members import domain, member
from csirt.errors import Problem
from csirt.ids import digest
from csirt.model.member import Agreement, MailDomain, SupplierWindow

FORMAT = "csirt.register/1"
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "sctp": 132, "any": 0}
_TOP = ("register", "timezone", "mail", "resolvers", "members", "agreements", "supplier_windows")
_AGREEMENT = ("id", "from", "to", "service", "protocol", "ports", "since", "until")
_WINDOW = ("supplier", "member", "members", "days", "hours", "timezone", "from", "to")


def read(path: FilePath) -> tuple[Entries, list[Problem]]:
    """All entries of a register file, and every problem in it, in the order of their lines."""
    try:
        raw = read_bytes(path, max_bytes=document.MAX_BYTES)
    except BadContent as error:
        return Entries(), [error.problem]
    return parse(raw, str(path))


def parse(raw: bytes, name: str) -> tuple[Entries, list[Problem]]:
    """As `read`, of bytes; `name` stands in the problems, and its suffix tells TOML from YAML."""
    try:
        content = document.parse(raw, name)
    except BadContent as error:
        return Entries(), [error.problem]
    fields = Fields(content)
    entries = Entries(version=digest("register", raw))
    if content.value is None:
        fields.wrong((), "the file is empty", f'begin with "register: {FORMAT}" and "members:"')
        return entries, fields.problems
    table = fields.mapping(content.value, (), _TOP, ("register", "members"))
    if table.get("register") not in (None, FORMAT):
        fields.wrong(("register",), f"this is not {FORMAT}")
    entries.timezone = fields.timezone = fields.zone(table, ())
    owned = _members(fields, table, entries)
    _mail(fields, table, entries, owned)
    _agreements(fields, table, entries)
    _windows(fields, table, entries)
    for item, where in fields.items(table, (), "resolvers"):
        value = fields.mapping(item, where, ("address", "vrf"), ("address",)) if isinstance(item, dict) else None
        address = item if value is None else value.get("address", "")
        network = fields.network(address, where)
        vrf = fields.identifier(value, where, "vrf") if value else ""
        if network:
            entries.resolvers.append((network, vrf, fields.line(where)))
    checks.run(entries, fields)
    fields.problems.sort(key=lambda problem: (problem.line, problem.column))
    return entries, fields.problems


def _members(fields: Fields, table: dict[str, Any], entries: Entries) -> list[tuple[str, str, Path, bool]]:
    owned: list[tuple[str, str, Path, bool]] = []
    for item, where in fields.items(table, (), "members"):
        found, domains = member(fields, item, where)
        if found is not None:
            entries.members.append(found)
            owned += [(name, found.id, path, shared) for name, path, shared in domains]
    return owned


def _mail(fields: Fields, table: dict[str, Any], entries: Entries, owned: list[tuple[str, str, Path, bool]]) -> None:
    """`mail`: production, test and allowed domains, shared addresses; then the members' own domains."""
    here: Path = ("mail",)
    mail = {}
    if "mail" in table:
        mail = fields.mapping(table["mail"], here, ("production", "test", "allowed", "shared_addresses"))
    seen: dict[str, tuple[str, int]] = {}

    def add(name: str, use: str, path: Path, until: int = 0) -> None:
        line = fields.line(path)
        if name in seen:
            fields.wrong(path, f"the domain {name} is already {seen[name][0]} in line {seen[name][1]}")
        elif name:
            seen[name] = (use, line)
            entries.domains.append(MailDomain(name, use, shared=True, until=until))

    for use in ("production", "test"):
        for item, where in fields.items(mail, here, use):
            add(domain(fields, item, where), use, where)
    for item, where in fields.items(mail, here, "allowed"):
        if isinstance(item, dict):
            entry = fields.mapping(item, where, ("domain", "until"), ("domain",))
            add(
                domain(fields, entry.get("domain", ""), where),
                "allowed",
                where,
                fields.moment(entry, where, "until", True),
            )
        else:
            add(domain(fields, item, where), "allowed", where)
    for item, where in fields.items(mail, here, "shared_addresses"):
        text = fields.scalar(item, where, "an address").lower()
        if text.count("@") != 1:
            fields.wrong(where, f"{text[:80]!r} is not a mail address")
        else:
            entries.shared_addresses.add(text)
    _owned(fields, entries, owned, seen)


def _owned(
    fields: Fields, entries: Entries, owned: list[tuple[str, str, Path, bool]], seen: dict[str, tuple[str, int]]
) -> None:
    by_name: dict[str, list[tuple[str, Path, bool]]] = {}
    for name, owner, path, shared in owned:
        if name in seen:
            fields.wrong(path, f"the domain {name} is already {seen[name][0]} in line {seen[name][1]}")
        else:
            by_name.setdefault(name, []).append((owner, path, shared))
    for name, owners in by_name.items():
        first = owners[0]
        for owner, path, shared in owners[1:]:
            line = fields.line(first[1])
            if owner == first[0]:
                fields.wrong(path, f"the domain {name} occurs twice at {owner}, first in line {line}")
            elif not (shared and first[2]):
                message = f"the domain {name} of {owner} is also that of {first[0]} in line {line}"
                fields.wrong(path, message, "list it under 'shared_domains' at both")
        members = tuple(sorted({owner for owner, _, _ in owners}))
        shared = any(flag for _, _, flag in owners) or len(members) > 1
        entries.domains.append(MailDomain(name, "member", members, shared))


def _agreements(fields: Fields, table: dict[str, Any], entries: Entries) -> None:
    for item, where in fields.items(table, (), "agreements"):
        value = fields.mapping(item, where, _AGREEMENT, ("id", "from", "to"))
        agreement = Agreement(
            id=fields.identifier(value, where, "id"),
            source=fields.identifier(value, where, "from"),
            destination=fields.identifier(value, where, "to"),
            service=fields.text(value, where, "service"),
            protocol=PROTOCOLS[fields.text(value, where, "protocol", PROTOCOLS, "any")],
            ports=_ports(fields, value, where),
            since=fields.moment(value, where, "since"),
            until=fields.moment(value, where, "until", True),
            line=fields.line(where),
        )
        if agreement.since and agreement.until and agreement.since >= agreement.until:
            fields.wrong((*where, "until"), "'until' is before 'since'")
        if agreement.id and agreement.source and agreement.destination:
            entries.agreements.append(agreement)


def _ports(fields: Fields, table: dict[str, Any], path: Path) -> tuple[tuple[int, int], ...]:
    """Ports and ranges ("8000-8010"); all ports when the field is absent."""
    if "ports" not in table:
        return ((0, 65535),)
    ranges: list[tuple[int, int]] = []
    for item, where in fields.items(table, path, "ports"):
        first, dash, last = str(item).partition("-")
        low, high = (first.strip(), (last if dash else first).strip())
        if isinstance(item, bool) or not (low.isascii() and low.isdigit() and high.isascii() and high.isdigit()):
            fields.wrong(where, f"{str(item)[:40]!r} is not a port", 'write 443 or "8000-8010"')
        elif not 1 <= int(low) <= int(high) <= 65535:
            fields.wrong(where, f"{str(item)[:40]!r} is not a range of ports from 1 to 65535")
        else:
            ranges.append((int(low), int(high)))
    if not table["ports"]:
        fields.wrong((*path, "ports"), "'ports' is empty", "leave it out for all ports")
    return tuple(sorted(ranges))


def _windows(fields: Fields, table: dict[str, Any], entries: Entries) -> None:
    for item, where in fields.items(table, (), "supplier_windows"):
        value = fields.mapping(item, where, _WINDOW, ("supplier",))
        supplier = fields.identifier(value, where, "supplier")
        members = [fields.scalar(name, path, "a member's id") for name, path in fields.items(value, where, "members")]
        if "member" in value:
            members.append(fields.identifier(value, where, "member"))
        if not members:
            fields.wrong(where, "the window names no 'member'")
        since, until = fields.moment(value, where, "from"), fields.moment(value, where, "to", True)
        weekly = fields.weekly(value, where) if "hours" in value or "days" in value else None
        if weekly is None and not (since and until) and "hours" not in value and "days" not in value:
            fields.wrong(where, "the window has no time", "add 'from' and 'to', or 'days' and 'hours'")
        if since and until and since >= until:
            fields.wrong((*where, "to"), "'to' is before 'from'")
        entries.windows += [
            SupplierWindow(supplier, name, weekly, since, until, fields.line(where)) for name in members if supplier
        ]
