"""The held hits themselves, in pieces that are written once: what an alert takes its events and entities from."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from csirt.detect.windows.codes import begins
from csirt.model.batch import Array
from csirt.model.hits import HITS, conform

PIECE = 131_072  # rows a piece grows to
MERGED = 8  # so many neighbours of a level become one piece of the next


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `base` and on; `number` names it in the state, `last` is its latest event time; `level`: how often its rows
    were merged. A batch, for taking a few rows of it costs a quarter of what it costs of a table."""

    number: int
    base: int
    batch: pa.RecordBatch
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
        self.pieces.append(Piece(self._next_piece, base, batch, _latest(batch), level))
        self._next_piece += 1

    def expire(self, cut: int) -> None:
        """Forget the pieces whose rows are all at or before `cut`."""
        if any(piece.last <= cut for piece in self.pieces):
            self.pieces = [piece for piece in self.pieces if piece.last > cut]

    def take(self, rows: Array, names: Sequence[str] = tuple(HITS.names)) -> pa.RecordBatch:
        """The rows of these numbers, in this order; only these columns."""
        bases = np.array([piece.base for piece in self.pieces])
        where = np.searchsorted(bases, rows, side="right") - 1
        order = np.argsort(where, kind="stable")
        edges = [*begins(where[order]).tolist(), len(rows)]
        parts = []
        for left, right in pairwise(edges):
            mine = order[left:right]
            piece = self.pieces[where[mine[0]]]
            parts.append((piece.batch, pa.array(rows[mine] - piece.base)))
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        ordered = pa.array(back) if len(parts) > 1 else None
        return pa.record_batch([_taken(parts, name, ordered, len(rows)) for name in names], names=list(names))

    def keep(self, rows: Array) -> Array:
        """Keep only these rows; their new numbers."""
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
        self.pieces.append(Piece(number, base, batch, _latest(batch), level))
        self._next_row, self._next_piece = base + batch.num_rows, number + 1
        self._written.add(number)


def _adjoin(parts: list[Piece]) -> bool:
    """Whether no piece between them has left: rows keep their numbers only where none is missing. A piece may leave
    before an older one, for what was taken in for a quiet stretch may be later than what comes next."""
    return all(one.base + one.batch.num_rows == other.base for one, other in pairwise(parts))


def _array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _latest(batch: pa.RecordBatch) -> int:
    return int(np.asarray(batch.column("time").to_numpy()).max())


def _taken(parts: list[tuple[pa.RecordBatch, pa.Array]], name: str, ordered: pa.Array | None, count: int) -> pa.Array:
    """A column of these rows of each batch, in this order."""
    columns = [(batch.column(name), rows) for batch, rows in parts]
    if all(column.null_count == len(column) for column, _ in columns):
        return pa.nulls(count, HITS.field(name).type)
    found = [column.take(rows) for column, rows in columns]
    return found[0] if ordered is None else pa.concat_arrays(found).take(ordered)


def encode(table: pa.Table | pa.RecordBatch) -> bytes:
    """Hits as bytes: mostly repeated text, of which compression leaves a tenth."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, HITS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write(table)
    return bytes(sink.getvalue())


def decode(data: bytes) -> pa.Table:
    """Hits from bytes."""
    return conform(pa.ipc.open_stream(data).read_all()).combine_chunks()
