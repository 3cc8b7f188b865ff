"""The compiled loops of enrichment, over whole columns. Imported only where batches are enriched."""

from __future__ import annotations

import numpy as np

from csirt.model.batch import Array
from csirt.model.jit import kernel


def fixed(array: Array) -> Array:
    """A read-only view. Columns come read-only from one Arrow buffer and writable from several; numba would compile a
    loop again for every mixture."""
    view = array.view()
    view.flags.writeable = False
    return view


@kernel
def lookup(
    family: Array, high: Array, low: Array, trie: Array, high6: Array, low6: Array, values6: Array, out: Array
) -> None:
    """Longest-prefix match of each address: `out[i]` is the value of the interval that holds it, 0 for no address.

    IPv4: `trie` (int32), 65,536 entries by the upper half of the address, then blocks of 256 for the third and the
    fourth octet; an entry below 0 is the complement of the position of its block. IPv6: the starts of sorted disjoint
    intervals as (high6, low6). An IPv4-mapped IPv6 address is looked up as IPv4.
    """
    for i in range(family.size):
        kind = family[i]
        if kind == 4 or (kind == 6 and high[i] == 0 and (low[i] >> np.uint64(32)) == np.uint64(0xFFFF)):
            x = low[i] & np.uint64(0xFFFFFFFF)
            value = trie[x >> np.uint64(16)]
            if value < 0:
                value = trie[~value + np.int64((x >> np.uint64(8)) & np.uint64(0xFF))]
                if value < 0:
                    value = trie[~value + np.int64(x & np.uint64(0xFF))]
            out[i] = value
        elif kind == 6:
            h = high[i]
            w = low[i]
            base = 0
            count = high6.size - 1
            while count > 0:
                half = (count + 1) >> 1
                at = base + half
                base += half * ((high6[at] < h) | ((high6[at] == h) & (low6[at] <= w)))
                count -= half
            out[i] = values6[base]
        else:
            out[i] = 0


@kernel
def overlay(
    space: Array,
    family: Array,
    high: Array,
    low: Array,
    begins4: Array,
    starts4: Array,
    values4: Array,
    begins6: Array,
    high6: Array,
    low6: Array,
    values6: Array,
    out: Array,
) -> None:
    """As `lookup`, in the small space of each row (-1 for none): `out[i]` changes only where that space knows the
    address (a value above 1). The intervals of space s are `begins[s]` to `begins[s + 1]` of the joined arrays."""
    for i in range(space.size):
        s = space[i]
        if s < 0 or family[i] == 0:
            continue
        h = high[i]
        w = low[i]
        if family[i] == 4 or (h == 0 and (w >> np.uint64(32)) == np.uint64(0xFFFF)):
            w = w & np.uint64(0xFFFFFFFF)
            base = begins4[s]
            count = begins4[s + 1] - base - 1
            while count > 0:
                half = (count + 1) >> 1
                base += half * (starts4[base + half] <= w)
                count -= half
            value = values4[base]
        else:
            base = begins6[s]
            count = begins6[s + 1] - base - 1
            while count > 0:
                half = (count + 1) >> 1
                at = base + half
                base += half * ((high6[at] < h) | ((high6[at] == h) & (low6[at] <= w)))
                count -= half
            value = values6[base]
        if value > 1:
            out[i] = value


@kernel
def present(classes: Array, total: int) -> Array:
    """Which classes occur, ascending (int64)."""
    seen = np.zeros(total, np.uint8)
    for i in range(classes.size):
        seen[classes[i]] = 1
    return np.flatnonzero(seen)


@kernel
def compact(codes: Array, here: Array, names: int, table: Array) -> Array:
    """Renumber the codes of the classes in `here` without gaps, into `table` (-1 stays); gives the codes in use."""
    seen = np.zeros(names, np.int32)
    for c in here:
        if codes[c] >= 0:
            seen[codes[c]] = 1
    used = np.flatnonzero(seen)
    for new in range(used.size):
        seen[used[new]] = new
    for c in here:
        table[c] = seen[codes[c]] if codes[c] >= 0 else -1
    return used


@kernel
def fill(classes: Array, table: Array, out: Array, bits: Array) -> None:
    """Dictionary indices of several columns at once. Row i of column k gets `table[k, classes[i]]`; -1 means null.

    `out`: int32[k, rows]; `bits`: uint8[k, (rows + 7) // 8], Arrow validity bitmaps (least significant bit first).
    """
    rows = classes.size
    for k in range(table.shape[0]):
        for byte in range(bits.shape[1]):
            mask = 0
            start = byte * 8
            for bit in range(min(8, rows - start)):
                value = table[k, classes[start + bit]]
                if value >= 0:
                    mask |= 1 << bit
                    out[k, start + bit] = value
                else:
                    out[k, start + bit] = 0
            bits[k, byte] = mask


@kernel
def truth(values: Array, data: Array, valid: Array) -> None:
    """int8 values -1 (null), 0, 1 as Arrow's two bitmaps."""
    rows = values.size
    for byte in range(data.size):
        mask = 0
        known = 0
        start = byte * 8
        for bit in range(min(8, rows - start)):
            value = values[start + bit]
            if value >= 0:
                known |= 1 << bit
            if value == 1:
                mask |= 1 << bit
        data[byte] = mask
        valid[byte] = known


@kernel
def cross(source: Array, destination: Array, member: Array, out: Array) -> None:
    """1 when both ends are known and different members, 0 when not, -1 when an end has no address (class 0)."""
    for i in range(source.size):
        a = source[i]
        b = destination[i]
        if a == 0 or b == 0:
            out[i] = -1
        else:
            out[i] = member[a] >= 0 and member[b] >= 0 and member[a] != member[b]


@kernel
def agreements(
    source: Array,
    destination: Array,
    member: Array,
    port: Array,
    protocol: Array,
    time: Array,
    begins: Array,
    entries: Array,
    out: Array,
) -> None:
    """The first agreement (file order) from the source's member to the destination's that allows port and time.

    `entries`: int64[n, 7] of destination member, least and greatest port, protocol (0 any), since, until and code,
    sorted by source and destination; those of source member m are `begins[m]` to `begins[m + 1]`. `protocol` may be
    empty (not known). `out`: the agreement's code, or -1.
    """
    for i in range(source.size):
        out[i] = -1
        a = member[source[i]]
        b = member[destination[i]]
        if a < 0 or b < 0 or a == b:
            continue
        e = begins[a]
        end = begins[a + 1]
        last = end
        while e < last:
            middle = (e + last) >> 1
            if entries[middle, 0] < b:
                e = middle + 1
            else:
                last = middle
        while e < end and entries[e, 0] == b:
            allowed = entries[e, 3]
            if (
                entries[e, 1] <= port[i] <= entries[e, 2]
                and entries[e, 4] <= time[i] < entries[e, 5]
                and (allowed == 0 or protocol.size == 0 or protocol[i] == allowed)
            ):
                out[i] = entries[e, 6]
                break
            e += 1
