"""The held hits themselves, in pieces that are written once: what an alert takes its events and entities from."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Array
from csirt.model.hits import HITS, conform, none

PIECE = 131_072  # rows a piece grows to
MERGED = 8  # so many neighbours of a level become one piece of the next


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `base` and on; `number` names it in the state, `last` is its latest event time; `level`: how often its rows
    were merged."""

    number: int
    base: int
    table: pa.Table
    last: int
    level: int = 0


class Payload:
    """Hits by a number that only grows. Small neighbours are merged, so that there are few pieces and a row is written
    a few times at most; a piece leaves when all of it is out of reach."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._next_row = 0
        self._next_piece = 0
        self._written: set[int] = set()

    def copy(self) -> Payload:
        """Another one with the same pieces."""
        made = copy(self)
        made.pieces, made._written = list(self.pieces), set(self._written)
        return made

    def append(self, table: pa.Table) -> int:
        """Keep the rows; the number of the first one."""
        base = self._next_row
        self._next_row += table.num_rows
        # Which stream they came by is known: this is the consumer.
        self._add(base, table.set_column(0, HITS.field("stream"), pa.nulls(table.num_rows, pa.string())), 0)
        while len(self.pieces) >= MERGED and self.pieces[-MERGED].level == self.pieces[-1].level:
            parts = self.pieces[-MERGED:]
            if sum(part.table.num_rows for part in parts) > PIECE or not _adjoin(parts):
                break
            del self.pieces[-MERGED:]
            merged = pa.concat_tables([part.table for part in parts]).combine_chunks()
            self._add(parts[0].base, merged, parts[0].level + 1)
        return base

    def _add(self, base: int, table: pa.Table, level: int) -> None:
        last = pc.max(table.column("time")).as_py()
        self.pieces.append(Piece(self._next_piece, base, table, last, level))
        self._next_piece += 1

    def expire(self, cut: int) -> None:
        """Forget the pieces whose rows are all at or before `cut`."""
        if any(piece.last <= cut for piece in self.pieces):
            self.pieces = [piece for piece in self.pieces if piece.last > cut]

    def take(self, rows: Array) -> pa.Table:
        """The rows of these numbers, in this order."""
        if not len(rows):
            return none()
        bases = np.array([piece.base for piece in self.pieces])
        where = np.searchsorted(bases, rows, side="right") - 1
        used = np.unique(where).tolist()
        if len(used) == 1:
            piece = self.pieces[used[0]]
            return piece.table.take(pa.array(rows - piece.base))
        parts, places = [], np.empty(len(rows), np.int64)
        start = 0
        for index in used:
            mine = np.flatnonzero(where == index)
            parts.append(self.pieces[index].table.take(pa.array(rows[mine] - self.pieces[index].base)))
            places[mine] = np.arange(start, start + len(mine))
            start += len(mine)
        return pa.concat_tables(parts).combine_chunks().take(pa.array(places))

    def keep(self, rows: Array) -> Array:
        """Keep only these rows; their new numbers."""
        table = self.take(rows)
        self.pieces = []
        base = self._next_row
        self._next_row += len(rows)
        for start in range(0, len(rows), PIECE):
            part = table.slice(start, PIECE)
            self._add(base + start, part.combine_chunks(), MERGED)
        return np.arange(base, base + len(rows))

    # -- state ----------------------------------------------------------------------------------------------------

    def listed(self) -> list[list[int]]:
        """[number, base, level] of each piece, for the header of the state."""
        return [[piece.number, piece.base, piece.level] for piece in self.pieces]

    def changes(self) -> dict[int, bytes | None]:
        """What became of the pieces since this was asked last: new ones with their bytes, None for those that left."""
        now = {piece.number for piece in self.pieces}
        result: dict[int, bytes | None] = dict.fromkeys(sorted(self._written - now))
        result |= {piece.number: encode(piece.table) for piece in self.pieces if piece.number not in self._written}
        self._written = now
        return result

    def restore(self, number: int, base: int, level: int, data: bytes) -> None:
        """A piece as it was written, in the order of the header."""
        table = decode(data)
        self.pieces.append(Piece(number, base, table, pc.max(table.column("time")).as_py(), level))
        self._next_row, self._next_piece = base + table.num_rows, number + 1
        self._written.add(number)


def _adjoin(parts: list[Piece]) -> bool:
    """Whether no piece between them has left: rows keep their numbers only where none is missing. A piece may leave
    before an older one, for what was taken in for a quiet stretch may be later than what comes next."""
    return all(one.base + one.table.num_rows == other.base for one, other in pairwise(parts))


def encode(table: pa.Table) -> bytes:
    """Hits as bytes: mostly repeated text, of which compression leaves a tenth."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, HITS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def decode(data: bytes) -> pa.Table:
    """Hits from bytes."""
    return conform(pa.ipc.open_stream(data).read_all()).combine_chunks()
