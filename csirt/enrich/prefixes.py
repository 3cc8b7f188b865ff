"""Longest-prefix match over whole columns: sorted disjoint intervals, one table per address space.

A space is a VRF, or one interface of one exporter. Tables are built once per register; a look-up of one address needs
only bisection, and a column goes through the compiled loop in `kernels.py`.
"""

from __future__ import annotations

import bisect
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from csirt.model.batch import Array

NONE = 0  # the value of "no address"
OUTSIDE = 1  # the value of an address in no prefix

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass
class Table:
    """Intervals of one space: first addresses, ascending from 0, and the value up to the next one. Not changed after it
    is made."""

    starts4: list[int]
    values4: list[int]
    starts6: list[int]
    values6: list[int]

    def find(self, family: int, high: int, low: int) -> int:
        """The value of one address; an IPv4-mapped IPv6 address is an IPv4 address."""
        if family == 6 and not (high == 0 and low >> 32 == 0xFFFF):
            return self.values6[bisect.bisect_right(self.starts6, high << 64 | low) - 1]
        return self.values4[bisect.bisect_right(self.starts4, low & 0xFFFF_FFFF) - 1]

    def lookup(self, family: Array, high: Array, low: Array) -> Array:
        """The values (int32) of a column: family uint8 (0 for none), high and low uint64."""
        import numpy as np

        from csirt.enrich.kernels import fixed, lookup

        out = np.empty(family.size, np.int32)
        high6, low6, values6 = self.arrays6
        lookup(fixed(family), fixed(high), fixed(low), self.trie, high6, low6, values6, out)
        return out

    @cached_property
    def trie(self) -> Array:
        """The IPv4 intervals as `kernels.lookup` takes them; made when a column is first looked up."""
        from csirt.enrich.intervals import trie

        return trie(self.starts4, self.values4)

    @cached_property
    def arrays6(self) -> tuple[Array, Array, Array]:
        """The IPv6 intervals: upper and lower halves (uint64) of the starts, and the values (int32)."""
        import numpy as np

        from csirt.enrich.intervals import halves

        return (*halves(self.starts6), np.array(self.values6, np.int32))


def build(entries: Iterable[tuple[Network, int]]) -> Table:
    """A table of (network, value). Of equal networks the last one counts; the longest prefix wins elsewhere."""
    found: dict[int, dict[tuple[int, int], int]] = {4: {}, 6: {}}
    for network, value in entries:
        found[network.version][int(network.network_address), network.prefixlen] = value
    return Table(*_flatten(found[4], 32), *_flatten(found[6], 128))


def _flatten(networks: dict[tuple[int, int], int], width: int) -> tuple[list[int], list[int]]:
    """Nested prefixes as disjoint intervals: the first address and the value of each, the first one at 0."""
    starts, values = [0], [OUTSIDE]

    def emit(start: int, value: int) -> None:
        if starts[-1] == start:
            values[-1] = value
        elif values[-1] != value:
            starts.append(start)
            values.append(value)

    stack: list[tuple[int, int]] = []  # last address and value of the prefixes that are open

    def close(before: int) -> None:
        while stack and stack[-1][0] < before:
            last, _ = stack.pop()
            if last + 1 < 1 << width:
                emit(last + 1, stack[-1][1] if stack else OUTSIDE)

    for (first, length), value in sorted(networks.items()):
        close(first)
        emit(first, value)
        stack.append((first + (1 << (width - length)) - 1, value))
    close(1 << width)
    return starts, values
