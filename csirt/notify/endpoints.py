"""What the configuration may name as an end of a notification's way."""

from __future__ import annotations

import ipaddress
import re

# A plain address (RFC 5321, no quoting, ASCII): what configuration may name, and all that may enter a header.
ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")


def is_relay(value: str) -> bool:
    """Whether it is host:port."""
    host, _, port = value.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
