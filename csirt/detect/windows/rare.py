"""How many members speak with a target: of each target the members that were noted last, and when.

A member is noted with a target when it speaks with it, unless it was within the last sixteenth of what is kept, or
more members than matter were: an address that everybody uses costs a few notes a day. Events are looked at in (time,
event id) order, so what is known at one of them does not depend on how the time axis was cut.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.rule import Beacon
from csirt.detect.windows.interned import Interned
from csirt.detect.windows.keys import event_keys
from csirt.detect.windows.payload import Payload
from csirt.detect.windows.sliding import KERNELS, NEVER
from csirt.model.batch import Array
from csirt.model.hits import HITS

SPEAKER, NOTED, ROW = range(3)  # of a note
AGAIN = 16  # a member is noted anew after that part of what is kept
SLACK = 16_384  # rows and names that nothing needs
NOTES = ("time", "target", "source_member")


class Rare:
    """Notes of the targets of one beacon, of about `most` of them. `payload` has them as hits of a target, a member and
    a time. `seen`: when the first and the last event came, since all that was kept was forgotten. `dropped`: targets
    that left early, the stalest first."""

    def __init__(self, settings: Beacon, most: int) -> None:
        self.payload = Payload()
        self.seen: tuple[int, int] | None = None
        self.dropped = 0
        self._settings, self._most = settings, most
        assert settings.members is not None
        self._targets, self._members = Interned(), Interned()
        self._notes = np.empty((0, settings.members + 1, 3), np.int64)

    def add(self, hits: pa.Table) -> pa.Table:
        """Note who speaks with whom; the events whose target few enough members spoke with by then, once it was known
        for long enough who does."""
        times = np.asarray(hits.column("time").to_numpy())
        if not len(times):
            return hits
        high, low = event_keys(hits.column("event"))
        order = np.lexsort((low, high, times))
        targets, members = (_codes(known, hits.column(name)) for known, name in self._known())
        self._make_room()
        counts, noted = np.empty(len(order), np.int64), np.empty(len(order), bool)
        self._note(targets[order], members[order], times[order], counts, noted)
        rows = order[noted]
        if len(rows):
            self.payload.append(_notes(hits.select(NOTES).take(pa.array(rows))))
        few = np.empty(len(order), bool)
        few[order] = (counts < self._notes.shape[1]) & self._learned(times[order])
        return hits.filter(pa.array(few))

    def _learned(self, times: Array) -> Array:
        """At which moments, in order, it was known for long enough who speaks with whom: since the first event, or the
        first after a silence in which all was forgotten."""
        since, last = self.seen or (NEVER, NEVER)
        anew = np.diff(times, prepend=last) > self._settings.keep
        begins = np.maximum.accumulate(np.where(anew, times, since))
        self.seen = int(begins[-1]), max(int(times[-1]), last)
        found: Array = times >= begins + self._settings.history
        return found

    def _known(self) -> tuple[tuple[Interned, str], tuple[Interned, str]]:
        return (self._targets, "target"), (self._members, "source_member")

    def _make_room(self) -> None:
        missing = len(self._targets) - len(self._notes)
        if missing > 0:
            grown = np.full((max(missing, len(self._notes)), *self._notes.shape[1:]), NEVER, np.int64)
            self._notes = np.concatenate([self._notes, grown])

    def _note(self, targets: Array, members: Array, times: Array, counts: Array, noted: Array) -> None:
        keep = self._settings.keep
        run = KERNELS.get(note, len(targets) * self._notes.shape[1])
        run(targets, members, times, self._notes, keep, keep // AGAIN, self.payload.next_row, counts, noted)

    def expire(self, until: int) -> bool:
        """Let go of what is not remembered any more once `until` is closed; whether nothing is left."""
        cut = until - self._settings.keep
        self.payload.expire(cut)
        if self.seen is None or self.seen[1] < cut:
            return True
        names = len(self._targets)
        if names > self._most + self._most // 8 or self.payload.rows > 2 * self._notes[:, :, 0].size + SLACK:
            self._sweep(cut)
        return False

    def _sweep(self, cut: int) -> None:
        """Only the notes that count, of the targets that have one, an eighth below the bound of them."""
        latest = self._notes[: len(self._targets), :, NOTED].max(axis=1)
        alive = np.flatnonzero(latest > cut)
        if len(alive) > self._most:
            gone = len(alive) - self._most + self._most // 8
            self.dropped += gone
            alive = np.sort(alive[np.argsort(latest[alive], kind="stable")[gone:]])
        self._targets.keep(alive)
        notes = self._notes[alive]
        live = notes[:, :, NOTED] > cut
        notes[~live] = NEVER
        rows = np.sort(notes[:, :, ROW][live])
        new = self.payload.keep(rows)
        notes[live, ROW] = new[np.searchsorted(rows, notes[live, ROW])]
        used, codes = np.unique(notes[live, SPEAKER], return_inverse=True)
        self._members.keep(used)
        notes[live, SPEAKER] = codes.reshape(-1)
        self._notes = notes

    def restored(self) -> None:
        """The payload has been restored: its rows are notes again."""
        for piece in self.payload.pieces:
            rows = pa.Table.from_batches([piece.batch])
            targets, members = (_codes(known, rows.column(name)) for known, name in self._known())
            self._make_room()
            run = KERNELS.get(place, len(targets))
            run(targets, members, np.asarray(rows.column("time").to_numpy()), self._notes, piece.base)


def _codes(known: Interned, column: pa.ChunkedArray) -> Array:
    """The code of each text, -1 for none."""
    if not column.null_count:
        return known.codes(column)
    there = pc.is_valid(column)
    codes = np.full(len(column), -1, np.int64)
    codes[np.asarray(there.to_numpy())] = known.codes(column.filter(there))
    return codes


def _notes(rows: pa.Table) -> pa.Table:
    """Rows with only what a note has."""
    arrays = [rows.column(one.name) if one.name in NOTES else pa.nulls(len(rows), one.type) for one in HITS]
    return pa.table(arrays, schema=HITS)


def note(
    targets: Array,
    members: Array,
    times: Array,
    notes: Array,
    keep: int,
    again: int,
    row: int,
    counts: Array,
    noted: Array,
) -> None:
    """Events in order: note the member with the target where that is due, as row number `row` and on, and say how many
    members are noted within `keep`. A target without a name is everybody's; a member without one is not noted."""
    most = notes.shape[1]
    for index in range(len(targets)):
        target, member, now = targets[index], members[index], times[index]
        noted[index], counts[index] = False, most
        if target < 0:
            continue
        spot, live, fresh = -1, 0, 0
        oldest = 0
        for at in range(most):
            when = notes[target, at, NOTED]
            live += when > now - keep
            fresh += when > now - again
            if when > NEVER and notes[target, at, SPEAKER] == member:
                spot = at
            if when < notes[target, oldest, NOTED]:
                oldest = at
        if member >= 0 and fresh < most and (spot < 0 or notes[target, spot, NOTED] <= now - again):
            if spot < 0:
                spot = oldest
            live += notes[target, spot, NOTED] <= now - keep
            notes[target, spot, SPEAKER], notes[target, spot, NOTED] = member, now
            notes[target, spot, ROW] = row
            noted[index] = True
            row += 1
        counts[index] = live


def place(targets: Array, members: Array, times: Array, notes: Array, row: int) -> None:
    """Put notes back, in the order in which they were made."""
    for index in range(len(targets)):
        spot = 0
        for at in range(notes.shape[1]):
            if notes[targets[index], at, NOTED] > NEVER and notes[targets[index], at, SPEAKER] == members[index]:
                spot = at
                break
            if notes[targets[index], at, NOTED] < notes[targets[index], spot, NOTED]:
                spot = at
        notes[targets[index], spot, SPEAKER], notes[targets[index], spot, NOTED] = members[index], times[index]
        notes[targets[index], spot, ROW] = row + index
