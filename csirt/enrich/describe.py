"""The register as plain data for people and programs: a member whole, and what differs between two registers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from csirt.clock import iso
from csirt.enrich.register import Register
from csirt.model.hours import written
from csirt.model.member import Agreement, Member, SupplierWindow

_SKIPPED = ("line",)


def summary(member: Member) -> dict[str, Any]:
    """A member as one row of a list."""
    phones = [contact.phone for contact in member.contacts if contact.phone]
    return {
        "id": member.id,
        "name": member.name,
        "kind": member.kind,
        "language": member.language,
        "operator": member.operator,
        "supplier": member.supplier,
        "sites": len(member.sites),
        "prefixes": sum(len(site.prefixes) for site in member.sites),
        "her": [her.id for her in member.her],
        "phone": phones[0] if phones else "",
    }


def member(register: Register, found: Member) -> dict[str, Any]:
    """Everything the register says of a member."""
    document: dict[str, Any] = _plain(asdict(found))
    document["open_hours"] = written(found.open_hours)
    for site, plain in zip(found.sites, document["sites"], strict=True):
        plain["prefixes"] = [prefix.network for prefix in site.prefixes]
    for plain in document["her"]:
        plain.pop("member")
    document["agreements"] = [agreement(a) for a in register.agreements if found.id in (a.source, a.destination)]
    document["supplier_windows"] = [window(w) for w in register.windows if found.id in (w.supplier, w.member)]
    return document


def agreement(value: Agreement) -> dict[str, Any]:
    """An agreement with its times as text."""
    document: dict[str, Any] = _plain(asdict(value))
    document["ports"] = [str(low) if low == high else f"{low}-{high}" for low, high in value.ports]
    return document | {key: _time(getattr(value, key)) for key in ("since", "until")}


def window(value: SupplierWindow) -> dict[str, Any]:
    """A supplier window with its times as text."""
    return {
        "supplier": value.supplier,
        "member": value.member,
        "weekly": written(value.weekly) if value.weekly else None,
        "since": _time(value.since),
        "until": _time(value.until),
    }


def diff(old: Register, new: Register) -> dict[str, Any]:
    """What another register changes: members added, removed and changed (by field), agreements and windows."""
    before = {found.id: _comparable(old, found) for found in old.members()}
    after = {found.id: _comparable(new, found) for found in new.members()}
    changed = []
    for id in sorted(before.keys() & after.keys()):
        fields = [
            {"field": key, "old": before[id][key], "new": after[id][key]}
            for key in sorted(before[id])
            if before[id][key] != after[id][key]
        ]
        if fields:
            changed.append({"id": id, "fields": fields})
    document: dict[str, Any] = {
        "old": old.version,
        "new": new.version,
        "added": [summary(found) for found in new.members() if found.id not in before],
        "removed": [summary(found) for found in old.members() if found.id not in after],
        "changed": changed,
    }
    for name, one, two in (
        ("agreements", [agreement(a) for a in old.agreements], [agreement(a) for a in new.agreements]),
        ("supplier_windows", [window(w) for w in old.windows], [window(w) for w in new.windows]),
    ):
        document[name] = {
            "added": [value for value in two if value not in one],
            "removed": [value for value in one if value not in two],
        }
    mail = [sorted((d.domain, d.use) for d in side.domains() if d.use != "member") for side in (old, new)]
    document["domains"] = {
        "added": [f"{domain} ({use})" for domain, use in mail[1] if (domain, use) not in mail[0]],
        "removed": [f"{domain} ({use})" for domain, use in mail[0] if (domain, use) not in mail[1]],
    }
    document["resolvers"] = {
        "added": sorted(set(new.resolvers) - set(old.resolvers)),
        "removed": sorted(set(old.resolvers) - set(new.resolvers)),
    }
    return document


def _comparable(register: Register, found: Member) -> dict[str, Any]:
    document = member(register, found)
    for key in ("agreements", "supplier_windows", "id"):
        document.pop(key)
    return document


def _time(us: int) -> str | None:
    return iso(us) if us else None


def _plain(value: Any) -> Any:
    """Tuples as lists, line numbers left out."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key not in _SKIPPED}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
