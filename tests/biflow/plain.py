"""The rules of pairing in plain Python: dictionaries and lists, one record at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from csirt.biflow import layout as at
from csirt.biflow.layout import Limits


@dataclass(frozen=True)
class Record:
    """One record as pairing sees it; `ends` are (address, port) of source and destination."""

    id: int
    source: str
    target: str
    due: int
    begin: int
    slow: int
    point: int
    rank: int
    bytes: int
    packets: int
    bits: int
    fixed: int
    ports: int

    @property
    def length(self) -> int:
        return self.due - self.begin


@dataclass
class Flow:
    """What one end sends another, as far as it is known."""

    authority: int
    begin: int
    since: int
    last: int
    span: int
    cover: int
    period: int
    record: Record
    open_bytes: int = 0
    open_packets: int = 0
    claimed: int = at.NEVER
    evidence: bool = False

    def pause(self, limits: Limits) -> int:
        return min(limits.gap, max(self.span, limits.touch))

    def expires(self, limits: Limits) -> int:
        return self.last + self.pause(limits) + 2 * self.span + limits.touch

    def alive(self, record: Record, limits: Limits) -> bool:
        return record.begin <= self.last + self.pause(limits) and record.due <= self.expires(limits)


@dataclass
class Mark:
    """What is said of a record."""

    duplicate_of: int | None = None
    begin: int | None = None
    reverse: tuple[int, int] | None = None
    answered: bool | None = None
    opener: int = at.UNKNOWN


@dataclass
class World:
    """Everything between records."""

    limits: Limits
    flows: dict[tuple[str, str], Flow] = field(default_factory=dict)
    opener: dict[frozenset[str], str] = field(default_factory=dict)
    sight: dict[int, list[int]] = field(default_factory=dict)  # by observation point: answers seen, and not
    tick: int = at.NEVER
    lost: int = 0


def started(best: Record, first: Record) -> Flow:
    return Flow(best.point, best.begin, best.begin - best.slow, first.due, first.length, first.due, first.length, best)


def bound(world: World, now: int) -> None:
    """Close what is over, then, above the bound, the pairs of ends unused longest."""
    limits = world.limits
    world.flows = {key: flow for key, flow in world.flows.items() if flow.expires(limits) >= now}
    latest: dict[frozenset[str], int] = {}
    for key, flow in world.flows.items():
        latest[frozenset(key)] = max(flow.last, latest.get(frozenset(key), at.NEVER))
    world.opener = {pair: end for pair, end in world.opener.items() if pair in latest}
    if len(latest) > limits.pairs:
        stale = sorted(latest.values())[len(latest) - limits.pairs - 1]
        gone = {pair for pair, last in latest.items() if last <= stale}
        world.lost += len(gone)
        world.flows = {key: flow for key, flow in world.flows.items() if frozenset(key) not in gone}
        world.opener = {pair: end for pair, end in world.opener.items() if pair not in gone}


def decide(world: World, records: list[Record], index: int) -> Mark:
    """The marks of records[index]; the records are sorted by (due, id)."""
    limits, record, mark = world.limits, records[index], Mark()
    if record.due // at.GRID != world.tick:
        world.tick = record.due // at.GRID
        bound(world, world.tick * at.GRID)
    key, other = (record.source, record.target), (record.target, record.source)
    sight = [
        near
        for near in records[index + 1 :]
        if near.due <= record.due + limits.ahead and {near.source, near.target} == {record.source, record.target}
    ]
    ahead = [near for near in sight if (near.source, near.target) == key]
    back = [near for near in sight if (near.source, near.target) == other]

    flow = world.flows.get(key)
    new = flow is None or not flow.alive(record, limits)
    if flow is None or new:
        candidates = [record, *(near for near in ahead if near.begin <= record.due + limits.touch)]
        flow = world.flows[key] = started(min(candidates, key=lambda near: near.rank), record)
    counts = flow.authority == record.point
    if not counts:
        covers = [near for near in ahead if near.point == flow.authority and near.begin <= record.due + limits.touch]
        alive = (
            bool(covers)
            or record.due <= flow.cover + flow.period + limits.touch
            or record.begin + limits.touch < flow.cover
        )
        if alive:
            best = max(
                [flow.record, *covers],
                key=lambda near: min(record.due, near.due) - max(record.begin, near.begin),
            )
            mark.duplicate_of = best.id
        else:
            flow.authority, flow.since, flow.period = record.point, flow.begin - record.slow, 0
            counts = True
    flow.last, flow.span = max(flow.last, record.due), max(flow.span, record.length)
    flow.evidence |= bool(record.bits & at.ANSWERS)
    reply = world.flows.get(other)
    if reply is not None and not reply.alive(record, limits):
        reply = None
    pair = frozenset(key)
    if new and reply is None:
        world.opener.pop(pair, None)
    if not counts:
        return mark
    flow.cover, flow.period, flow.record = max(flow.cover, record.due), max(flow.period, record.length), record
    if flow.since < record.begin - record.slow:
        mark.begin = flow.since
    return paired(world, record, flow, reply, back, mark)


def paired(world: World, record: Record, flow: Flow, reply: Flow | None, back: list[Record], mark: Mark) -> Mark:
    """The other direction of a record that counts."""
    pair = frozenset((record.source, record.target))
    seen, own = reply is not None or bool(back), bool(record.bits & at.OWN)
    evidence = (reply is not None and reply.evidence) or any(near.bits & at.ANSWERS for near in back)
    if not own and record.due > flow.claimed:
        flow.open_bytes += record.bytes
        flow.open_packets += record.packets
    if seen and not own:
        total = [0, 0]
        if reply is None:
            reply = started(min(back, key=lambda near: near.rank), back[0])
            world.flows[record.target, record.source] = reply
        else:
            total = [reply.open_bytes, reply.open_packets]
            reply.open_bytes = reply.open_packets = 0
        for near in back:
            if near.point == reply.authority and near.due > reply.claimed and not near.bits & at.OWN:
                total = [total[0] + near.bytes, total[1] + near.packets]
        reply.claimed = max(reply.claimed, record.due + world.limits.ahead)
        mark.reverse = (total[0], total[1])
    sight = world.sight.setdefault(record.point, [0, 0])
    if record.bits & at.ENGAGED and record.bits & at.TIMED and not own:
        sight[0 if seen else 1] += 1
        if sum(sight) >= at.MANY:
            sight[:] = [sight[0] // 2, sight[1] // 2]
    if evidence or record.bits & at.ENGAGED:
        mark.answered = True
    elif seen or own or (record.bits & at.KNOWABLE and sight[0] >= sight[1]):
        mark.answered = False
    mark.opener = who(record, seen, world.opener.get(pair), flow, None if own else reply)
    if seen and pair not in world.opener:
        world.opener[pair] = record.source if mark.opener == at.SOURCE else record.target
    return mark


def who(record: Record, seen: bool, opener: str | None, flow: Flow, reply: Flow | None) -> int:
    """Which end of the record opened the flow."""
    if record.fixed:
        return record.fixed
    if record.bits & at.OPENS:
        return at.SOURCE
    if not seen:
        return at.DESTINATION if record.ports == -2 else at.SOURCE
    if opener is not None:
        return at.SOURCE if opener == record.source else at.DESTINATION
    assert reply is not None
    same = flow.authority == reply.authority
    mine, theirs = (flow.since, reply.since) if same else (flow.begin, reply.begin)
    if record.bits & at.TIMED:
        unsure = 0 if same else at.UNSURE
        if mine + unsure < theirs:
            return at.SOURCE
        if theirs + unsure < mine:
            return at.DESTINATION
    if record.ports:
        return at.SOURCE if record.ports > 0 else at.DESTINATION
    return at.SOURCE if mine <= theirs else at.DESTINATION


def marks(records: list[Record], limits: Limits) -> tuple[dict[int, Mark], int]:
    """The marks of all records by id, and what the bound cost."""
    world = World(limits)
    records = sorted(records, key=lambda record: (record.due, record.id))
    found = {records[index].id: replace(decide(world, records, index)) for index in range(len(records))}
    return found, world.lost
