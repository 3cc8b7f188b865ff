"""The decoder of sFlow datagrams: one chunk in, batches of flows and of interface counters out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from csirt.decode.netflow.numbering import number_keys
from csirt.decode.netflow.scan import sequence
from csirt.decode.sflow import layout, rows, scan
from csirt.decode.sflow.rows import Names
from csirt.decode.sflow.state import Agent, Key, State
from csirt.model.batch import Array, Batch, Decoded
from csirt.model.chunk import Chunk, Datagrams

MARK = b"\0\0\0\5"  # how every datagram begins; NetFlow v5 begins with 00 05
ROWS = 1 << 18  # in one batch, at most what one datagram brings more
REJECTED = 1_000
PERIODS = 64  # of the expiry; an agent is forgotten at most one of them later
UNLISTED, TOO_MANY = -1, -2
Address = tuple[int, int, int]


class Configured(Protocol):
    """What the configuration says about a sender (csirt.config.Exporter)."""

    name: str
    sampling_rate: int


def is_sflow(data: Datagrams) -> Array:
    """Which datagrams begin with sFlow's version 5."""
    mine: Array = np.asarray(data.length) >= len(MARK)
    which = np.flatnonzero(mine)
    for place in (1, 3, 2, 0):  # NetFlow has another second octet
        which = which[np.asarray(data.buffer)[np.asarray(data.offset)[which] + place] == MARK[place]]
    mine[:] = False
    mine[which] = True
    return mine


class SflowDecoder:
    """Decodes one source's sFlow datagrams in order; pure. `configured`: what is said of senders, by address.

    `accept_unknown`: whether senders of whom nothing is said are decoded. `expiry`: microseconds of receive time after
    which an agent that is not heard is forgotten, 0 never.
    """

    def __init__(self, configured: Mapping[Address, Configured], accept_unknown: bool, expiry: int = 0) -> None:
        self._configured = configured
        self._accept_unknown = accept_unknown
        self._expiry = expiry
        self.rejected: list[tuple[str, int, int, str]] = []  # of the last chunk: segment, frame, offset, reason
        self.load(b"")

    def load(self, state: bytes) -> None:
        """Go on from a state; empty: start afresh. Raises ValueError for bytes that are no state."""
        self._state = State.load(state)

    def decode(self, chunk: Chunk, data: Datagrams) -> Decoded:
        """The rows of `data`, which are datagrams of that chunk that begin as sFlow, and what became of each."""
        state = self._state
        clock = np.maximum(np.maximum.accumulate(np.asarray(data.time, np.int64)), state.clock)
        self.rejected = []
        result = Decoded()
        cuts = self._cuts(clock)
        for begin, end in pairwise(sorted({0, *cuts, len(clock)})):
            gone = state.expire(int(clock[begin]) - self._expiry) if begin in cuts else 0
            part = self._read(data.take(slice(begin, end)), chunk.segment, clock[begin:end])
            part.forgotten = {"exporter_expired": gone} if gone else {}
            result = result.joined(part)
        result.state = state.dump()
        return result

    def _cuts(self, clock: Array) -> list[int]:
        """Before which datagrams it is looked who is to be forgotten: where the receive clock enters another of the
        PERIODS of the expiry. So chunks and restarts change nothing, and it is not looked for every datagram."""
        if not self._expiry or int(clock[-1]) - self._state.eldest(int(clock[0])) <= self._expiry:
            return []
        period = np.append(self._state.clock, clock) // max(self._expiry // PERIODS, 1)
        cuts: list[int] = np.flatnonzero(np.diff(period)).tolist()
        return cuts

    def _read(self, data: Datagrams, segment: str, clock: Array) -> Decoded:
        """A part of the datagrams in which nobody is forgotten."""
        read = _Read(data)
        read.agents(self._agent)
        result = Decoded(entered=len(read.time))
        result.batches = self._batches(read, segment)
        read.account(self._state, result, clock)
        self.rejected = sorted(self.rejected + read.rejected(segment))[:REJECTED]
        return result

    def _agent(self, key: Key) -> int:
        sender: Address = (key[0], key[1], key[2])
        listed = sender in self._configured
        if not listed and not self._accept_unknown:
            return UNLISTED
        found = self._state.number(key, listed=listed)
        return TOO_MANY if found is None else found

    def _batches(self, read: _Read, segment: str) -> list[Batch]:
        which = np.flatnonzero(read.agent >= 0)
        if not len(which):
            return []
        agents = [self._state.agents[number] for number in np.unique(read.agent[which]).tolist()]
        names = Names(segment, *self._names(agents))
        place = np.searchsorted(np.unique(read.agent[which]), read.agent)
        weight = np.cumsum(read.counts[which, layout.N_FLOWS] + read.counts[which, layout.N_COUNTERS])
        flows: list[Batch] = []
        counters: list[Batch] = []
        for part in np.split(which, np.flatnonzero(np.diff(weight // ROWS)) + 1):
            found = read.fill(part)
            source = rows.Datagram(read.head, read.time, read.frame, place)
            if found[0].shape[1]:
                flows.append(rows.flows(found[0], source, names))
            if found[1].shape[1]:
                counters.append(rows.counters(found[1], source, names))
        return flows + counters

    def _names(self, agents: list[Agent]) -> tuple[list[Any], ...]:
        known = [self._configured.get((a.key[0], a.key[1], a.key[2])) for a in agents]
        return (
            [a.sender or None for a in agents],
            [(item.name or None) if item else None for item in known],
            [a.address for a in agents],
            [item.sampling_rate if item else 0 for item in known],
        )


class _Read:
    """One chunk's datagrams: their headers, their agents, what they hold. Call `agents`, `fill`, `account`."""

    def __init__(self, data: Datagrams) -> None:
        view = np.ascontiguousarray(data.buffer, np.uint8).view()
        view.flags.writeable = False
        self._buffer = view
        self._data = data
        self._offset = np.ascontiguousarray(data.offset, np.int64)
        self._length = np.ascontiguousarray(data.length, np.int64)
        self.time = np.ascontiguousarray(data.time, np.int64)
        self.frame = np.ascontiguousarray(data.frame, np.int64)
        count = len(self._offset)
        self.head = np.zeros((count, layout.H_WIDTH), np.int64)
        self.counts = np.zeros((count, layout.N_WIDTH), np.int64)
        scan.measure(self._buffer, self._offset, self._length, self.head, self.counts)
        self.whole = self.head[:, layout.H_STATUS] == layout.OK

    def agents(self, agent_of: Callable[[Any], int]) -> None:
        """Number every datagram's agent; negative numbers say why it is refused."""
        sender = [np.asarray(part) for part in (self._data.family, self._data.high, self._data.low)]
        here = [self.head[:, i] for i in (layout.H_FAMILY, layout.H_HIGH, layout.H_LOW, layout.H_DOMAIN)]
        none = np.zeros(len(self.whole), np.int64)
        number, _ = _numbered(sender[0], sender[1], sender[2], none)
        number, _ = _numbered(number, here[0], here[1], here[2])
        group, first = _numbered(number, here[3], self.whole, none)
        known = np.full(max(len(first), 1), UNLISTED, np.int64)
        for place, row in enumerate(first.tolist()):
            if self.whole[row]:
                unsigned = [int(part[row]) & (2**64 - 1) for part in (*sender, *here)]
                known[place] = agent_of(tuple(unsigned))
        self.agent = np.where(self.whole, known[group], UNLISTED)

    def fill(self, which: Array) -> tuple[Array, Array]:
        """The tables of the flow and of the counter samples of these datagrams, in order."""
        counts = self.counts[which]
        flow_ends, counter_ends = (np.cumsum(counts[:, column]) for column in (layout.N_FLOWS, layout.N_COUNTERS))
        flows = np.zeros((layout.FLOW_WIDTH, int(flow_ends[-1])), np.uint64)
        counters = np.zeros((layout.COUNTER_WIDTH, int(counter_ends[-1])), np.uint64)
        starts = flow_ends - counts[:, layout.N_FLOWS], counter_ends - counts[:, layout.N_COUNTERS]
        end = self._offset + self._length
        scan.fill(self._buffer, which, end, self.head, starts[0], starts[1], flows, counters, self.counts)
        return flows, counters

    def account(self, state: State, result: Decoded, clock: Array) -> None:
        """Say what became of every datagram, in all and per agent; follow the sequence numbers, and who was heard."""
        mine = self.agent >= 0
        rows_of = self.counts[:, layout.N_FLOWS] + self.counts[:, layout.N_COUNTERS]
        bad = np.where(mine, self.counts[:, layout.N_BAD], 0)
        lost_all = mine & (bad > 0) & (rows_of == 0)
        self._outcome = np.select(
            [~self.whole, self.agent == UNLISTED, self.agent == TOO_MANY, lost_all],
            ["malformed", "unlisted_exporter", "too_many_exporters", "malformed"],
            "left",
        )
        names, numbers = np.unique(self._outcome, return_counts=True)
        tally = dict(zip(names.tolist(), numbers.tolist(), strict=True))
        result.left = tally.pop("left", 0)
        result.dropped = tally
        behind = np.where(mine, self.counts[:, layout.N_BEHIND], 0)
        counts = {
            "received": mine,
            "malformed": bad + behind,
            "dropped": lost_all,
            "decoded": mine & ~lost_all,
            "skipped": np.where(mine, self.counts[:, layout.N_SKIPPED], 0),
        }
        result.exporters = self._exporters(state, counts)
        latest = dict(zip(self.agent[mine].tolist(), clock[mine].tolist(), strict=True))
        for number, heard in latest.items():
            state.agents[number].heard = heard
        state.clock = int(clock[-1])
        result.problems += [f"{number} datagrams dropped: {reason}" for reason, number in sorted(tally.items())]
        if bad.any():
            result.problems.append(f"{int(bad.sum())} samples or records were malformed")
        if behind.any():
            result.problems.append(
                f"{int(behind.sum())} datagrams had octets behind their samples, which were not read"
            )

    def _exporters(self, state: State, counts: dict[str, Array]) -> list[dict[str, Any]]:
        used, local = np.unique(self.agent[self.agent >= 0], return_inverse=True)
        place = np.full(len(self.agent), -1, np.int64)
        place[self.agent >= 0] = local.reshape(-1)
        expected = np.array([state.agents[number].expected for number in used.tolist()], np.int64)
        followed = [np.zeros(len(used), np.int64) for _ in range(3)]
        one = np.ones(len(place), np.int64)
        sequence(place, np.ascontiguousarray(self.head[:, layout.H_SEQUENCE]), one, expected, *followed)
        mine = place >= 0
        totals = {name: np.bincount(place[mine], values[mine], len(used)) for name, values in counts.items()}
        totals |= dict(zip(("sequence_lost", "sequence_late", "sequence_resets"), followed, strict=True))
        found = []
        for row, number in enumerate(used.tolist()):
            agent = state.agents[number]
            agent.expected = int(expected[row])
            numbers = {name: int(values[row]) for name, values in totals.items()}
            found.append(
                {"address": agent.sender, "version": layout.VERSION, "domain": agent.domain, "held": 0, "expired": 0}
                | numbers
            )
        return found

    def rejected(self, segment: str) -> list[tuple[str, int, int, str]]:
        """(segment, frame, octets into the datagram, reason) of what was refused, at most REJECTED of them."""
        found = []
        whole = self._outcome == "left"
        bad, behind = self.counts[:, layout.N_BAD] > 0, self.counts[:, layout.N_BEHIND] > 0
        for which, reason in ((~whole, None), (whole & bad, "malformed_sample"), (whole & behind, "trailing_octets")):
            for i in np.flatnonzero(which)[:REJECTED].tolist():
                found.append((segment, int(self.frame[i]), 0, reason or str(self._outcome[i])))
        return sorted(found)[:REJECTED]


def _numbered(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """Number rows by four columns, in order of appearance; the number of each, and the first row of each number."""
    one, two, three, four = (np.ascontiguousarray(key).astype(np.uint64).view(np.int64) for key in (a, b, c, d))
    number, first = np.empty(len(one), np.int64), np.empty(len(one), np.int64)
    count = number_keys(one, two, three, four, number, first)
    return number, first[:count]
