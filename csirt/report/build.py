"""From a case to a page: the facts of one member, checked against what may be told, then rendered."""

from __future__ import annotations

from collections.abc import Iterable

from csirt.errors import NotFound, Usage
from csirt.messages import text
from csirt.model.member import AddressRegister, Member
from csirt.model.records import Alert, Case, Incident
from csirt.report.facts import Events, MemberFacts, facts
from csirt.report.html import TLP, Sender, render


def build(
    case: Case,
    incidents: Iterable[Incident],
    alerts: Iterable[Alert],
    events: Events,
    register: AddressRegister,
    member: Member,
    lang: str,
    *,
    sender: Sender,
    issued: int,
    aware: int | None = None,
    release: Iterable[str] = (),
    recipient: str = "",
) -> tuple[str, tuple[str, ...]]:
    """The page, and the ids of the members whose names it releases.

    `release`: names or ids of counterparts to name. Raises NotFound when the member has no part in the case, Usage for
    a label that forbids it, and for a release of somebody who is no counterpart.
    """
    number = case.number or case.id[:12]
    if case.tlp not in TLP:
        raise Usage(text("report.bad_tlp", lang, case=number, tlp=case.tlp))
    if case.tlp == "RED" and not recipient.strip():
        raise Usage(text("report.red_needs_recipient", lang, case=number))
    incidents, alerts = list(incidents), list(alerts)
    if any(incident.tlp == "RED" for incident in incidents):
        raise Usage(text("report.red_indicator", lang, case=number))
    found = facts(case, incidents, alerts, events, register, member)
    if found is None:
        raise NotFound(text("report.nothing", lang, case=number, member=member.name))
    released = _released(found, register, member, release, lang)
    if released:
        found = facts(case, incidents, alerts, events, register, member, frozenset(released)) or found
    return render(found, lang, sender, issued=issued, aware=aware, recipient=recipient.strip()), released


def _released(
    found: MemberFacts, register: AddressRegister, member: Member, release: Iterable[str], lang: str
) -> tuple[str, ...]:
    """Ids of the counterparts named in `release`, by id or whole name."""
    known = [other for id in sorted(found.counterparts) if (other := register.member(id)) is not None]
    released = set()
    for said in release:
        fits = [other.id for other in known if said == other.id or said.casefold() == other.name.casefold()]
        if len(fits) != 1:
            raise Usage(text("report.release_stranger", lang, name=said, member=member.name))
        released.add(fits[0])
    return tuple(sorted(released))
