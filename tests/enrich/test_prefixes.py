"""Longest-prefix match against the standard library's arithmetic."""

from __future__ import annotations

import ipaddress
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.enrich.prefixes import NONE, OUTSIDE, build


@st.composite
def networks(draw: st.DrawFn) -> list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int]]:
    """Prefixes that nest and touch often: few distinct upper bits, all lengths."""
    found = []
    for value in range(2, 2 + draw(st.integers(0, 24))):
        if draw(st.booleans()):
            bits = draw(st.sampled_from([0, 10 << 24, (10 << 24) + (1 << 16), 0xFFFF_FFFF, 0xFFFF_0000]))
            number, length, width = bits ^ draw(st.integers(0, 1023)), draw(st.integers(0, 32)), 32
        else:
            bits = draw(st.sampled_from([0, 0x20010DB8 << 96, (1 << 128) - 1, 0xFFFF << 32, (0xFD << 120) | 1 << 64]))
            number, length, width = bits ^ draw(st.integers(0, 1023)), draw(st.integers(0, 128)), 128
        number = number >> (width - length) << (width - length)
        kind = ipaddress.IPv4Network if width == 32 else ipaddress.IPv6Network
        found.append((kind((number, length)), value))
    return found


def oracle(entries: list, family: int, number: int) -> int:
    """The value of the longest prefix that holds the address, the last of equal ones."""
    if family == 0:
        return NONE
    address = ipaddress.IPv4Address(number) if family == 4 else ipaddress.IPv6Address(number)
    if family == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    best, value = -1, OUTSIDE
    for network, candidate in entries:
        if address.version == network.version and address in network and network.prefixlen >= best:
            best, value = network.prefixlen, candidate
    return value


@settings(max_examples=150, deadline=None)
@given(networks(), st.data())
def test_lookup_equals_the_standard_library(entries: list, data: st.DataObject) -> None:
    """Columns and single look-ups give what ipaddress gives, at the edges of prefixes and at random."""
    probes = [(0, 0), (4, 0), (4, 2**32 - 1), (6, 0), (6, 2**128 - 1), (6, 0xFFFF << 32 | 10 << 24)]
    for network, _ in entries:
        family, width = network.version, network.max_prefixlen
        for number in (int(network.network_address), int(network.broadcast_address)):
            probes += [(family, n) for n in (number - 1, number, number + 1) if 0 <= n < 1 << width]
    probes += [(4, data.draw(st.integers(0, 2**32 - 1))), (6, data.draw(st.integers(0, 2**128 - 1)))]
    table = build(entries)
    family = np.array([kind for kind, _ in probes], np.uint8)
    high = np.array([number >> 64 for _, number in probes], np.uint64)
    low = np.array([number & (2**64 - 1) for _, number in probes], np.uint64)
    expected = [oracle(entries, kind, number) for kind, number in probes]
    assert table.lookup(family, high, low).tolist() == expected
    single = [table.find(k, n >> 64, n & (2**64 - 1)) if k else NONE for k, n in probes]
    assert single == expected


def test_the_last_of_equal_prefixes_counts() -> None:
    """An asset entered after the prefix of the same length replaces it."""
    net = ipaddress.ip_network("10.0.0.1/32")
    assert build([(net, 2), (net, 3)]).find(4, 0, int(net.network_address)) == 3


def test_lookups_are_fast_enough() -> None:
    """At least 20 M IPv4 look-ups a second over 3,000 members' prefixes with assets (CPU time, best of five)."""
    entries = []
    for number in range(3000):
        base = (10 << 24) + (number << 11)
        entries.append((ipaddress.IPv4Network((base, 21)), number + 2))
        entries += [(ipaddress.IPv4Network((base + 10 + k, 32)), 4000 + k) for k in range(4)]
    table = build(entries)
    rng = np.random.default_rng(1)
    rows = 1_000_000
    low = (np.uint64(10 << 24) + rng.integers(0, 3000 << 11, rows).astype(np.uint64)).astype(np.uint64)
    family, high = np.full(rows, 4, np.uint8), np.zeros(rows, np.uint64)
    table.lookup(family, high, low)
    best = min(_cpu(lambda: table.lookup(family, high, low)) for _ in range(5))
    assert rows / best > 20e6, f"{rows / best / 1e6:.0f} M look-ups a second"


def _cpu(run: object) -> float:
    start = time.process_time()
    run()  # type: ignore[operator]
    return time.process_time() - start
