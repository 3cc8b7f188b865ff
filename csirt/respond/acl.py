"""Access-list lines as people paste them into an edge router: written from typed values, read back by the guard.

The form is the extended access list most routers share: `deny tcp host 10.31.0.77 any eq 445`. Nothing here talks to
a device: the text is for a person to read and apply.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from csirt.errors import CsirtError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PROTOCOLS = ("ip", "ipv6", "tcp", "udp", "icmp")
_PORT = re.compile(r"\d{1,5}")


class BadLine(CsirtError):
    """A line that is no access-list entry of the known form."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One `deny` line. `source`, `destination`: a network, or None for `any`. `port`: of the destination, 0 for all."""

    protocol: str
    source: Network | None
    destination: Network | None
    port: int = 0

    def line(self) -> str:
        """The line as it is pasted."""
        port = f" eq {self.port}" if self.port else ""
        return f"deny {self.protocol} {_end(self.source)} {_end(self.destination)}{port}"

    def rollback(self) -> str:
        """The line that takes it back."""
        return f"no {self.line()}"


def parse(line: str) -> Entry:
    """Read one `deny` line back. Raises BadLine for anything else: what cannot be read cannot be judged."""
    words = line.split()
    if len(words) < 4 or words[0] != "deny" or words[1] not in PROTOCOLS or line != " ".join(words):
        raise BadLine(f"not of the form 'deny PROTOCOL SOURCE DESTINATION [eq PORT]': {line[:80]!r}")
    source, rest = _read_end(words[2:], line)
    destination, rest = _read_end(rest, line)
    port = 0
    if rest:
        if len(rest) != 2 or rest[0] != "eq" or not _PORT.fullmatch(rest[1]) or not 0 < int(rest[1]) < 65536:
            raise BadLine(f"unknown ending {' '.join(rest)[:40]!r} of {line[:80]!r}")
        if words[1] not in ("tcp", "udp"):
            raise BadLine(f"{words[1]} has no ports: {line[:80]!r}")
        port = int(rest[1])
    return Entry(words[1], source, destination, port)


def network(text: str) -> Network:
    """An address or prefix. Raises ValueError; host bits in a prefix are an error, not silently dropped."""
    return ipaddress.ip_network(text, strict=True)


def _end(end: Network | None) -> str:
    if end is None:
        return "any"
    if end.prefixlen == end.max_prefixlen:
        return f"host {end.network_address}"
    return str(end)


def _read_end(words: list[str], line: str) -> tuple[Network | None, list[str]]:
    if not words:
        raise BadLine(f"source or destination is missing: {line[:80]!r}")
    if words[0] == "any":
        return None, words[1:]
    try:
        if words[0] == "host":
            address = ipaddress.ip_address(words[1])
            return ipaddress.ip_network(address), words[2:]
        if "/" not in words[0]:
            raise ValueError("an address alone needs `host` before it")
        return network(words[0]), words[1:]
    except (ValueError, IndexError) as error:
        raise BadLine(f"no address in {line[:80]!r}: {error}") from error
