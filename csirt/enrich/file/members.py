"""Member entries: contacts, sites with prefixes and assets, HER-ids, domains."""

from __future__ import annotations

from typing import Any

from csirt.enrich.file.fields import Fields, Path
from csirt.model.member import (
    KINDS,
    ROLES,
    ZONE_OF_KIND,
    ZONES,
    Asset,
    Contact,
    Her,
    Member,
    Prefix,
    Site,
)

_MEMBER = (
    "id",
    "name",
    "kind",
    "language",
    "supplier",
    "operator",
    "open_hours",
    "contacts",
    "sites",
    "her",
    "domains",
    "shared_domains",
)
_SITE = ("id", "name", "vrf", "exporter", "interface", "zone", "nat", "prefixes", "assets")


def member(fields: Fields, value: Any, path: Path) -> tuple[Member | None, list[tuple[str, Path, bool]]]:
    """One member, and its domains as (domain, path, shared); None when it has no usable id."""
    table = fields.mapping(value, path, _MEMBER, ("id", "name", "kind"))
    id = fields.identifier(table, path, "id")
    if not id:
        return None, []
    kind = fields.text(table, path, "kind", KINDS)
    hours = table.get("open_hours")
    hours_path = (*path, "open_hours")
    weekly = None
    if hours is not None:
        weekly = fields.weekly(fields.mapping(hours, hours_path, ("days", "hours", "timezone"), ("hours",)), hours_path)
    domains: list[tuple[str, Path, bool]] = []
    for key, shared in (("domains", False), ("shared_domains", True)):
        for item, where in fields.items(table, path, key):
            name = domain(fields, item, where)
            if name:
                domains.append((name, where, shared))
    found = Member(
        id=id,
        name=fields.text(table, path, "name"),
        kind=kind,
        language=fields.text(table, path, "language", ("nb", "en"), "nb"),
        supplier=fields.identifier(table, path, "supplier"),
        operator=fields.identifier(table, path, "operator"),
        open_hours=weekly,
        contacts=tuple(_contact(fields, item, where) for item, where in fields.items(table, path, "contacts")),
        sites=tuple(_site(fields, item, where, kind) for item, where in fields.items(table, path, "sites")),
        her=tuple(
            her
            for item, where in fields.items(table, path, "her")
            if (her := _her(fields, item, where, id)) is not None
        ),
        domains=tuple(name for name, _, _ in domains),
        line=fields.line(path),
    )
    return found, domains


def _contact(fields: Fields, value: Any, path: Path) -> Contact:
    table = fields.mapping(value, path, ("name", "role", "mail", "phone", "out_of_band"), ("name",))
    mail = fields.text(table, path, "mail")
    if mail and ("@" not in mail or any(char.isspace() for char in mail)):
        fields.wrong((*path, "mail"), f"{mail!r} is not a mail address")
    return Contact(
        name=fields.text(table, path, "name"),
        role=fields.text(table, path, "role"),
        mail=mail,
        phone=fields.text(table, path, "phone"),
        out_of_band=fields.flag(table, path, "out_of_band"),
    )


def _site(fields: Fields, value: Any, path: Path, kind: str) -> Site:
    table = fields.mapping(value, path, _SITE, ("id",))
    exporter = fields.text(table, path, "exporter")
    vrf = fields.identifier(table, path, "vrf")
    if exporter:
        network = fields.network(exporter, (*path, "exporter"))
        exporter = network.rpartition("/")[0]
        if network and not network.endswith(("/32", "/128")):
            fields.wrong((*path, "exporter"), f"{network!r} is a prefix", "write the exporter's address")
        if "interface" not in table:
            fields.wrong(path, "'exporter' without 'interface'", "add the ifIndex the site is behind")
        if vrf:
            fields.wrong((*path, "vrf"), "'vrf' beside 'exporter'", "a site has one of them")
    elif "interface" in table:
        fields.wrong((*path, "interface"), "'interface' without 'exporter'", "add the exporter's address")
    return Site(
        id=fields.identifier(table, path, "id"),
        name=fields.text(table, path, "name"),
        vrf=vrf,
        exporter=exporter,
        interface=fields.number(table, path, "interface", 0, 0xFFFF_FFFF),
        zone=fields.text(table, path, "zone", ZONES[:-1], ZONE_OF_KIND.get(kind, "member")),
        nat=fields.flag(table, path, "nat"),
        prefixes=tuple(
            Prefix(network, fields.line(where))
            for item, where in fields.items(table, path, "prefixes")
            if (network := fields.network(item, where))
        ),
        assets=tuple(
            asset
            for item, where in fields.items(table, path, "assets")
            if (asset := _asset(fields, item, where)) is not None
        ),
        line=fields.line(path),
    )


def _asset(fields: Fields, value: Any, path: Path) -> Asset | None:
    table = fields.mapping(value, path, ("address", "prefix", "role", "name", "zone"), ("role",))
    given = [key for key in ("address", "prefix") if key in table]
    if len(given) != 1:
        fields.wrong(path, "an asset has either 'address' or 'prefix'")
        return None
    network = fields.network(table[given[0]], (*path, given[0]))
    if given == ["address"] and network and not network.endswith(("/32", "/128")):
        fields.wrong((*path, "address"), f"{network!r} is not one address", "write 'prefix'")
    role = fields.text(table, path, "role", ROLES)
    zone = fields.text(table, path, "zone", ZONES[:-1])
    if not network or not role:
        return None
    return Asset(network, role, fields.text(table, path, "name"), zone, fields.line(path))


def _her(fields: Fields, value: Any, path: Path, member_id: str) -> Her | None:
    table = fields.mapping(value, path, ("id", "service", "edi", "active"), ("id",))
    number = table.get("id")
    text = str(number) if isinstance(number, int) and not isinstance(number, bool) else number
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 12 or text[0] == "0":
        fields.wrong((*path, "id"), "a HER-id is a number of at most 12 digits that does not begin with 0")
        return None
    edi = fields.text(table, path, "edi").lower()
    if edi and (edi.count("@") != 1 or not all(edi.split("@")) or any(char.isspace() for char in edi)):
        fields.wrong((*path, "edi"), f"{edi!r} is not an EDI address")
        edi = ""
    service = fields.text(table, path, "service")
    return Her(text, member_id, service, edi, fields.flag(table, path, "active", True), fields.line(path))


def domain(fields: Fields, value: Any, path: Path) -> str:
    """A mail domain in lower case; empty when it is none."""
    text = fields.scalar(value, path, "a domain").lower().rstrip(".")
    if not text:
        return ""
    labels = text.split(".")
    if len(text) > 253 or not all(
        label and len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() for label in labels
    ):
        fields.wrong(path, f"{text[:80]!r} is not a domain")
        return ""
    return text
