"""The rules of pairing, compiled. `tests/biflow/plain.py` says the same in plain Python.

Records are decided one by one in the order they are due. A decision sees the flows that the records before it made,
and the records that are due at most `ahead` later: so where a step ends, how rows were batched and when the program was
restarted change nothing.

- A flow is what one end sends another. A record belongs to the open one when it begins within a pause of its end: as
  long as its longest record (what was cut by an active timeout was as long as that), at least `touch`, at most `gap`.
- Its first record chooses the observation point that counts: the preferred of those whose record of it is in sight.
- A record of another point is a duplicate while the one that counts is alive: a record of it is in sight, or ended no
  longer ago than it is used to report. After that the flow is another router's, and its records count.
- That nothing came back is only said where answers are seen: of the records of an observation point whose own TCP flags
  show that they were answered, the answers to at least as many were seen as not.
- What a record that counts is given of its other direction: what that sent since it was last given away. Each byte is
  given to one record.
"""

from __future__ import annotations

import numpy as np

from csirt.biflow.layout import (
    ANSWERS,
    AUTHORITY,
    BEGIN,
    CLAIMED,
    COVER,
    DESTINATION,
    ENGAGED,
    EVIDENCE,
    FLOW,
    GRID,
    HIDDEN,
    KEY,
    KNOWABLE,
    LAST,
    MANY,
    NEVER,
    OPEN_BYTES,
    OPEN_PACKETS,
    OPENS,
    OWN,
    PERIOD,
    REACH,
    RECORD_BEGIN,
    RECORD_END,
    RECORD_ORDINAL,
    RECORD_SEGMENT,
    SHOWN,
    SINCE,
    SOURCE,
    SPAN,
    TIMED,
    UNSURE,
)
from csirt.model.batch import Array
from csirt.model.jit import kernel


@kernel
def _mixed(key: Array, row: int, seed: np.uint64) -> np.uint64:
    value = seed
    for word in range(KEY):
        value = (value ^ key[row, word]) * np.uint64(0xFF51AFD7ED558CCD)
        value ^= value >> np.uint64(33)
        value *= np.uint64(0xC4CEB9FE1A85EC53)
        value ^= value >> np.uint64(29)
    return value


@kernel
def number(known: Array, count: int, key: Array, order: Array, seed: np.uint64, slots: Array, out: Array) -> int:
    """Number the pairs of ends of the rows in `order`: `out[i]` is where `key[i]` is in `known` (the first `count` are
    there; room for all), to which new ones are added. `slots` (int32, a power of two) is the hash table. Returns how
    many there are."""
    slots[:] = -1
    mask = np.uint64(len(slots) - 1)
    for row in range(count):
        place = _mixed(known, row, seed) & mask
        while slots[place] >= 0:
            place = (place + np.uint64(1)) & mask
        slots[place] = row
    for row in order:
        place = _mixed(key, row, seed) & mask
        while True:
            found = slots[place]
            if found < 0:
                for word in range(KEY):
                    known[count, word] = key[row, word]
                slots[place] = count
                found = count
                count += 1
                break
            same = True
            for word in range(KEY):
                if known[found, word] != key[row, word]:
                    same = False
                    break
            if same:
                break
            place = (place + np.uint64(1)) & mask
        out[row] = found
    return count


@kernel
def chain(pair: Array, order: Array, last: Array, out: Array) -> None:
    """The next record of the same two ends behind each record, or -1. `last`: room for a number per pair of ends."""
    last[:] = -1
    for index in range(len(order) - 1, -1, -1):
        row = order[index]
        out[row] = last[pair[row]]
        last[pair[row]] = row


@kernel
def _pause(flows: Array, flow: int, touch: int, gap: int) -> int:
    return min(gap, max(int(flows[flow, SPAN]), touch))


@kernel
def _expires(flows: Array, flow: int, touch: int, gap: int) -> int:
    """After this no record belongs to the flow any more."""
    return int(flows[flow, LAST]) + _pause(flows, flow, touch, gap) + 2 * int(flows[flow, SPAN]) + touch


@kernel
def _alive(flows: Array, flow: int, begin: int, due: int, touch: int, gap: int) -> bool:
    """Whether a record belongs to what is known of the flow."""
    if flows[flow, LAST] == NEVER:
        return False
    return begin <= flows[flow, LAST] + _pause(flows, flow, touch, gap) and due <= _expires(flows, flow, touch, gap)


@kernel
def _remember(flows: Array, flow: int, row: int, segment: Array, ordinal: Array, begin: Array, due: Array) -> None:
    flows[flow, RECORD_SEGMENT] = np.int64(segment[row])
    flows[flow, RECORD_ORDINAL] = np.int64(ordinal[row])
    flows[flow, RECORD_BEGIN] = begin[row]
    flows[flow, RECORD_END] = due[row]


@kernel
def _start(
    flows: Array,
    flow: int,
    best: int,
    first: int,
    point: Array,
    segment: Array,
    ordinal: Array,
    begin: Array,
    due: Array,
    slow: Array,
) -> None:
    """A new flow whose first record in sight is `first` and whose records count as `best` does."""
    flows[flow, AUTHORITY] = np.int64(point[best])
    flows[flow, BEGIN] = begin[best]
    flows[flow, SINCE] = begin[best] - slow[best]
    flows[flow, LAST] = due[first]
    flows[flow, SPAN] = due[first] - begin[first]
    flows[flow, COVER] = due[first]
    flows[flow, PERIOD] = due[first] - begin[first]
    flows[flow, OPEN_BYTES] = 0
    flows[flow, OPEN_PACKETS] = 0
    flows[flow, CLAIMED] = NEVER
    flows[flow, EVIDENCE] = 0
    _remember(flows, flow, best, segment, ordinal, begin, due)


@kernel
def _bound(flows: Array, opener: Array, pairs: int, most: int, now: int, touch: int, gap: int) -> tuple[int, int]:
    """Close what is over at `now`, and the flows unused longest where more than `most` pairs of ends are open; how many
    pairs that cost, and how many are open."""
    latest = np.empty(pairs, np.int64)
    count = 0
    for pair in range(pairs):
        last = NEVER
        for flow in (2 * pair, 2 * pair + 1):
            if flows[flow, LAST] != NEVER and _expires(flows, flow, touch, gap) < now:
                flows[flow, LAST] = NEVER
            last = max(last, flows[flow, LAST])
        if last == NEVER:
            opener[pair] = 0
        else:
            latest[count] = last
            count += 1
    if count <= most:
        return 0, count
    stale = np.partition(latest[:count], count - most - 1)[count - most - 1]
    lost = 0
    for pair in range(pairs):
        last = max(flows[2 * pair, LAST], flows[2 * pair + 1, LAST])
        if last != NEVER and last <= stale:
            flows[2 * pair, LAST] = NEVER
            flows[2 * pair + 1, LAST] = NEVER
            opener[pair] = 0
            lost += 1
    return lost, count - lost


@kernel
def _who(
    row: int,
    bits: Array,
    fixed: Array,
    ports: Array,
    seen: bool,
    opener: int,
    way: int,
    mine: int,
    other: int,
    same: bool,
) -> int:
    """Who opened the flow, seen from the record. `opener`: what is known of the pair. `mine`, `other`: when each
    direction began; `same`: by one router's clock."""
    if fixed[row] != 0:
        return int(fixed[row])
    if bits[row] & OPENS:
        return SOURCE
    if seen and opener:
        return SOURCE if opener == 1 + way else DESTINATION
    if not seen:
        return DESTINATION if ports[row] == -2 else SOURCE
    if bits[row] & TIMED:
        unsure = 0 if same else UNSURE
        if mine + unsure < other:
            return SOURCE
        if other + unsure < mine:
            return DESTINATION
    if ports[row] != 0:
        return SOURCE if ports[row] > 0 else DESTINATION
    return SOURCE if mine <= other else DESTINATION


@kernel
def blank(flows: Array, opener: Array, known: int) -> None:
    """No flows of pairs of ends from the `known`-th on; what their other words hold nobody reads."""
    for pair in range(known, len(opener)):
        opener[pair] = 0
        flows[2 * pair, LAST] = NEVER
        flows[2 * pair + 1, LAST] = NEVER


@kernel
def decide(
    order: Array,
    pair: Array,
    behind: Array,
    way: Array,
    due: Array,
    begin: Array,
    slow: Array,
    point: Array,
    rank: Array,
    segment: Array,
    ordinal: Array,
    octets: Array,
    packets: Array,
    bits: Array,
    fixed: Array,
    ports: Array,
    flows: Array,
    opener: Array,
    pairs: int,
    tick: int,
    place: Array,
    sees: Array,
    limits: Array,
    m_duplicate: Array,
    m_segment: Array,
    m_ordinal: Array,
    m_begin: Array,
    m_paired: Array,
    m_bytes: Array,
    m_packets: Array,
    m_answered: Array,
    m_opener: Array,
) -> tuple[int, int]:
    """Decide the records in `order`; those behind them are only looked at. Returns the last tick and how many pairs of
    ends the bound cost. `place`: of each record's observation point in `sees`, its SHOWN and HIDDEN. `limits`: ahead,
    touch, gap, pairs."""
    ahead, touch, gap, most = limits[0], limits[1], limits[2], limits[3]
    lost = 0
    live = 0  # pairs that may be open: never less than are
    for number_ in range(pairs):
        if flows[2 * number_, LAST] != NEVER or flows[2 * number_ + 1, LAST] != NEVER:
            live += 1
    for row in order:
        now = due[row] // GRID
        if now != tick:
            tick = now
            if live > most:
                cost, live = _bound(flows, opener, pairs, most, now * GRID, touch, gap)
                lost += cost
        flow = 2 * pair[row] + way[row]
        other = flow ^ 1
        if flows[flow, LAST] == NEVER and flows[other, LAST] == NEVER:
            live += 1
        sight = due[row] + ahead

        # What is in sight of this direction and of the other.
        best, back, back_best, evidence = row, -1, -1, 0
        reach = sight
        steps = 0
        near = behind[row]
        while near >= 0 and due[near] <= sight:
            steps += 1
            if steps > REACH:
                reach = due[near] - 1
                break
            if way[near] == way[row]:
                if begin[near] <= due[row] + touch and rank[near] < rank[best]:
                    best = near
            else:
                if back < 0:
                    back = near
                if back_best < 0 or rank[near] < rank[back_best]:
                    back_best = near
                evidence |= bits[near] & ANSWERS
            near = behind[near]

        # The flow this record belongs to, and whether it counts.
        known = _alive(flows, flow, begin[row], due[row], touch, gap)
        if not known:
            _start(flows, flow, best, row, point, segment, ordinal, begin, due, slow)
        counts = flows[flow, AUTHORITY] == np.int64(point[row])
        if not counts:
            # Of the last record that counts and those in sight, the one that covers it best.
            common = min(due[row], flows[flow, RECORD_END]) - max(begin[row], flows[flow, RECORD_BEGIN])
            covering, sighted = -1, False
            near = behind[row]
            while near >= 0 and due[near] <= reach:
                if (
                    way[near] == way[row]
                    and np.int64(point[near]) == flows[flow, AUTHORITY]
                    and begin[near] <= due[row] + touch
                ):
                    sighted = True
                    overlap = due[row] - max(begin[row], begin[near])
                    if overlap > common:
                        common, covering = overlap, near
                near = behind[near]
            living = (
                sighted
                or due[row] <= flows[flow, COVER] + flows[flow, PERIOD] + touch
                or begin[row] + touch < flows[flow, COVER]
            )
            if living:
                m_duplicate[row] = True
                if covering >= 0:
                    m_segment[row] = segment[covering]
                    m_ordinal[row] = ordinal[covering]
                else:
                    m_segment[row] = np.uint64(flows[flow, RECORD_SEGMENT])
                    m_ordinal[row] = np.uint64(flows[flow, RECORD_ORDINAL])
            else:
                flows[flow, AUTHORITY] = np.int64(point[row])
                flows[flow, SINCE] = flows[flow, BEGIN] - slow[row]
                flows[flow, PERIOD] = 0
                counts = True
        length = due[row] - begin[row]
        flows[flow, LAST] = max(flows[flow, LAST], due[row])
        flows[flow, SPAN] = max(flows[flow, SPAN], length)
        flows[flow, EVIDENCE] |= bits[row] & ANSWERS
        back_known = _alive(flows, other, begin[row], due[row], touch, gap)
        if not known and not back_known:
            opener[pair[row]] = 0
        if not counts:
            continue
        flows[flow, COVER] = max(flows[flow, COVER], due[row])
        flows[flow, PERIOD] = max(flows[flow, PERIOD], length)
        _remember(flows, flow, row, segment, ordinal, begin, due)
        if flows[flow, SINCE] < begin[row] - slow[row]:
            m_begin[row] = flows[flow, SINCE]

        # The other direction.
        seen = back_known or back >= 0
        own = bits[row] & OWN
        if not own and due[row] > flows[flow, CLAIMED]:
            flows[flow, OPEN_BYTES] += np.int64(octets[row])
            flows[flow, OPEN_PACKETS] += np.int64(packets[row])
        if seen and not own:
            if back_known:
                m_bytes[row] = np.uint64(flows[other, OPEN_BYTES])
                m_packets[row] = np.uint64(flows[other, OPEN_PACKETS])
                flows[other, OPEN_BYTES] = 0
                flows[other, OPEN_PACKETS] = 0
            else:
                _start(flows, other, back_best, back, point, segment, ordinal, begin, due, slow)
            near = behind[row]
            while near >= 0 and due[near] <= reach:
                if (
                    way[near] != way[row]
                    and np.int64(point[near]) == flows[other, AUTHORITY]
                    and due[near] > flows[other, CLAIMED]
                    and not bits[near] & OWN
                ):
                    m_bytes[row] += octets[near]
                    m_packets[row] += packets[near]
                near = behind[near]
            flows[other, CLAIMED] = max(flows[other, CLAIMED], reach)
            m_paired[row] = True

        if back_known:
            evidence |= flows[other, EVIDENCE]
        where = place[row]
        if bits[row] & ENGAGED and bits[row] & TIMED and not own:
            sees[where, SHOWN if seen else HIDDEN] += 1
            if sees[where, SHOWN] + sees[where, HIDDEN] >= MANY:
                sees[where, SHOWN] >>= 1
                sees[where, HIDDEN] >>= 1
        if evidence or bits[row] & ENGAGED:
            m_answered[row] = 1
        elif seen or own or (bits[row] & KNOWABLE and sees[where, SHOWN] >= sees[where, HIDDEN]):
            m_answered[row] = 0
        same = seen and not own and flows[flow, AUTHORITY] == flows[other, AUTHORITY]
        when = SINCE if same else BEGIN
        mine, theirs = flows[flow, when], flows[other, when]
        who = _who(row, bits, fixed, ports, seen, opener[pair[row]], way[row], mine, theirs, same)
        m_opener[row] = who
        if seen and opener[pair[row]] == 0:
            opener[pair[row]] = 1 + way[row] if who == SOURCE else 2 - way[row]
    return tick, lost


@kernel
def keep(key: Array, opener: Array, flows: Array, pairs: int, now: int, touch: int, gap: int) -> int:
    """Move the pairs of ends that a record due after `now` may still belong to before all others; how many."""
    count = 0
    for pair in range(pairs):
        alive = False
        for flow in (2 * pair, 2 * pair + 1):
            if flows[flow, LAST] != NEVER and _expires(flows, flow, touch, gap) >= now:
                alive = True
        if not alive:
            continue
        for way in range(2):
            known = flows[2 * pair + way, LAST] != NEVER
            for word in range(FLOW):
                flows[2 * count + way, word] = flows[2 * pair + way, word] if known else 0
            if not known:
                flows[2 * count + way, LAST] = NEVER
        for word in range(KEY):
            key[count, word] = key[pair, word]
        opener[count] = opener[pair]
        count += 1
    return count
