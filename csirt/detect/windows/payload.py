"""The held hits themselves, in pieces that are written once: what an alert takes its events and entities from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

import numpy as np
import pyarrow as pa

from csirt.detect.windows.codes import begins
from csirt.model.batch import Array
from csirt.model.hits import HITS, conform

PIECE = 131_072  # rows a piece grows to
MERGED = 16  # so many neighbours of a level become one piece of the next


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `base` and on; `number` names it in the state, `last` is its latest event time; `level`: how often its rows
    were merged; `silent`: columns in which no row has anything. A batch, for taking a few rows of it costs a quarter
    of what it costs of a table."""

    number: int
    base: int
    batch: pa.RecordBatch
    last: int
    level: int
    silent: frozenset[str]


class Payload:
    """Hits by a number that only grows. Small neighbours are merged, so that there are few pieces and a row is written
    a few times at most; a piece leaves when all of it is out of reach. `leaving`: set while somebody will
    yet take rows that leave, and called when they have to."""

    def __init__(self) -> None:
        self.leaving: Callable[[], None] | None = None
        self._late: list[Piece] = []
        self.pieces: list[Piece] = []
        self._next_row = 0
        self._next_piece = 0
        self._written: set[int] = set()

    def copy(self) -> Payload:
        """Another one with the same pieces."""
        made = copy(self)
        made.pieces, made._written = list(self.pieces), set(self._written)
        made.taken()
        return made

    @property
    def next_row(self) -> int:
        """The number that the next row will have."""
        return self._next_row

    @property
    def rows(self) -> int:
        """How many rows are kept."""
        return sum(piece.batch.num_rows for piece in self.pieces)

    def append(self, table: pa.Table) -> int:
        """Keep the rows; the number of the first one."""
        base = self._next_row
        self._next_row += table.num_rows
        # Which stream they came by is known: this is the consumer.
        columns = [pa.nulls(table.num_rows, pa.string()), *map(_array, table.columns[1:])]
        self._add(base, pa.RecordBatch.from_arrays(columns, schema=HITS), 0)
        while len(self.pieces) >= MERGED and self.pieces[-MERGED].level == self.pieces[-1].level:
            parts = self.pieces[-MERGED:]
            if sum(part.batch.num_rows for part in parts) > PIECE or not _adjoin(parts):
                break
            del self.pieces[-MERGED:]
            self._add(parts[0].base, pa.concat_batches([part.batch for part in parts]), parts[0].level + 1)
        return base

    def _add(self, base: int, batch: pa.RecordBatch, level: int) -> None:
        self.pieces.append(_piece(self._next_piece, base, batch, level))
        self._next_piece += 1

    def expire(self, cut: int) -> None:
        """Forget the pieces whose rows are all at or before `cut`."""
        if all(piece.last > cut for piece in self.pieces):
            return
        if self.leaving is not None:
            self._late += [piece for piece in self.pieces if piece.last <= cut]
        self.pieces = [piece for piece in self.pieces if piece.last > cut]
        if self.leaving is not None and sum(piece.batch.num_rows for piece in self._late) > PIECE:
            self.leaving()

    def taken(self) -> None:
        """Nobody will take rows that have left."""
        self.leaving, self._late = None, []

    def take(self, rows: Array, names: Sequence[str] = tuple(HITS.names)) -> pa.RecordBatch:
        """The rows of these numbers, in this order; only these columns."""
        if not len(rows):
            return pa.record_batch([pa.nulls(0, HITS.field(name).type) for name in names], names=list(names))
        pieces = sorted([*self._late, *self.pieces], key=attrgetter("base")) if self._late else self.pieces
        bases = np.array([piece.base for piece in pieces])
        where = np.searchsorted(bases, rows, side="right") - 1
        order = np.argsort(where, kind="stable")
        edges = [*begins(where[order]).tolist(), len(rows)]
        used = [pieces[number] for number in where[order[edges[:-1]]].tolist()]
        said = [name for name in names if any(name not in piece.silent for piece in used)] or names[:1]
        parts = [
            piece.batch.select(said).take(pa.array(rows[order[left:right]] - piece.base))
            for piece, (left, right) in zip(used, pairwise(edges), strict=True)
        ]
        found = parts[0]
        if len(parts) > 1:
            back = np.empty(len(rows), np.int64)
            back[order] = np.arange(len(rows))
            found = pa.concat_batches(parts).take(pa.array(back))
        columns = dict(zip(said, found.columns, strict=True))
        arrays = [columns[name] if name in columns else pa.nulls(len(rows), HITS.field(name).type) for name in names]
        return pa.record_batch(arrays, names=list(names))

    def keep(self, rows: Array) -> Array:
        """Keep only these rows; their new numbers."""
        if self.leaving is not None:
            self.leaving()
        batch = self.take(rows)
        self.pieces = []
        base = self._next_row
        self._next_row += len(rows)
        for start in range(0, len(rows), PIECE):
            self._add(base + start, batch.slice(start, PIECE), MERGED)
        return np.arange(base, base + len(rows))

    # -- state ----------------------------------------------------------------------------------------------------

    def listed(self) -> list[list[int]]:
        """[number, base, level] of each piece, for the header of the state."""
        return [[piece.number, piece.base, piece.level] for piece in self.pieces]

    def changes(self) -> dict[int, bytes | None]:
        """What became of the pieces since this was asked last: new ones with their bytes, None for those that left."""
        now = {piece.number for piece in self.pieces}
        result: dict[int, bytes | None] = dict.fromkeys(sorted(self._written - now))
        result |= {piece.number: encode(piece.batch) for piece in self.pieces if piece.number not in self._written}
        self._written = now
        return result

    def restore(self, number: int, base: int, level: int, data: bytes) -> None:
        """A piece as it was written, in the order of the header."""
        batch = pa.RecordBatch.from_arrays([_array(column) for column in decode(data).columns], schema=HITS)
        self.pieces.append(_piece(number, base, batch, level))
        self._next_row, self._next_piece = base + batch.num_rows, number + 1
        self._written.add(number)


def _adjoin(parts: list[Piece]) -> bool:
    """Whether no piece between them has left: rows keep their numbers only where none is missing. A piece may leave
    before an older one, for what was taken in for a quiet stretch may be later than what comes next."""
    return all(one.base + one.batch.num_rows == other.base for one, other in pairwise(parts))


def _array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _piece(number: int, base: int, batch: pa.RecordBatch, level: int) -> Piece:
    latest = int(np.asarray(batch.column("time").to_numpy()).max())
    silent = [name for name, column in zip(HITS.names, batch.columns, strict=True) if column.null_count == len(column)]
    return Piece(number, base, batch, latest, level, frozenset(silent))


def encode(table: pa.Table | pa.RecordBatch) -> bytes:
    """Hits as bytes: mostly repeated text, of which compression leaves a tenth."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, HITS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write(table)
    return bytes(sink.getvalue())


def decode(data: bytes) -> pa.Table:
    """Hits from bytes."""
    return conform(pa.ipc.open_stream(data).read_all()).combine_chunks()
