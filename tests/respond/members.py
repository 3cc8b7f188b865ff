"""A small register, playbooks and incidents for the tests of plans."""

from __future__ import annotations

import ipaddress
from typing import Any

from csirt.model.member import Asset, EdiAddress, Her, Host, MailDomain, Member, Prefix, Site
from csirt.model.records import Alert, Case, Entity, Incident


def member(name: str, kind: str, network: str, **site: Any) -> Member:
    """A member with one site."""
    return Member(name, name.title(), kind, sites=(Site("main", prefixes=(Prefix(network),), **site),))


class FakeRegister:
    """Answers as `model.member.AddressRegister` does."""

    def __init__(self, *members: Member) -> None:
        self._members = {one.id: one for one in members}
        self.version = "1"

    def member(self, id: str) -> Member | None:
        """The member of that id."""
        return self._members.get(id)

    def members(self) -> list[Member]:
        """All members, by id."""
        return [self._members[name] for name in sorted(self._members)]

    def host(self, address: str | tuple[int, int, int], vrf: str = "") -> Host | None:
        """The first site that holds the address."""
        wanted = ipaddress.ip_address(address)  # type: ignore[arg-type]
        for one in self.members():
            for site in one.sites:
                for prefix in site.prefixes:
                    if wanted in ipaddress.ip_network(prefix.network):
                        return Host(one.id, one.name, one.kind, site.id, "workstation", "member", site.nat)
        return None

    def her(self, id: str) -> Her | None:
        """None is known."""
        return None

    def edi_address(self, text: str) -> EdiAddress | None:
        """None is known."""
        return None

    def domain(self, text: str) -> MailDomain | None:
        """None is known."""
        return None


REGISTER = FakeRegister(
    member("gp", "gp", "10.31.0.0/24", exporter="192.0.2.1", interface=7),
    member("dental", "dental", "10.32.0.0/24", assets=(Asset("10.32.0.9/32", "server"),)),
    member("clinic", "specialist", "10.33.0.0/24"),
    member("hf", "hospital", "10.21.0.0/16"),
    member("lab", "laboratory", "2001:db8:21::/48"),
)


def incident(*actors: str, **more: Any) -> Incident:
    """An incident in which these hosts act."""
    fields: dict[str, Any] = {
        "id": "i1", "first": 10, "last": 20, "severity": "critical", "title": "t", "alerts": ["a1"],
        "members": ["gp", "dental"],
        "rules": ["NET-05 SMB worm fan-out"], "case": "c1", **more,
    }  # fmt: skip
    entities = [Entity(kind="host", value=actor, role="actor") for actor in actors]
    return Incident(entities=[*entities, Entity(kind="host", value="10.32.0.9", role="target")], **fields)


def alert(*actors: str, **more: Any) -> Alert:
    """An alert in which these hosts act."""
    fields: dict[str, Any] = {
        "id": "a1", "rule_id": "r1", "rule_name": "NET-05 SMB worm fan-out", "severity": "critical", "dataset": "flow",
        "first": 10, "last": 20, "facts": {"destination.port": ["445"]}, "playbook": "PB-WORM", **more,
    }  # fmt: skip
    return Alert(entities=[Entity(kind="host", value=actor, role="actor") for actor in actors], **fields)


CASE = Case(id="c1", number="C-2026-0001", version=1, severity="critical", title="t", first=10, last=20)
