"""What a register file says, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from csirt.model.member import Agreement, MailDomain, Member, SupplierWindow


@dataclass(slots=True)
class Entries:
    """Everything one register file says. `resolvers`: (network, vrf, line)."""

    version: str = ""
    timezone: str = "Europe/Oslo"
    members: list[Member] = field(default_factory=list)
    domains: list[MailDomain] = field(default_factory=list)
    shared_addresses: set[str] = field(default_factory=set)
    agreements: list[Agreement] = field(default_factory=list)
    windows: list[SupplierWindow] = field(default_factory=list)
    resolvers: list[tuple[str, str, int]] = field(default_factory=list)
