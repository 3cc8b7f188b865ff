"""Columns and bits of the arrays that the kernels work on. All times are microseconds by this machine's clock."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from csirt.biflow.room import Room
from csirt.clock import MINUTE, SECOND
from csirt.model.batch import Array

KEY = 6  # 64-bit words that name two ends: both addresses, protocol and ports, members

# Columns of a flow: one direction between two ends, as far as it is known. 64-bit words; ids are unsigned in them.
(
    AUTHORITY,  # the observation point whose records count
    BEGIN,  # of the flow's first record
    SINCE,  # the same by the authority's own clock
    LAST,  # the latest end of any record; NEVER: there is no flow
    SPAN,  # its longest record: no active timeout of its exporters is shorter
    COVER,  # the latest end of a record that counts
    PERIOD,  # the longest record that counts
    RECORD_SEGMENT,  # the last record that counts
    RECORD_ORDINAL,
    RECORD_BEGIN,
    RECORD_END,
    OPEN_BYTES,  # of records that count, not yet given to a record of the other direction
    OPEN_PACKETS,
    CLAIMED,  # up to here the other direction's records have taken what this direction sent
    EVIDENCE,  # 1: some record shows more than a refusal
) = range(15)
FLOW = 15
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


@dataclass(frozen=True, slots=True)
class Limits:
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


@dataclass(slots=True)
class Rows:
    """Records, one entry of each array per record.

    `key` (n x KEY), `way`: 0 from the lower end to the higher, 1 back. `due`, `begin`. `slow`: how far the exporter's
    clock is behind. `point`: the observation point; `rank`: which point is preferred, least first. `segment`,
    `ordinal`: the event id. `bytes`, `packets`. `bits`: see above. `fixed`: who opened the flow where the record itself
    says so. `ports`: who did, by the ports: above 0 the source, below 0 the destination, 2 when one of them is a
    well-known port and the other is not."""

    key: Array
    way: Array
    due: Array
    begin: Array
    slow: Array
    point: Array
    rank: Array
    segment: Array
    ordinal: Array
    bytes: Array
    packets: Array
    bits: Array
    fixed: Array
    ports: Array

    @property
    def count(self) -> int:
        """How many records."""
        return len(self.due)

    @staticmethod
    def room(room: Room, count: int) -> Rows:
        """Rows to be filled in."""

        def words(name: str, kind: type) -> Array:
            return room.array(name, count, kind)

        return Rows(
            key=room.array("key", (count, KEY), np.uint64), way=words("way", np.uint8), due=words("due", np.int64),
            begin=words("begin", np.int64), slow=words("slow", np.int64), point=words("point", np.uint64),
            rank=words("rank", np.int32), segment=words("segment", np.uint64), ordinal=words("ordinal", np.uint64),
            bytes=words("bytes", np.uint64), packets=words("packets", np.uint64), bits=words("bits", np.uint8),
            fixed=words("fixed", np.uint8), ports=words("ports", np.int8),
        )  # fmt: skip

    def part(self, start: int, end: int) -> Rows:
        """Some of the rows: views of the same memory."""
        return Rows(*(getattr(self, item.name)[start:end] for item in fields(Rows)))


@dataclass(slots=True)
class Open:
    """The open flows after some records: `key` (m x KEY), `opener` (0 unknown, else 1 + the way of the end that opened
    it), `flows` (2 m x FLOW: both ways of each pair of ends). `points` and `sight` (SHOWN, HIDDEN of each): what
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
            np.empty((0, FLOW), np.int64),
            np.empty(0, np.uint64),
            np.empty((0, 2), np.int64),
        )


@dataclass(slots=True)
class Marks:
    """What is said of each record that was decided. `duplicate`: it is one, of (`segment`, `ordinal`). `begin`: of the
    flow it continues, by the exporter's clock, or NEVER. `paired`: its other direction is known, with what is given to
    it of that in `bytes` and `packets`. `answered`: 1, 0, or -1. `opener`: SOURCE, DESTINATION or UNKNOWN."""

    duplicate: Array
    segment: Array
    ordinal: Array
    begin: Array
    paired: Array
    bytes: Array
    packets: Array
    answered: Array
    opener: Array

    @staticmethod
    def blank(room: Room, rows: int) -> Marks:
        """No marks."""
        return Marks(
            room.filled("duplicate", rows, np.bool_, False),
            room.filled("of_segment", rows, np.uint64, 0),
            room.filled("of_ordinal", rows, np.uint64, 0),
            room.filled("flow_begin", rows, np.int64, NEVER),
            room.filled("paired", rows, np.bool_, False),
            room.filled("other_bytes", rows, np.uint64, 0),
            room.filled("other_packets", rows, np.uint64, 0),
            room.filled("answered", rows, np.int8, -1),
            room.filled("opener_of", rows, np.uint8, UNKNOWN),
        )

    def taken(self, start: int, end: int, keep: Array) -> Marks:
        """The marks of those of the rows from `start` to `end` that are to be kept."""
        return Marks(*(getattr(self, item.name)[start:end][keep] for item in fields(Marks)))
