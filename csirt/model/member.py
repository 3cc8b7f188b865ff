"""The address register's nouns: members, their sites, assets, HER-ids, domains, agreements and supplier windows.

Shared by every stage that asks the register something; only `enrich/` reads the file they come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

KINDS = (
    "hospital",
    "specialist",
    "municipality",
    "gp",
    "dental",
    "laboratory",
    "pharmacy",
    "amk",
    "legevakt",
    "transport",
    "supplier",
    "service",
    "csirt",
    "other",
)

ZONES = ("member", "common", "gateway", "supplier", "management", "outside")

# The zone of a member's addresses when neither site nor asset says another.
ZONE_OF_KIND = {"supplier": "supplier", "service": "common", "csirt": "management"}

ROLES = (
    "backup",
    "bridge",
    "database",
    "directory",
    "domain_controller",
    "firewall",
    "gatekeeper",
    "gateway",
    "jump_host",
    "mail",
    "management",
    "medical_device",
    "msh",
    "other",
    "printer",
    "proxy",
    "register",
    "relay",
    "resolver",
    "router",
    "scanner",
    "server",
    "storage",
    "studio",
    "time_server",
    "vpn",
    "web",
    "workstation",
)


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody at a member. `out_of_band`: reached on a channel that does not pass the member's own systems."""

    name: str
    role: str = ""
    mail: str = ""
    phone: str = ""
    out_of_band: bool = False


@dataclass(frozen=True, slots=True)
class Weekly:
    """Hours of local time that come back every week. `days`: 0 is Monday; `start` and `end` in minutes of the day;
    an end at or before the start lies on the next day."""

    days: tuple[int, ...]
    start: int
    end: int
    timezone: str


@dataclass(frozen=True, slots=True)
class Prefix:
    """A network of a site: text as in RFC 4632 or RFC 5952, and its line in the file."""

    network: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Asset:
    """An address or prefix with a role of its own."""

    network: str
    role: str
    name: str = ""
    zone: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Site:
    """A place of a member. Its prefixes count in a VRF, or behind one interface of one exporter when `exporter` is
    set. `nat`: one address stands for many machines."""

    id: str
    name: str = ""
    vrf: str = ""
    exporter: str = ""
    interface: int = 0
    zone: str = "member"
    nat: bool = False
    prefixes: tuple[Prefix, ...] = ()
    assets: tuple[Asset, ...] = ()
    line: int = 0

    @property
    def space(self) -> str:
        """The name of the address space the prefixes are unique in."""
        return f"{self.exporter} interface {self.interface}" if self.exporter else self.vrf


@dataclass(frozen=True, slots=True)
class Her:
    """A communication party: HER-id, its member, service and EDI address."""

    id: str
    member: str
    service: str = ""
    edi: str = ""
    active: bool = True
    line: int = 0


@dataclass(frozen=True, slots=True)
class MailDomain:
    """A mail domain. `use`: production, test, member or allowed (a historic exception, until a time in us or 0).
    `members`: who sends under it; more than one only when it is `shared`."""

    domain: str
    use: str
    members: tuple[str, ...] = ()
    shared: bool = False
    until: int = 0


@dataclass(frozen=True, slots=True)
class EdiAddress:
    """An EDI address and the members whose HER-ids have it. `shared`: it identifies no single member."""

    address: str
    members: tuple[str, ...]
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """An organisation in the network. `supplier` and `operator` are ids of other members."""

    id: str
    name: str
    kind: str
    language: str = "nb"
    supplier: str = ""
    operator: str = ""
    open_hours: Weekly | None = None
    contacts: tuple[Contact, ...] = ()
    sites: tuple[Site, ...] = ()
    her: tuple[Her, ...] = ()
    domains: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Agreement:
    """`source` may reach `destination` on these ports (inclusive ranges) from `since` until `until` (us, 0 open)."""

    id: str
    source: str
    destination: str
    service: str = ""
    protocol: int = 0
    ports: tuple[tuple[int, int], ...] = ((0, 65535),)
    since: int = 0
    until: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class SupplierWindow:
    """When a supplier may work at a member: `weekly`, or from `since` until `until` (us), which bound `weekly`."""

    supplier: str
    member: str
    weekly: Weekly | None = None
    since: int = 0
    until: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Host:
    """What the register knows of an address: the longest prefix that holds it, and whose it is."""

    member: str
    name: str
    kind: str
    site: str
    role: str
    zone: str
    nat: bool
    network: str = ""
    asset: str = ""


class AddressRegister(Protocol):
    """What stages may ask the register; `enrich.register.Register` answers."""

    @property
    def version(self) -> str:
        """Hash of the register file's content."""

    def member(self, id: str) -> Member | None:
        """The member of that id."""

    def members(self) -> list[Member]:
        """All members, by id."""

    def host(self, address: str | tuple[int, int, int], vrf: str = "") -> Host | None:
        """What is known of an address (text, or family, hi, lo) in a VRF; None means outside. Raises ValueError."""

    def her(self, id: str) -> Her | None:
        """The communication party of that HER-id."""

    def edi_address(self, text: str) -> EdiAddress | None:
        """The EDI address, whatever its case."""

    def domain(self, text: str) -> MailDomain | None:
        """The registered mail domain that is `text` or the nearest parent of it."""
