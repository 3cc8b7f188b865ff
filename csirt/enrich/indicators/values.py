"""What an indicator may be, in the one form it is kept in."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from csirt.model import tlp

KINDS = ("ip", "network", "domain")
NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")
MAX_VALUE = 300
WIDEST = {4: 8, 6: 16}  # shorter prefixes would match a good part of the world
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class Refused(ValueError):
    """Why a value is no indicator here: a word for counting (`reason`), and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Indicator:
    """One entry of a list. `confidence`: 0 to 100; `added` and `expires`: microseconds; `reference`: what its source
    calls it."""

    list: str
    kind: str
    value: str
    confidence: int
    tlp: str
    added: int
    expires: int
    source: str = ""
    reference: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by: its list and value."""
        return self.list, self.value

    def joined(self, other: Indicator) -> Indicator:
        """The same value of two lists as one: the longest life, the greatest confidence, the strictest label."""
        return replace(
            self,
            list=",".join(sorted({*self.list.split(","), *other.list.split(",")})),
            confidence=max(self.confidence, other.confidence),
            tlp=tlp.strictest([self.tlp, other.tlp]),
            expires=max(self.expires, other.expires),
        )


def canonical(text: str) -> tuple[str, str]:
    """(kind, value) of an address, a network or a domain. Raises Refused."""
    text = text.strip()
    if not text or len(text) > MAX_VALUE:
        raise Refused("value", "empty" if not text else f"longer than {MAX_VALUE} characters")
    if "/" in text:
        return "network", _network(text)
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return "domain", _domain(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local:
        raise Refused("value", f"{address} is no host that others could meet")
    return "ip", str(address)


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Refused("value", f"{text[:60]!r} is no address, network or domain") from None
    if network.prefixlen < WIDEST[network.version]:
        raise Refused("wide", f"{network} is wider than a /{WIDEST[network.version]}")
    return str(network)


def _domain(text: str) -> str:
    name = text.lower().rstrip(".").removeprefix("*.")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise Refused("value", f"{text[:60]!r} is no domain") from None
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise Refused("value", f"{text[:60]!r} is no address, network or domain")
    if len(labels) < 2:
        raise Refused("wide", f"{name!r} is a whole top-level domain")
    return name
