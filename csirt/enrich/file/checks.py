"""What no single entry shows: references, duplicates, and overlapping prefixes of different members."""

from __future__ import annotations

import ipaddress

from csirt.enrich.file.entries import Entries
from csirt.enrich.file.fields import Fields, Network
from csirt.errors import Problem
from csirt.model.member import Member


def run(entries: Entries, fields: Fields) -> None:
    """Add every problem across entries to `fields.problems`."""
    check = _Check(entries, fields)
    check.members()
    check.her()
    check.references()
    check.networks()


class _Check:
    def __init__(self, entries: Entries, fields: Fields) -> None:
        self.entries = entries
        self.fields = fields
        self.known: dict[str, Member] = {}

    def wrong(self, line: int, message: str, advice: str = "") -> None:
        file = self.fields.document.file
        self.fields.problems.append(Problem(file, line, message, advice=advice, check="register"))

    def members(self) -> None:
        """Ids of members and of sites occur once; a member occurs once in the result."""
        sites: dict[str, int] = {}
        for member in self.entries.members:
            first = self.known.setdefault(member.id, member)
            if first is not member:
                self.wrong(member.line, f"the member {member.id} is already in line {first.line}", "remove one of them")
                continue
            for site in member.sites:
                if site.id in sites:
                    message = f"the site {site.id} of {member.id} is already in line {sites[site.id]}"
                    self.wrong(site.line, message, "give it an id of its own")
                elif site.id:
                    sites[site.id] = site.line
        self.entries.members = list(self.known.values())

    def her(self) -> None:
        """A HER-id occurs once; an EDI address of two members must be said to be shared."""
        ids: dict[str, tuple[str, int]] = {}
        addresses: dict[str, tuple[str, int]] = {}
        for member in self.entries.members:
            for her in member.her:
                if her.id in ids:
                    owner, line = ids[her.id]
                    self.wrong(
                        her.line, f"the HER-id {her.id} of {member.id} is already that of {owner} in line {line}"
                    )
                ids.setdefault(her.id, (member.id, her.line))
                if not her.edi or her.edi in self.entries.shared_addresses:
                    continue
                owner, line = addresses.setdefault(her.edi, (member.id, her.line))
                if owner != member.id:
                    self.wrong(
                        her.line,
                        f"the EDI address {her.edi} of {member.id} is also that of {owner} in line {line}",
                        "list it under mail.shared_addresses",
                    )

    def references(self) -> None:
        """Every id of a member that is named exists; suppliers are suppliers; agreements join two members, once."""
        for member in self.entries.members:
            for what, id in (("supplier", member.supplier), ("operator", member.operator)):
                if id and id not in self.known:
                    self.wrong(member.line, f"the {what} {id!r} of {member.id} is not a member")
        agreements: dict[str, int] = {}
        for agreement in self.entries.agreements:
            for id in (agreement.source, agreement.destination):
                if id not in self.known:
                    self.wrong(agreement.line, f"the agreement {agreement.id} names {id!r}, which is not a member")
            if agreement.source == agreement.destination:
                self.wrong(agreement.line, f"the agreement {agreement.id} joins {agreement.source} with itself")
            first = agreements.setdefault(agreement.id, agreement.line)
            if first != agreement.line:
                self.wrong(agreement.line, f"the agreement {agreement.id} is already in line {first}")
        for window in self.entries.windows:
            for id in (window.supplier, window.member):
                if id not in self.known:
                    self.wrong(window.line, f"the supplier window names {id!r}, which is not a member")
            supplier = self.known.get(window.supplier)
            if supplier is not None and supplier.kind != "supplier":
                self.wrong(window.line, f"{supplier.id} is of kind {supplier.kind}, not a supplier")

    def networks(self) -> None:
        """Inside one VRF, or behind one interface, an address belongs to one member."""
        spaces: dict[tuple[str, int], list[_Entry]] = {}
        for member in self.entries.members:
            for site in member.sites:
                nets = [(ipaddress.ip_network(prefix.network), prefix.line) for prefix in site.prefixes]
                for net, line in nets:
                    spaces.setdefault((site.space, net.version), []).append(_Entry(net, member.id, site.id, line))
                self._assets(member.id, [net for net, _ in nets], [(a.network, a.role, a.line) for a in site.assets])
        for (space, _), found in sorted(spaces.items()):
            self._overlaps(space, found)
        self._resolvers(spaces)

    def _assets(self, member: str, nets: list[Network], assets: list[tuple[str, str, int]]) -> None:
        seen: dict[str, int] = {}
        for text, role, line in assets:
            network = ipaddress.ip_network(text)
            if not any(_inside(network, net) for net in nets):
                self.wrong(line, f"the {role} {text} of {member} lies outside the prefixes of its site")
            first = seen.setdefault(text, line)
            if first != line:
                self.wrong(line, f"the asset {text} of {member} is already in line {first}")

    def _overlaps(self, space: str, found: list[_Entry]) -> None:
        """Sorted by first address and size, a prefix overlaps exactly the open ones that hold its first address."""
        where = f"in VRF {space!r}" if space else "in the default VRF"
        stack: list[_Entry] = []
        for entry in sorted(found, key=lambda e: (e.first, e.network.prefixlen, e.line)):
            while stack and stack[-1].last < entry.first:
                stack.pop()
            if stack:
                outer = stack[-1]
                if outer.member != entry.member:
                    message = (
                        f"{entry.network} of {entry.member} overlaps {outer.network} of {outer.member} "
                        f"(line {outer.line}) {where}"
                    )
                    self.wrong(entry.line, message, "correct one of them, or put them in different VRFs")
                elif outer.network == entry.network:
                    self.wrong(entry.line, f"{entry.network} of {entry.member} is already in line {outer.line} {where}")
            stack.append(entry)

    def _resolvers(self, spaces: dict[tuple[str, int], list[_Entry]]) -> None:
        """A resolver is an address of a member, and not one with another role."""
        roles = {
            (site.space, asset.network): asset.role
            for member in self.entries.members
            for site in member.sites
            for asset in site.assets
        }
        for text, vrf, line in self.entries.resolvers:
            network = ipaddress.ip_network(text)
            if not any(_inside(network, entry.network) for entry in spaces.get((vrf, network.version), [])):
                self.wrong(line, f"the resolver {text} lies in no member's prefix", "add it to a site of its owner")
            role = roles.get((vrf, text), "resolver")
            if role != "resolver":
                self.wrong(line, f"the resolver {text} has the role {role} at its site")


class _Entry:
    __slots__ = ("first", "last", "line", "member", "network", "site")

    def __init__(self, network: Network, member: str, site: str, line: int) -> None:
        self.network = network
        self.member = member
        self.site = site
        self.line = line
        self.first = int(network.network_address)
        self.last = int(network.broadcast_address)


def _inside(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and (
        int(outer.network_address) <= int(inner.network_address)
        and int(inner.broadcast_address) <= int(outer.broadcast_address)
    )
