"""The address register: list, show, import."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csirt.control.verbs import Context, verb
from csirt.errors import CsirtError, NotFound, Usage
from csirt.messages import text as say

if TYPE_CHECKING:
    from csirt.enrich.register import Register
    from csirt.model.member import Member

_FIELDS = ("id", "name", "kind", "language", "operator", "supplier", "sites", "prefixes", "her", "phone")


@verb("members.list", right="status")
def list_(context: Context, filter: str = "") -> dict[str, Any]:
    """`csirt.members/1`: all members, or those a filter matches."""
    from csirt.enrich.describe import summary
    from csirt.model.filter import Filter

    register: Register = context.part("register")
    items = [summary(member) for member in register.members()]
    if filter:
        wanted = Filter.parse(filter, context.clock.now(), _FIELDS, aliases={"member": ("id", "name", "kind")})
        items = [item for item in items if wanted.matches(item)]
    return {"schema": "csirt.members/1", "count": len(items), "items": items, "register": register.version}


@verb("members.show", right="status")
def show(context: Context, what: str, vrf: str = "") -> dict[str, Any]:
    """`csirt.member/1`: one member, named by id, address, HER-id, EDI address, domain, or the beginning of id or name.

    Raises NotFound, or Usage with the candidates.
    """
    from csirt.enrich.describe import member

    register: Register = context.part("register")
    found, matched = _find(register, what.strip(), vrf)
    return {"schema": "csirt.member/1", "matched": matched, "member": member(register, found)}


def _find(register: Register, what: str, vrf: str) -> tuple[Member, dict[str, Any]]:
    """The member and by what it was found: address, her, edi, domain or name."""
    exact = register.member(what)
    if exact is not None:
        return exact, {"by": "id", "value": what}
    ids, matched = _exact(register, what, vrf)
    if not ids:
        text = what.casefold()
        starts = [m.id for m in register.members() if m.id.casefold().startswith(text)]
        ids = starts or [m.id for m in register.members() if text in m.name.casefold()]
        matched = {"by": "name", "value": what}
    if len(ids) > 1:
        names = [f"{id} ({member.name})" for id in ids[:10] if (member := register.member(id)) is not None]
        raise Usage(f"{what!r} names {len(ids)} members: {', '.join(names)}", candidates=ids[:20])
    member = register.member(ids[0]) if ids else None
    if member is None:
        raise NotFound(f"{what!r} is no member, address, HER-id, EDI address or domain of the register")
    return member, matched


def _exact(register: Register, what: str, vrf: str) -> tuple[list[str], dict[str, Any]]:
    from dataclasses import asdict

    her = register.her(what)
    if her is not None:
        return [her.member], {"by": "her", "value": her.id, "service": her.service, "active": her.active}
    if "@" in what:
        edi = register.edi_address(what)
        return list(edi.members) if edi else [], {"by": "edi", "value": what.lower()}
    with contextlib.suppress(ValueError):
        host = register.host(what, vrf)
        if host is None:
            raise NotFound(f"{what} is outside: no prefix of the register holds it")
        return [host.member], {"by": "address", "value": what, "vrf": vrf, **asdict(host)}
    domain = register.domain(what)
    if domain is not None and domain.members:
        return list(domain.members), {"by": "domain", "value": domain.domain, "use": domain.use}
    return [], {}


@verb("members.import", right="operate")
def import_(context: Context, text: str, name: str, reason: str, dry_run: bool = False) -> dict[str, Any]:
    """`csirt.members-import/1`: check a register's text, put it in place of the configured file, reload.

    The file before is kept beside it. Raises Usage when there is a problem, with every one of them, and leaves the
    old file untouched then.
    """
    from csirt.enrich.describe import diff
    from csirt.enrich.register import Register

    if not reason.strip():
        raise Usage(say("members.no_reason", context.lang))
    if not context.config.enrich.register_file:
        raise Usage(say("members.not_configured", context.lang))
    target = Path(context.config.enrich.register_file)
    if (target.suffix == ".toml") != name.lower().endswith(".toml"):
        raise Usage(say("members.other_format", context.lang, name=name, target=target))
    new, problems = Register.parse(text.encode(), name)
    if new is None:
        lines = "\n".join(str(problem) for problem in problems)
        raise Usage(lines, problems=[problem.as_dict() for problem in problems])
    old, _ = Register.load(target)
    change = diff(old or Register.empty(), new)
    document: dict[str, Any] = {"schema": "csirt.members-import/1", "file": str(target), "change": change}
    document |= {"previous": "", "dry_run": dry_run, "reloaded": False, "problems": []}
    if dry_run or (old is not None and old.version == new.version):
        return document
    previous = target.with_name(f"{target.stem}.previous{target.suffix}")
    _replace(target, previous, text.encode(), context.lang)
    document["previous"] = str(previous) if old is not None else ""
    _record(context, change, reason)
    daemon = context.part("daemon")
    if daemon is not None:
        document["problems"] = list(daemon.reload())
        document["reloaded"] = not any(note.startswith("register") for note in document["problems"])
    return document


def _replace(target: Path, previous: Path, raw: bytes, lang: str) -> None:
    """Keep the old file as `previous`, then put the new one in its place; a crash leaves one of the two whole."""
    fresh = target.with_name(f".{target.name}.new")
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o640
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(raw)
            handle.flush()
            os.fsync(handle.fileno())
        if target.exists():
            previous.unlink(missing_ok=True)
            os.link(target, previous)
        fresh.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise CsirtError(say("members.cannot_write", lang, file=target, reason=error.strerror)) from error


def _record(context: Context, change: dict[str, Any], reason: str) -> None:
    from csirt.model.audit import AuditEntry

    who = context.principal
    detail = {
        "old": change["old"],
        "new": change["new"],
        "added": [member["id"] for member in change["added"]],
        "removed": [member["id"] for member in change["removed"]],
        "changed": [member["id"] for member in change["changed"]],
        "reason": reason,
    }
    entry = AuditEntry(
        time=context.clock.now(),
        actor=who.name,
        uid=who.uid,
        on_behalf=who.delegate,
        category="change",
        action="members.import",
        subject=change["new"],
        detail=detail,
    )
    context.store.append_audit([entry])
