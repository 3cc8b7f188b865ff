"""How long flows live, compiled: which are open at a time, and which are closed where there are too many."""

from __future__ import annotations

import numpy as np

from csirt.biflow.layout import FLOW, KEY, NEVER, Limits
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

NO_FLOW = np.zeros(1, FLOW)
NO_FLOW["last"] = NEVER


@inlined
def _pause(flows: Array, flow: int, limits: Limits) -> int:
    return min(limits.gap, max(int(flows[flow].span), limits.touch))


@inlined
def expires(flows: Array, flow: int, limits: Limits) -> int:
    """After this no record belongs to the flow any more."""
    return int(flows[flow].last) + _pause(flows, flow, limits) + 2 * int(flows[flow].span) + limits.touch


@inlined
def alive(flows: Array, flow: int, begin: int, due: int, limits: Limits) -> bool:
    """Whether a record belongs to what is known of the flow."""
    if flows[flow].last == NEVER:
        return False
    return begin <= flows[flow].last + _pause(flows, flow, limits) and due <= expires(flows, flow, limits)


@kernel
def blank(flows: Array, opener: Array, known: int) -> None:
    """No flows of pairs of ends from the `known`-th on; what their other words hold nobody reads."""
    for pair in range(known, len(opener)):
        opener[pair] = 0
        flows[2 * pair].last = NEVER
        flows[2 * pair + 1].last = NEVER


@kernel
def bound(flows: Array, opener: Array, pairs: int, now: int, limits: Limits) -> tuple[int, int]:
    """Close what is over at `now`, and the flows unused longest where more pairs of ends are open than may be; how many
    pairs that cost, and how many are open."""
    latest = np.empty(pairs, np.int64)
    count = 0
    for pair in range(pairs):
        last = NEVER
        for flow in (2 * pair, 2 * pair + 1):
            if flows[flow].last != NEVER and expires(flows, flow, limits) < now:
                flows[flow].last = NEVER
            last = max(last, flows[flow].last)
        if last == NEVER:
            opener[pair] = 0
        else:
            latest[count] = last
            count += 1
    if count <= limits.pairs:
        return 0, count
    stale = np.partition(latest[:count], count - limits.pairs - 1)[count - limits.pairs - 1]
    lost = 0
    for pair in range(pairs):
        last = max(flows[2 * pair].last, flows[2 * pair + 1].last)
        if last != NEVER and last <= stale:
            flows[2 * pair].last = NEVER
            flows[2 * pair + 1].last = NEVER
            opener[pair] = 0
            lost += 1
    return lost, count - lost


@kernel
def keep(key: Array, opener: Array, flows: Array, pairs: int, now: int, limits: Limits) -> int:
    """Move the pairs of ends that a record due after `now` may still belong to before all others; how many."""
    count = 0
    for pair in range(pairs):
        open_ = False
        for flow in (2 * pair, 2 * pair + 1):
            if flows[flow].last != NEVER and expires(flows, flow, limits) >= now:
                open_ = True
        if not open_:
            continue
        for way in range(2):
            known = flows[2 * pair + way].last != NEVER
            flows[2 * count + way] = flows[2 * pair + way] if known else NO_FLOW[0]
        for word in range(KEY):
            key[count, word] = key[pair, word]
        opener[count] = opener[pair]
        count += 1
    return count
