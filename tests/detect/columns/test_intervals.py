"""Address ranges looked up together: what each range alone would say."""

from __future__ import annotations

import ipaddress

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.atoms import Atom
from csirt.detect.columns import values
from csirt.detect.columns.intervals import Intervals

NETWORKS = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda x: ipaddress.ip_network(x, strict=False)),
    st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(lambda x: ipaddress.ip_network(x, strict=False)),
    st.sampled_from(["0.0.0.0/0", "::/0", "::ffff:0:0/96", "10.0.0.0/8", "255.255.255.255/32"]).map(
        ipaddress.ip_network
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(NETWORKS, min_size=1, max_size=8), st.lists(st.integers(0, 2**32 - 1), max_size=4))
def test_one_search_says_what_every_range_says(networks: list[ipaddress.IPv4Network], more: list[int]) -> None:
    """Nested, equal, touching and whole ranges of both families, at their edges and beside them."""
    atoms = [Atom("f", "cidr", values.network(str(network))) for network in networks]
    addresses: list[tuple[int, int]] = [(4, number) for number in more] + [(0, 0)]
    for network in networks:
        first, last = int(network.network_address), int(network.broadcast_address)
        for number in (first - 1, first, last, last + 1):
            if 0 <= number < 1 << network.max_prefixlen:
                addresses.append((network.version, number))
    family = np.array([item for item, _ in addresses], np.uint8)
    high = np.array([number >> 64 for _, number in addresses], np.uint64)
    low = np.array([number & (2**64 - 1) for _, number in addresses], np.uint64)
    found = Intervals(atoms).hits(family, high, low)
    for atom in atoms:
        expected = np.flatnonzero(values.within(family, high, low, atom.argument)).tolist()
        assert found.get(atom, np.array([])).tolist() == expected
