"""Columns and bits of the arrays that the kernels work on. All times are microseconds by this machine's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from csirt.biflow.room import Room
from csirt.clock import MINUTE, SECOND
from csirt.model.batch import Array

KEY = 6  # 64-bit words that name two ends: both addresses, protocol and ports, members

# A record. `due`, `begin`; `slow`: how far the exporter's clock is behind. `point`: the observation point; `rank`:
# which point is preferred, least first. `segment`, `ordinal`: the event id. `way`: 0 from the lower end to the higher,
# 1 back. `bits`: see below. `fixed`: who opened the flow where the record itself says so. `ports`: who did, by the
# ports: above 0 the source, below 0 the destination, 2 when one of them is a well-known port and the other is not.
# `pair`: the number of its ends; `behind`: the next row of the same ends, or -1; `place`: of its observation point.
RECORD = np.dtype([
    ("due", np.int64), ("begin", np.int64), ("slow", np.int64), ("point", np.uint64), ("segment", np.uint64),
    ("ordinal", np.uint64), ("bytes", np.uint64), ("packets", np.uint64), ("rank", np.int32), ("way", np.uint8),
    ("bits", np.uint8), ("fixed", np.uint8), ("ports", np.int8), ("pair", np.int32), ("behind", np.int32),
    ("place", np.int32),
], align=True)  # fmt: skip

# A flow: one direction between two ends, as far as it is known.
FLOW = np.dtype([
    ("authority", np.uint64),  # the observation point whose records count
    ("begin", np.int64),  # of the flow's first record
    ("since", np.int64),  # the same by the authority's own clock
    ("last", np.int64),  # the latest end of any record; NEVER: there is no flow
    ("span", np.int64),  # its longest record: no active timeout of its exporters is shorter
    ("cover", np.int64),  # the latest end of a record that counts
    ("period", np.int64),  # the longest record that counts
    ("record_segment", np.uint64),  # the last record that counts
    ("record_ordinal", np.uint64),
    ("record_begin", np.int64),
    ("record_end", np.int64),
    ("open_bytes", np.uint64),  # of records that count, not yet given to a record of the other direction
    ("open_packets", np.uint64),
    ("claimed", np.int64),  # up to here the other direction's records have taken what this direction sent
    ("evidence", np.int64),  # 1: some record shows more than a refusal
])  # fmt: skip
NEVER = -(1 << 62)

# Bits of a record.
ANSWERS = 1  # it shows more than a refusal: the other end's packets were answered
KNOWABLE = 2  # that nothing came back would mean something
ENGAGED = 4  # its own TCP flags show that the other end answered
OWN = 8  # it has its own reverse counters
TIMED = 16  # its start tells who opened the flow
OPENS = 32  # a SYN without ACK: its source opened the flow

# Of an observation point's records that show that they were answered, those whose answer was seen, and the others.
SHOWN, HIDDEN = 0, 1
MANY = 4_096  # records after which both numbers are halved: what was long ago counts less

# Who opened a flow.
UNKNOWN, SOURCE, DESTINATION = 0, 1, 2

# What is said of a record. `duplicate`: it is one, of (`segment`, `ordinal`). `begin`: of the flow it continues, by the
# exporter's clock, or NEVER. `paired`: its other direction is known, with what is given to it of that in `bytes` and
# `packets`. `answered`: 1, 0, or -1. `opener`: SOURCE, DESTINATION or UNKNOWN.
MARK = np.dtype([
    ("segment", np.uint64), ("ordinal", np.uint64), ("begin", np.int64), ("bytes", np.uint64), ("packets", np.uint64),
    ("duplicate", np.bool_), ("paired", np.bool_), ("answered", np.int8), ("opener", np.uint8),
], align=True)  # fmt: skip
UNMARKED = np.array([(0, 0, NEVER, 0, 0, False, False, -1, UNKNOWN)], MARK)


class Limits(NamedTuple):
    """What the marks depend on beside the records; the same for a store's life, or marks depend on when it changed.

    `ahead`: how far behind a record it is still looked for its other direction. `touch`: two records of a flow this
    near each other are of the same packets, whatever jitter and whole seconds did to their times. `gap`: a flow that
    was cut goes on when its next record begins within this. `pairs`: at most so many pairs of ends are open."""

    ahead: int = 10 * SECOND
    touch: int = 5 * SECOND
    gap: int = MINUTE
    pairs: int = 250_000


# No record is taken to be longer: a start that was decoded wrongly must not keep a flow open for ever.
LONGEST = 60 * MINUTE
# What is open is counted whenever due times pass a multiple of this, so that a bound does not depend on steps.
GRID = 10 * SECOND
# Records looked at behind one record; one key with more of them in some seconds is no flow between two hosts.
REACH = 64
# Starts from clocks of two exporters, in whole seconds each, are told apart beyond this.
UNSURE = 3 * SECOND // 2


class Rows(NamedTuple):
    """Records: `key` (n x KEY), what their two ends are known by, and `records` (n of RECORD)."""

    key: Array
    records: Array

    @staticmethod
    def room(room: Room, count: int) -> Rows:
        """Rows to be filled in."""
        return Rows(room.array("key", (count, KEY), np.uint64), room.array("records", count, RECORD))

    def part(self, start: int, end: int) -> Rows:
        """Some of the rows: views of the same memory."""
        return Rows(self.key[start:end], self.records[start:end])


@dataclass(slots=True)
class Open:
    """The open flows after some records: `key` (m x KEY), `opener` (0 unknown, else 1 + the way of the end that opened
    it), `flows` (2 m of FLOW: both ways of each pair of ends). `points` and `sight` (SHOWN, HIDDEN of each): what
    observation points have been seen to see. `tick`: the multiple of GRID last counted at."""

    key: Array
    opener: Array
    flows: Array
    points: Array
    sight: Array
    tick: int = NEVER

    @staticmethod
    def none() -> Open:
        """Nothing is open."""
        return Open(
            np.empty((0, KEY), np.uint64),
            np.empty(0, np.uint8),
            np.empty(0, FLOW),
            np.empty(0, np.uint64),
            np.empty((0, 2), np.int64),
        )
