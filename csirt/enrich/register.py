"""The address register in memory: whose address, HER-id, EDI address or mail domain something is, and what was agreed.

Immutable: a reload makes a new one. Look-ups of single values need no compiled code, so the command line stays quick.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from csirt.enrich import prefixes
from csirt.enrich.file.entries import Entries
from csirt.enrich.file.whole import parse, read
from csirt.errors import Problem
from csirt.model.address import from_text
from csirt.model.hours import covers, intervals
from csirt.model.member import (
    Agreement,
    EdiAddress,
    Her,
    Host,
    MailDomain,
    Member,
    SupplierWindow,
)


class Register:
    """What one register file says."""

    def __init__(self, entries: Entries) -> None:
        """`entries` must be free of problems; `Register.load` sees to it."""
        self.version = entries.version
        self.timezone = entries.timezone
        self.agreements: tuple[Agreement, ...] = tuple(entries.agreements)
        self.windows: tuple[SupplierWindow, ...] = tuple(entries.windows)
        self.resolvers: tuple[str, ...] = tuple(text.rpartition("/")[0] for text, _, _ in entries.resolvers)
        self._resolver_nets = tuple((text, vrf) for text, vrf, _ in entries.resolvers)
        self._members = {member.id: member for member in sorted(entries.members, key=lambda member: member.id)}
        self._her = {her.id: her for member in entries.members for her in member.her}
        self._domains = {domain.domain: domain for domain in entries.domains}
        self._edi = _edi_addresses(entries)

    @classmethod
    def load(cls, path: Path) -> tuple[Register | None, list[Problem]]:
        """The register of a file and the problems in it. With any problem there is no register: half a register would
        call members strangers, and strangers members."""
        entries, problems = read(path)
        return (None, problems) if problems else (cls(entries), [])

    @classmethod
    def parse(cls, raw: bytes, name: str) -> tuple[Register | None, list[Problem]]:
        """As `load`, of bytes under a name."""
        entries, problems = parse(raw, name)
        return (None, problems) if problems else (cls(entries), [])

    @classmethod
    def empty(cls) -> Register:
        """A register that knows nobody: every address is outside."""
        return cls(Entries(version="empty"))

    @property
    def knows_nobody(self) -> bool:
        """Whether no member is registered, so that nothing can be said of whose an address or HER-id is."""
        return not self._members

    def member(self, id: str) -> Member | None:
        """The member of that id."""
        return self._members.get(id)

    def members(self) -> list[Member]:
        """All members, by id."""
        return list(self._members.values())

    @cached_property
    def hosts(self) -> list[Host]:
        """Every distinct thing a prefix or asset says; value v of the prefix tables is `hosts[v - 2]`."""
        return self._tables[1]

    def spaces(self) -> list[str]:
        """The names of all address spaces, the default VRF "" first."""
        return sorted(self._tables[0])

    def table(self, space: str) -> prefixes.Table:
        """The prefix table of a space; an unknown space has the empty one."""
        return self._tables[0].get(space) or self._nothing

    @cached_property
    def interfaces(self) -> dict[tuple[str, int], str]:
        """(exporter address, ifIndex) -> the name of the space behind it."""
        return {
            (site.exporter, site.interface): site.space
            for member in self._members.values()
            for site in member.sites
            if site.exporter
        }

    def host(self, address: str | tuple[int, int, int], vrf: str = "") -> Host | None:
        """What is known of an address (text, or family, hi, lo) in a VRF; None means outside. Raises ValueError."""
        family, high, low = from_text(address) if isinstance(address, str) else address
        value = self.table(vrf).find(family, high, low)
        return None if value == prefixes.OUTSIDE else self.hosts[value - 2]

    find_host = host

    def her(self, id: str) -> Her | None:
        """The communication party of that HER-id."""
        return self._her.get(id)

    def edi_address(self, text: str) -> EdiAddress | None:
        """The EDI address, whatever its case."""
        return self._edi.get(text.strip().lower())

    def domain(self, text: str) -> MailDomain | None:
        """The registered mail domain that is `text` or its nearest parent."""
        name = text.strip().lower().rstrip(".")
        while name:
            found = self._domains.get(name)
            if found is not None:
                return found
            name = name.partition(".")[2]
        return None

    def domains(self) -> list[MailDomain]:
        """All registered mail domains, by name."""
        return [self._domains[name] for name in sorted(self._domains)]

    def operated_by(self, id: str) -> frozenset[str]:
        """The operator and the supplier of a member: who may lawfully send on its behalf."""
        member = self._members.get(id)
        return frozenset(other for other in (member.operator, member.supplier) if other) if member else frozenset()

    def is_open(self, id: str, time: int) -> bool:
        """Whether a member is at work at that moment (us); without open hours it always is."""
        member = self._members.get(id)
        return member is None or member.open_hours is None or covers(member.open_hours, time)

    def supplier_window(self, supplier: str, member: str, time: int) -> str:
        """`inside`, `outside`, or `none` when no window was agreed."""
        found = self.windows_of.get((supplier, member))
        if not found:
            return "none"
        inside = any(start <= time < end for window in found for start, end in intervals(window, time, time))
        return "inside" if inside else "outside"

    @cached_property
    def windows_of(self) -> dict[tuple[str, str], tuple[SupplierWindow, ...]]:
        """(supplier, member) -> its windows."""
        found: dict[tuple[str, str], list[SupplierWindow]] = defaultdict(list)
        for window in self.windows:
            found[window.supplier, window.member].append(window)
        return {pair: tuple(windows) for pair, windows in found.items()}

    @cached_property
    def _nothing(self) -> prefixes.Table:
        return prefixes.build([])

    @cached_property
    def _tables(self) -> tuple[dict[str, prefixes.Table], list[Host]]:
        """Tables by space and the hosts their values name; an asset counts before a prefix of the same length."""
        hosts: dict[Host, int] = {}
        spaces: dict[str, list[tuple[prefixes.Network, int]]] = {"": []}

        def add(space: str, text: str, host: Host) -> None:
            value = hosts.setdefault(host, len(hosts) + 2)
            spaces.setdefault(space, []).append((ipaddress.ip_network(text), value))

        for member in self._members.values():
            for site in member.sites:
                about = (member.id, member.name, member.kind, site.id)
                for prefix in site.prefixes:
                    add(site.space, prefix.network, Host(*about, "", site.zone, site.nat, prefix.network))
                for asset in site.assets:
                    zone = asset.zone or site.zone
                    add(site.space, asset.network, Host(*about, asset.role, zone, site.nat, asset.network, asset.name))
        self._add_resolvers(spaces, hosts)
        return {name: prefixes.build(entries) for name, entries in spaces.items()}, list(hosts)

    def _add_resolvers(self, spaces: dict[str, list[tuple[prefixes.Network, int]]], hosts: dict[Host, int]) -> None:
        """Resolvers as assets, one by one more specific than the prefix or asset around them."""
        tables = {vrf: prefixes.build(spaces.get(vrf, [])) for _, vrf in self._resolver_nets}
        known = list(hosts)
        for text, vrf in self._resolver_nets:
            network = ipaddress.ip_network(text)
            first = int(network.network_address)
            value = tables[vrf].find(network.version, first >> 64, first & 0xFFFF_FFFF_FFFF_FFFF)
            outer = known[value - 2]  # the file's checks: a resolver lies in a member's prefix
            if outer.role != "resolver":
                host = replace(outer, role="resolver", network=text)
                spaces[vrf].append((network, hosts.setdefault(host, len(hosts) + 2)))


def _edi_addresses(entries: Entries) -> dict[str, EdiAddress]:
    members: dict[str, set[str]] = defaultdict(set)
    for member in entries.members:
        for her in member.her:
            if her.edi:
                members[her.edi].add(member.id)
    for address in entries.shared_addresses:
        members.setdefault(address, set())
    return {
        address: EdiAddress(address, tuple(sorted(owners)), address in entries.shared_addresses or len(owners) > 1)
        for address, owners in members.items()
    }
