"""What a report may say (decision 16): only rows of which the member was an end, the counterpart by its address.

Nothing is taken from titles, groups, entities or counts of alerts and incidents, which other members are part of too;
they only say which rows to look at. What is shown is made from the member's own rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from csirt.model.address import from_text
from csirt.model.batch import Batch
from csirt.model.member import AddressRegister, Host, Member
from csirt.model.records import Alert, Case, Incident
from csirt.model.severity import SEVERITIES, Severity
from csirt.report.kinds import kind_of
from csirt.report.rows import Evidence, gather


class Events(Protocol):
    """Reads event tables, as `Store.events` does."""

    def __call__(
        self,
        dataset: str | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        ids: list[str] | None = None,
        columns: list[str] | None = None,
    ) -> Iterator[Batch]: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, by rule: counted over the member's own rows. `kind`: a key of the catalogue; `acting`: whether a
    machine or party of the member did it."""

    kind: str
    acting: bool
    rule_id: str
    rule_name: str
    rule_version: str
    rule_author: str
    rule_license: str
    severity: Severity
    rsit: str
    techniques: tuple[str, ...]
    clinical: bool
    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """Records between one own address and one counterpart. `direction`: out, in or own (both ends are the member's);
    `outside`: the counterpart is in nobody's prefix; `name`: only when released."""

    direction: str
    own: str
    other: str
    outside: bool
    name: str
    protocol: int
    port: int
    count: int
    octets: int
    packets: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Message:
    """Mail or clinical messages of one kind. `other`: the counterpart's address, HER-id or foreign domain; `what`: the
    message's type; `state`: what became of it; `ids`: ids of messages the member itself sent."""

    dataset: str
    direction: str
    own: str
    other: str
    name: str
    what: str
    state: str
    count: int
    first: int
    last: int
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """An address of the member that takes part. `acting`: alerts name it as the one that acts."""

    address: str
    acting: bool
    site: str
    role: str
    asset: str


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """Everything a page is made of. `aware` is added by the caller: when the member's deadlines begin."""

    case: str
    tlp: str
    rsit: str
    severity: str
    clinical: bool
    member: Member
    supplier_name: str
    supplier_phone: str
    first: int
    last: int
    findings: tuple[Finding, ...]
    exchanges: tuple[Exchange, ...]
    messages: tuple[Message, ...]
    machines: tuple[Machine, ...]
    counterparts: frozenset[str]  # members the rows touch, for checking what is released; never shown

    @property
    def acting(self) -> bool:
        """Whether anything of the member did what was seen."""
        return any(finding.acting for finding in self.findings)


def facts(
    case: Case,
    incidents: Iterable[Incident],
    alerts: Iterable[Alert],
    events: Events,
    register: AddressRegister,
    member: Member,
    released: frozenset[str] = frozenset(),
) -> MemberFacts | None:
    """The facts of one member, or None when no stored row of the case has the member as an end.

    `released`: ids of members whose names an analyst has released to this member.
    """
    wanted = {id for incident in incidents for id in incident.alerts}
    chosen = sorted((a for a in alerts if a.id in wanted and member.id in a.members), key=lambda a: (a.first, a.id))
    evidence = gather(chosen, events, register, member.id)
    findings = _findings(chosen, evidence, member.id)
    if not findings:
        return None
    names = {id: found.name for id in released if (found := register.member(id)) is not None and id != member.id}
    worst = max(findings, key=lambda finding: SEVERITIES.index(finding.severity))
    supplier = _supplier(register, member, evidence)
    return MemberFacts(
        case=case.number or case.id[:12],
        tlp=case.tlp,
        rsit=worst.rsit or case.rsit,
        severity=worst.severity,
        clinical=any(finding.clinical for finding in findings),
        member=member,
        supplier_name=supplier.name if supplier else "",
        supplier_phone=next((c.phone for c in supplier.contacts if c.phone), "") if supplier else "",
        first=min(finding.first for finding in findings),
        last=max(finding.last for finding in findings),
        findings=findings,
        exchanges=_exchanges(evidence, names),
        messages=_messages(evidence, names),
        machines=_machines(chosen, evidence, register, member.id),
        counterparts=frozenset(evidence.counterparts),
    )


def _findings(alerts: list[Alert], evidence: Evidence, member: str) -> tuple[Finding, ...]:
    """One finding per rule that has rows of the member, the worst first."""
    found = []
    for rule, tally in evidence.rules.items():
        own = [alert for alert in alerts if (alert.dataset, alert.rule_id) == rule]
        newest = own[-1]
        found.append(
            Finding(
                kind=kind_of(newest),
                acting=any(e.role == "actor" and e.member == member for alert in own for e in alert.entities),
                rule_id=newest.rule_id,
                rule_name=newest.rule_name,
                rule_version=newest.rule_version,
                rule_author=newest.rule_author,
                rule_license=newest.rule_license,
                severity=max((alert.severity for alert in own), key=SEVERITIES.index),
                rsit=newest.rsit,
                techniques=tuple(sorted({technique for alert in own for technique in alert.techniques})),
                clinical=any(alert.clinical for alert in own),
                first=tally.first,
                last=tally.last,
                count=tally.count,
            )
        )
    order = {severity: -position for position, severity in enumerate(SEVERITIES)}
    return tuple(sorted(found, key=lambda finding: (order[finding.severity], finding.first, finding.rule_id)))


def _exchanges(evidence: Evidence, names: dict[str, str]) -> tuple[Exchange, ...]:
    made = [
        Exchange(
            direction=key.direction,
            own=key.own,
            other=key.other,
            outside=key.outside,
            name=names.get(key.member, ""),
            protocol=key.protocol,
            port=key.port,
            count=sums.count,
            octets=sums.octets,
            packets=sums.packets,
            first=sums.first,
            last=sums.last,
        )
        for key, sums in evidence.exchanges.items()
    ]
    return tuple(sorted(made, key=lambda e: (e.first, e.own, e.other, e.port, e.protocol, e.direction)))


def _messages(evidence: Evidence, names: dict[str, str]) -> tuple[Message, ...]:
    made = [
        Message(
            dataset=key.dataset,
            direction=key.direction,
            own=key.own,
            other=key.other,
            name=names.get(key.member, ""),
            what=key.what,
            state=key.state,
            count=sums.count,
            first=sums.first,
            last=sums.last,
            ids=tuple(sorted(sums.ids)),
        )
        for key, sums in evidence.messages.items()
    ]
    return tuple(sorted(made, key=lambda m: (m.first, m.dataset, m.own, m.other, m.what, m.state)))


def _machines(alerts: list[Alert], evidence: Evidence, register: AddressRegister, member: str) -> tuple[Machine, ...]:
    actors = {e.value for alert in alerts for e in alert.entities if e.kind == "host" and e.role == "actor"}
    own = {key.own for key in evidence.exchanges} | {key.own for key in evidence.messages if key.dataset == "mail"}
    made = []
    for address in own - {""}:
        host = _own_host(register, address, member)
        machine = Machine(address, address in actors, "", "", "")
        made.append(replace(machine, site=host.site, role=host.role, asset=host.asset) if host else machine)
    return tuple(sorted(made, key=lambda machine: (not machine.acting, from_text(machine.address))))


def _own_host(register: AddressRegister, address: str, member: str) -> Host | None:
    """What the register says of an own address; nothing when it finds another member's there (another VRF)."""
    try:
        host = register.host(address)
    except ValueError:
        return None
    return host if host is not None and host.member == member else None


def _supplier(register: AddressRegister, member: Member, evidence: Evidence) -> Member | None:
    """Whom the member may call for help: its supplier, unless the supplier itself is a counterpart in the case."""
    if not member.supplier or member.supplier in evidence.counterparts:
        return None
    return register.member(member.supplier)
