"""The independent check of every containment: what must never be touched, however a playbook is written.

It reads the access-list text itself, not what the playbook says about it, and refuses what it cannot read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from csirt.clock import DAY
from csirt.config import Respond
from csirt.model.member import AddressRegister
from csirt.model.records import Action
from csirt.respond.acl import BadLine, Entry, Network, parse

# A block covers a few hosts, never a site: longest prefixes that are still too broad are one bit shorter than these.
NARROWEST = {4: 29, 6: 64}
LONGEST = 7 * DAY
MAX_LINES = 50


class Guard:
    """Built from the configuration and the register; a pure function of an action after that."""

    def __init__(self, config: Respond, register: AddressRegister | None) -> None:
        self._cap = config.members_per_hour
        self._never: list[tuple[Network, str]] = []
        self._named = {name for name in config.never_touch if not _is_network(name)}
        self._members = set(self._named)
        for name in config.never_touch:
            if _is_network(name):
                self._never.append((ipaddress.ip_network(name, strict=False), f"never_touch {name}"))
        self._register = register
        kinds = set(config.never_touch_kinds)
        for member in register.members() if register is not None else []:
            if member.id in self._members:
                reason = f"never_touch {member.id}"
            elif member.kind in kinds:
                reason = f"{member.id} is of the kind {member.kind}"
            else:
                continue
            for site in member.sites:
                spaces = [prefix.network for prefix in site.prefixes] + [asset.network for asset in site.assets]
                self._never += [(ipaddress.ip_network(space, strict=False), reason) for space in spaces]
            self._members.add(member.id)

    def problems(self) -> list[str]:
        """Entries of never_touch that protect nothing: neither an address nor a member of the register."""
        known = {member.id for member in self._register.members()} if self._register is not None else set()
        return [
            f"respond.never_touch: {name!r} is neither an address, a prefix nor a member of the register; it protects "
            "nothing"
            for name in sorted(self._named - known)
        ]

    def refuse(self, action: Action, touched: Iterable[str] = ()) -> str:
        """Why the action must not be done; empty when nothing speaks against it.

        `touched`: members that containment has already touched within the last hour.
        """
        if action.kind != "acl":
            return "only an access list can be approved as containment" if action.containment else ""
        lines = action.parameters.get("lines")
        if not isinstance(lines, list) or not lines or len(lines) > MAX_LINES:
            return f"the access list has no lines, or more than {MAX_LINES}"
        try:
            entries = [parse(str(line)) for line in lines]
        except BadLine as error:
            return f"unreadable line: {error.message}"
        if action.parameters.get("rollback") != [entry.rollback() for entry in reversed(entries)]:
            return "the rollback does not take back exactly these lines"
        expiry = action.parameters.get("expiry_us")
        if not isinstance(expiry, int) or expiry <= 0 or expiry > LONGEST:
            return "no expiry, or one beyond 7 days"
        for entry in entries:
            reason = self._entry(entry)
            if reason:
                return reason
        return self._capped(entries, action, touched)

    def members_of(self, action: Action) -> set[str]:
        """The members whose addresses an access list names; an address outside the register counts by itself."""
        found: set[str] = set()
        for line in action.parameters.get("lines", []):
            try:
                entry = parse(str(line))
            except BadLine:
                continue
            for end in (entry.source, entry.destination):
                if end is not None:
                    found |= self._owners(end)
        return found

    def _entry(self, entry: Entry) -> str:
        if entry.source is None:
            return "the source is 'any': it would stop everybody"
        for end in (entry.source, entry.destination):
            if end is None:
                continue
            if end.prefixlen < NARROWEST[end.version]:
                return f"{end} is too broad: at most /{NARROWEST[end.version]}"
            for never, reason in self._never:
                if never.version == end.version and never.overlaps(end):
                    return f"{end} must never be touched ({reason})"
            owners = self._owners(end) & self._members
            if owners:
                return f"{end} must never be touched (never_touch {', '.join(sorted(owners))})"
        return ""

    def _capped(self, entries: list[Entry], action: Action, touched: Iterable[str]) -> str:
        members = set(touched) | self.members_of(action)
        if len(members) > self._cap:
            return f"it would be member number {len(members)} within the hour; members_per_hour is {self._cap}"
        return ""

    def _owners(self, end: Network) -> set[str]:
        """Members that hold the first and last address of a network, or the network itself where nobody does."""
        found: set[str] = set()
        if self._register is not None:
            for address in {end.network_address, end.broadcast_address}:
                host = self._register.host(str(address))
                if host is not None and host.member:
                    found.add(host.member)
        return found or {str(end)}


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
