"""One pass over raw columns: what each record is known by, and what it says by itself."""

from __future__ import annotations

import numpy as np

from csirt.biflow.layout import ANSWERS, DESTINATION, ENGAGED, KNOWABLE, LONGEST, OPENS, OWN, SOURCE, TIMED
from csirt.model.batch import Array
from csirt.model.jit import kernel

ICMP, TCP, ICMP6 = 1, 6, 58
SYN, RST, ACK = 2, 4, 16
UNASKED = 512  # exchanges from here on are of ICMP types that nobody answers

# Protocols whose receiver always says something, should it be there: TCP, UDP, DCCP, SCTP, UDP-Lite.
ANSWERING = np.zeros(256, np.bool_)
ANSWERING[[TCP, 17, 33, 132, 136]] = True


def _exchanges(pairs: dict[int, int]) -> Array:
    """By ICMP type: twice the type that names its exchange, 1 more where it asks; UNASKED and more for the others."""
    table = 2 * (UNASKED + np.arange(256, dtype=np.int64))
    for asks, answers in pairs.items():
        table[asks], table[answers] = 2 * asks + 1, 2 * asks
    return table


EXCHANGES = _exchanges({8: 0, 13: 14, 15: 16, 17: 18})  # echo, timestamp, information, address mask
EXCHANGES6 = _exchanges({128: 129})


@kernel
def describe(
    s_family: Array,
    s_high: Array,
    s_low: Array,
    s_port: Array,
    s_member: Array,
    d_family: Array,
    d_high: Array,
    d_low: Array,
    d_port: Array,
    d_member: Array,
    protocol: Array,
    flags: Array,
    icmp: Array,
    reverse: Array,
    reversed_: Array,
    octets: Array,
    packets: Array,
    sampled: Array,
    version: Array,
    point: Array,
    segment: Array,
    ordinal: Array,
    time: Array,
    start: Array,
    due: Array,
    answering: Array,
    exchanges: Array,
    exchanges6: Array,
    key: Array,
    records: Array,
) -> None:
    """Fill `key` and the records, but for their rank and what numbers them. `flags`, `icmp`, `reverse` (packets): -1
    where a record has none. `reversed_`: element 239."""
    for row in range(len(time)):
        records[row].due, records[row].slow = due[row], due[row] - time[row]
        records[row].point, records[row].segment, records[row].ordinal = point[row], segment[row], ordinal[row]
        records[row].bytes, records[row].packets = octets[row], packets[row]
        proto = protocol[row]
        exchange, asks = -1, False
        if proto in (ICMP, ICMP6) and icmp[row] >= 0:
            both = exchanges[icmp[row]] if proto == ICMP else exchanges6[icmp[row]]
            exchange, asks = both >> 1, both & 1 == 1
        elif proto in (ICMP, ICMP6):
            exchange = 2 * UNASKED
        source, target = s_port[row], d_port[row]
        if exchange >= 0:
            source, target = 0, 0

        swapped = False
        if s_high[row] != d_high[row]:
            swapped = s_high[row] > d_high[row]
        elif s_low[row] != d_low[row]:
            swapped = s_low[row] > d_low[row]
        else:
            swapped = source > target
        records[row].way = 1 if swapped else 0
        talk = np.uint64(source) << np.uint64(16) | np.uint64(target)
        if swapped:
            key[row, 0], key[row, 1], key[row, 2], key[row, 3] = d_high[row], d_low[row], s_high[row], s_low[row]
            talk = np.uint64(target) << np.uint64(16) | np.uint64(source)
            key[row, 5] = d_member[row] * np.uint64(0x9E3779B97F4A7C15) ^ s_member[row]
        else:
            key[row, 0], key[row, 1], key[row, 2], key[row, 3] = s_high[row], s_low[row], d_high[row], d_low[row]
            key[row, 5] = s_member[row] * np.uint64(0x9E3779B97F4A7C15) ^ d_member[row]
        if exchange >= 0:
            # Requests one way and replies the other are an exchange; requests from both ends are two.
            talk = np.uint64(exchange) << np.uint64(1) | np.uint64(asks != swapped)
        metered = version[row] == 0  # flows metered from packets keep to themselves
        key[row, 4] = (
            talk
            | np.uint64(proto) << np.uint64(40)
            | np.uint64(s_family[row]) << np.uint64(48)
            | np.uint64(metered) << np.uint64(56)
        )

        records[row].begin = due[row] - min(max(time[row] - start[row], 0), LONGEST)
        known = flags[row] >= 0 and proto == TCP
        own = reverse[row] >= 0
        says = 0
        if not (known and flags[row] & RST and not flags[row] & ~(RST | ACK)):
            says |= ANSWERS
        if sampled[row] <= 1:
            says |= TIMED
            group = d_high[row] >> np.uint64(56) == np.uint64(0xFF)
            if d_family[row] == 4:
                group = d_low[row] >> np.uint64(28) == np.uint64(0xE) or d_low[row] == np.uint64(0xFFFFFFFF)
            if not group and (asks or (exchange < 0 and answering[proto])):
                says |= KNOWABLE
        if own:
            says |= OWN
            if reverse[row] > 0:
                says |= ENGAGED
        elif known and flags[row] & SYN and flags[row] & ACK and packets[row] >= 2:
            says |= ENGAGED
        if known and flags[row] & SYN and not flags[row] & ACK:
            says |= OPENS
        records[row].bits = says

        records[row].fixed = 0
        if own:
            records[row].fixed = DESTINATION if reversed_[row] == 2 else SOURCE
        elif 0 <= exchange < UNASKED:
            records[row].fixed = SOURCE if asks else DESTINATION
        records[row].ports = 0
        if answering[proto] and source != target:
            records[row].ports = 1 if source > target else -1
            if min(source, target) < 1024 <= max(source, target):
                records[row].ports *= 2
