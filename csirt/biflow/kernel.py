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

from csirt.biflow.layout import (
    ANSWERS,
    DESTINATION,
    ENGAGED,
    GRID,
    HIDDEN,
    KNOWABLE,
    MANY,
    NEVER,
    OPENS,
    OWN,
    REACH,
    SHOWN,
    SOURCE,
    TIMED,
    UNSURE,
    Limits,
)
from csirt.biflow.lives import alive, bound
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel


@inlined
def _remember(flows: Array, flow: int, rows: Array, row: int) -> None:
    """It is the last record that counts."""
    flows[flow].record_segment = rows[row].segment
    flows[flow].record_ordinal = rows[row].ordinal
    flows[flow].record_begin = rows[row].begin
    flows[flow].record_end = rows[row].due


@inlined
def _start(flows: Array, flow: int, rows: Array, first: int, best: int) -> None:
    """A new flow whose first record in sight is `first` and whose records count as `best` does."""
    flows[flow].authority = rows[best].point
    flows[flow].begin = rows[best].begin
    flows[flow].since = rows[best].begin - rows[best].slow
    flows[flow].last = rows[first].due
    flows[flow].span = rows[first].due - rows[first].begin
    flows[flow].cover = rows[first].due
    flows[flow].period = rows[first].due - rows[first].begin
    flows[flow].open_bytes = 0
    flows[flow].open_packets = 0
    flows[flow].claimed = NEVER
    flows[flow].evidence = 0
    _remember(flows, flow, rows, best)


@inlined
def _look(rows: Array, row: int, sight: int, touch: int) -> tuple[int, int, int, int, int]:
    """What is in sight of a row's direction, and of the other: the record to count by, the other's first and the one to
    count by there (-1: none), what they show of an answer, and until when records were looked at."""
    best, back, back_best, evidence, steps = row, -1, -1, 0, 0
    near = rows[row].behind
    while near >= 0 and rows[near].due <= sight:
        steps += 1
        if steps > REACH:
            return best, back, back_best, evidence, rows[near].due - 1
        if rows[near].way == rows[row].way:
            if rows[near].begin <= rows[row].due + touch and rows[near].rank < rows[best].rank:
                best = near
        else:
            if back < 0:
                back = near
            if back_best < 0 or rows[near].rank < rows[back_best].rank:
                back_best = near
            evidence |= rows[near].bits & ANSWERS
        near = rows[near].behind
    return best, back, back_best, evidence, sight


@inlined
def _covered(rows: Array, row: int, reach: int, flows: Array, flow: int, touch: int) -> tuple[bool, int]:
    """Whether the point that counts is alive, to a record of another; and of its records in sight the one that covers
    this best, -1 when the last one known does."""
    common = min(rows[row].due, flows[flow].record_end) - max(rows[row].begin, flows[flow].record_begin)
    covering, sighted = -1, False
    near = rows[row].behind
    while near >= 0 and rows[near].due <= reach:
        if (
            rows[near].way == rows[row].way
            and rows[near].point == flows[flow].authority
            and rows[near].begin <= rows[row].due + touch
        ):
            sighted = True
            overlap = rows[row].due - max(rows[row].begin, rows[near].begin)
            if overlap > common:
                common, covering = overlap, near
        near = rows[near].behind
    lately = rows[row].due <= flows[flow].cover + flows[flow].period + touch
    return sighted or lately or rows[row].begin + touch < flows[flow].cover, covering


@inlined
def _duplicate(marks: Array, row: int, rows: Array, covering: int, flows: Array, flow: int) -> None:
    """The record is the same packets as the one that covers it."""
    marks[row].duplicate = True
    if covering >= 0:
        marks[row].segment = rows[covering].segment
        marks[row].ordinal = rows[covering].ordinal
    else:
        marks[row].segment = flows[flow].record_segment
        marks[row].ordinal = flows[flow].record_ordinal


@inlined
def _give(marks: Array, row: int, rows: Array, reach: int, flows: Array, other: int) -> None:
    """The record gets what the other direction sent since it was last given away, up to what is in sight."""
    near = rows[row].behind
    while near >= 0 and rows[near].due <= reach:
        if (
            rows[near].way != rows[row].way
            and rows[near].point == flows[other].authority
            and rows[near].due > flows[other].claimed
            and not rows[near].bits & OWN
        ):
            marks[row].bytes += rows[near].bytes
            marks[row].packets += rows[near].packets
        near = rows[near].behind
    flows[other].claimed = max(flows[other].claimed, reach)
    marks[row].paired = True


@inlined
def _answered(marks: Array, row: int, bits: int, evidence: int, seen: bool, sees: Array, where: int) -> None:
    """Whether it was answered, as far as its observation point can know."""
    own = bits & OWN
    if bits & ENGAGED and bits & TIMED and not own:
        sees[where, SHOWN if seen else HIDDEN] += 1
        if sees[where, SHOWN] + sees[where, HIDDEN] >= MANY:
            sees[where, SHOWN] >>= 1
            sees[where, HIDDEN] >>= 1
    if evidence or bits & ENGAGED:
        marks[row].answered = 1
    elif seen or own or (bits & KNOWABLE and sees[where, SHOWN] >= sees[where, HIDDEN]):
        marks[row].answered = 0


@inlined
def _who(rows: Array, row: int, seen: bool, opener: int, mine: int, other: int, same: bool) -> int:
    """Who opened the flow, seen from the record. `opener`: what is known of the pair. `mine`, `other`: when each
    direction began; `same`: by one router's clock."""
    ports = rows[row].ports
    if rows[row].fixed != 0:
        return int(rows[row].fixed)
    if rows[row].bits & OPENS:
        return SOURCE
    if seen and opener:
        return SOURCE if opener == 1 + rows[row].way else DESTINATION
    if not seen:
        return DESTINATION if ports == -2 else SOURCE
    if rows[row].bits & TIMED:
        unsure = 0 if same else UNSURE
        if mine + unsure < other:
            return SOURCE
        if other + unsure < mine:
            return DESTINATION
    if ports != 0:
        return SOURCE if ports > 0 else DESTINATION
    return SOURCE if mine <= other else DESTINATION


@inlined
def _decide(row: int, rows: Array, flows: Array, opener: Array, sees: Array, limits: Limits, marks: Array) -> None:
    """Decide one record."""
    pair = rows[row].pair
    flow = 2 * pair + rows[row].way
    other = flow ^ 1
    begin, due, bits = rows[row].begin, rows[row].due, rows[row].bits
    best, back, back_best, evidence, reach = _look(rows, row, due + limits.ahead, limits.touch)

    # The flow this record belongs to, and whether it counts.
    continues = alive(flows, flow, begin, due, limits)
    if not continues:
        _start(flows, flow, rows, row, best)
    counts = flows[flow].authority == rows[row].point
    if not counts:
        living, covering = _covered(rows, row, reach, flows, flow, limits.touch)
        if living:
            _duplicate(marks, row, rows, covering, flows, flow)
        else:
            flows[flow].authority = rows[row].point
            flows[flow].since = flows[flow].begin - rows[row].slow
            flows[flow].period = 0
            counts = True
    flows[flow].last = max(flows[flow].last, due)
    flows[flow].span = max(flows[flow].span, due - begin)
    flows[flow].evidence |= bits & ANSWERS
    back_known = alive(flows, other, begin, due, limits)
    if not continues and not back_known:
        opener[pair] = 0
    if not counts:
        return
    flows[flow].cover = max(flows[flow].cover, due)
    flows[flow].period = max(flows[flow].period, due - begin)
    _remember(flows, flow, rows, row)
    if flows[flow].since < begin - rows[row].slow:
        marks[row].begin = flows[flow].since

    # The other direction.
    seen = back_known or back >= 0
    own = bits & OWN
    if not own and due > flows[flow].claimed:
        flows[flow].open_bytes += rows[row].bytes
        flows[flow].open_packets += rows[row].packets
    if seen and not own:
        if back_known:
            marks[row].bytes = flows[other].open_bytes
            marks[row].packets = flows[other].open_packets
            flows[other].open_bytes = 0
            flows[other].open_packets = 0
        else:
            _start(flows, other, rows, back, back_best)
        _give(marks, row, rows, reach, flows, other)
    if back_known:
        evidence |= flows[other].evidence
    _answered(marks, row, bits, evidence, seen, sees, rows[row].place)

    same = seen and not own and flows[flow].authority == flows[other].authority
    mine = flows[flow].since if same else flows[flow].begin
    theirs = flows[other].since if same else flows[other].begin
    who = _who(rows, row, seen, opener[pair], mine, theirs, same)
    marks[row].opener = who
    if seen and opener[pair] == 0:
        opener[pair] = 1 + rows[row].way if who == SOURCE else 2 - rows[row].way


@kernel
def decide(
    order: Array,
    rows: Array,
    flows: Array,
    opener: Array,
    pairs: int,
    sees: Array,
    tick: int,
    limits: Limits,
    marks: Array,
) -> tuple[int, int]:
    """Decide the records in `order`; those behind them are only looked at. `pairs`: how many pairs of ends have flows.
    `sees`: SHOWN and HIDDEN of each observation point. Returns the last tick and how many pairs the bound cost."""
    lost = 0
    live = 0  # pairs that may be open: never less than are
    for pair in range(pairs):
        if flows[2 * pair].last != NEVER or flows[2 * pair + 1].last != NEVER:
            live += 1
    for row in order:
        now = rows[row].due // GRID
        if now != tick:
            tick = now
            if live > limits.pairs:
                cost, live = bound(flows, opener, pairs, now * GRID, limits)
                lost += cost
        pair = rows[row].pair
        if flows[2 * pair].last == NEVER and flows[2 * pair + 1].last == NEVER:
            live += 1
        _decide(row, rows, flows, opener, sees, limits, marks)
    return tick, lost
