"""Addresses as (family, hi, lo) and as text, one at a time."""

from __future__ import annotations

import ipaddress


def from_text(text: str) -> tuple[int, int, int]:
    """(family, hi, lo) of one address; IPv4-mapped IPv6 stays IPv6. Raises ValueError."""
    address = ipaddress.ip_address(text)
    number = int(address)
    return address.version, number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF


def to_text(family: int, high: int, low: int) -> str:
    """One address as text (RFC 5952)."""
    if family == 4:
        return str(ipaddress.IPv4Address(int(low)))
    return str(ipaddress.IPv6Address((int(high) << 64) | int(low)))
