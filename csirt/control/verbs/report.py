"""Reports to members: build, list, show."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from csirt.clock import iso, parse_iso
from csirt.control.casework import find_case, incidents_of
from csirt.control.verbs import Context, verb
from csirt.errors import NotFound, Usage
from csirt.messages import text as say
from csirt.model.audit import AuditEntry
from csirt.model.records import Alert, Case

if TYPE_CHECKING:
    from csirt.model.member import Member
    from csirt.report.shelf import Entry, Shelf


@verb("report.build", right="report", access=True)
def build(
    context: Context,
    case: str,
    member: str,
    language: str = "",
    release: list[str] | None = None,
    reason: str = "",
    recipient: str = "",
    aware: str = "",
    page: bool = False,
) -> dict[str, Any]:
    """`csirt.report/1`: write a member's page of a case and keep it.

    `release`: counterparts to name, with a reason, which goes into the audit. `aware`: when the member became aware
    (ISO 8601), from when its deadlines count; now by default. `page`: with the page's text.
    """
    from csirt.report.build import build as make
    from csirt.report.html import Sender

    if release and not reason.strip():
        raise Usage(say("report.release_reason", context.lang))
    found = Case.model_validate(find_case(context, case))
    who = _member(context, member)
    lang = language or who.language
    if lang not in ("nb", "en"):
        raise Usage(f"{lang!r} is no language here: nb or en")
    incidents = incidents_of(context, found.incidents)
    alerts = [
        Alert.model_validate(document)
        for incident in incidents
        for id in incident.alerts
        if (document := context.store.get("alert", id)) is not None
    ]
    settings = context.config.report
    now = context.clock.now() // 60_000_000 * 60_000_000  # the minute it is issued: the same minute, the same page
    html, released = make(
        found,
        incidents,
        alerts,
        context.store.events,
        context.part("register"),
        who,
        lang,
        sender=Sender(settings.issuer, settings.phone, context.config.timezone),
        issued=now,
        aware=_moment(aware) if aware else None,
        release=release or (),
        recipient=recipient,
    )
    about = {
        "case": found.number or found.id[:12],
        "member": who.id,
        "lang": lang,
        "tlp": found.tlp,
        "recipient": recipient.strip(),
        "released": released,
        "by": context.principal.name,
        "issued": now,
    }
    entry, new = _shelf(context).put(html, about)
    _record(context, found, entry, new, reason)
    document = {"schema": "csirt.report/1", "new": new, "name": who.name, **_row(context, entry)}
    return document | ({"page": html} if page else {})


@verb("report.list", right="report", access=True)
def list_(context: Context, case: str = "", member: str = "") -> dict[str, Any]:
    """`csirt.reports/1`: the pages kept, the newest first."""
    number = find_case(context, case).get("number") if case else ""
    items = [
        _row(context, entry)
        for entry in _shelf(context).entries()
        if (not case or entry.case == number) and (not member or entry.member == member)
    ]
    return {"schema": "csirt.reports/1", "count": len(items), "items": items}


@verb("report.show", right="report", access=True)
def show(context: Context, id: str) -> dict[str, Any]:
    """`csirt.report/1` with its page."""
    entry, page = _shelf(context).get(id)
    who = context.part("register").member(entry.member)
    name = who.name if who else entry.member
    return {"schema": "csirt.report/1", "new": False, "name": name, **_row(context, entry), "page": page}


def _shelf(context: Context) -> Shelf:
    from csirt.report.shelf import Shelf

    return Shelf(context.config.path("reports"), context.lang)


def _row(context: Context, entry: Entry) -> dict[str, Any]:
    row = asdict(entry)
    row["released"] = list(entry.released)
    return row | {"issued": iso(entry.issued), "path": str(_shelf(context).path(entry.id))}


def _member(context: Context, said: str) -> Member:
    """A member by id, whole name, or the beginning of its id or name. Raises NotFound, or Usage with the candidates."""
    register = context.part("register")
    text = said.strip().casefold()
    everyone: list[Member] = register.members() if text else []
    exact = next((member for member in everyone if member.id == said.strip()), None)
    if exact is not None:
        return exact
    fits = [member for member in everyone if member.name.casefold() == text]
    fits = fits or [m for m in everyone if m.id.casefold().startswith(text) or m.name.casefold().startswith(text)]
    if len(fits) > 1:
        names = ", ".join(f"{member.id} ({member.name})" for member in fits[:10])
        raise Usage(say("report.ambiguous_member", context.lang, member=said, names=names))
    if not fits:
        raise NotFound(say("report.no_member", context.lang, member=said))
    return fits[0]


def _moment(text: str) -> int:
    try:
        return parse_iso(text)
    except ValueError as error:
        raise Usage(f"{text!r} is not a time: write one such as 2026-03-10T08:00Z") from error


def _record(context: Context, case: Case, entry: Entry, new: bool, reason: str) -> None:
    """Who told whom what, and whose names were released for which reason: once per page."""
    if not new:
        return
    who = context.principal
    base: dict[str, Any] = {"report": entry.id, "member": entry.member, "tlp": entry.tlp, "sha256": entry.sha256}
    actions = [("report.build", {**base, "lang": entry.lang, "recipient": entry.recipient})]
    if entry.released:
        actions.append(("report.release", {**base, "released": list(entry.released), "reason": reason.strip()}))
    context.store.append_audit(
        [
            AuditEntry(
                time=context.clock.now(),
                actor=who.name,
                uid=who.uid,
                on_behalf=who.delegate,
                category="change",
                action=action,
                subject=case.id,
                detail=detail,
            )
            for action, detail in actions
        ]
    )
