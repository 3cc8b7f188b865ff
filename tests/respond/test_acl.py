"""Access-list lines are written from typed values and read back exactly."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csirt.respond.acl import PROTOCOLS, BadLine, Entry, parse

ENDS = st.one_of(
    st.none(),
    st.ip_addresses().map(ipaddress.ip_network),
    st.builds(lambda a, n: ipaddress.ip_network((a, n), strict=False), st.ip_addresses(v=4), st.integers(0, 32)),
)


@given(st.sampled_from(PROTOCOLS), ENDS, ENDS, st.integers(0, 65535))
def test_every_entry_reads_back(protocol: str, source: object, destination: object, port: int) -> None:
    """What is written is what the guard judges."""
    entry = Entry(protocol, source, destination, port if protocol in ("tcp", "udp") else 0)  # type: ignore[arg-type]
    assert parse(entry.line()) == entry
    assert entry.rollback() == f"no {entry.line()}"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "permit ip any any",
        "deny",
        "deny tcp host 10.0.0.1",
        "deny tcp host any",
        "deny tcp 10.0.0.1/8 any",
        "deny tcp host 10.0.0.1 any eq 70000",
        "deny tcp host 10.0.0.1 any eq smtp",
        "deny ip host 10.0.0.1 any eq 25",
        "deny tcp host 10.0.0.1 any range 1 9",
        "deny  tcp host 10.0.0.1 any",
        "deny tcp host 10.0.0.1 any\nno ip routing",
        "deny tcp 10.0.0.1 0.0.0.255 any",
    ],
)
def test_what_is_not_understood_is_refused(line: str) -> None:
    """A line that could mean something else to a router is never judged harmless."""
    with pytest.raises(BadLine):
        parse(line)
