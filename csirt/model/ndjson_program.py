"""What a compiled pass writes for each row: members in order, each a constant fragment and a value out of a table.

A step: kind; place and length of what every row has before it; place and length of the member's label, and whether
that begins with a comma which the first member of an object does without; the value's place in `numbers`, and a second
one; the place in `valid` of the rows that have the member, or -1 for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from csirt.model.batch import Array
from csirt.model.ndjson_kinds import CLOSE, CONSTANT, LITERAL, OPEN

SLACK = 16  # octets behind a buffer that a copy may touch
SIZE = 1 << 20  # octets of text at a time
VALUE = 128  # no value but a text is longer


@dataclass(frozen=True, slots=True)
class Column:
    """A value per row: `numbers` (and `other`) as its kind wants them, of rows that are `valid` (None: all).

    TEXT: places in the pool. IDENTITY: that of the segment, and the ordinal. UINT, INT, TIME (us): themselves.
    ADDRESS: family, high, low. RELATED: an address, and as `other` a second one.
    """

    kind: int
    numbers: tuple[Array, ...]
    valid: Array | None = None
    other: tuple[Array, ...] = ()

    def where(self, mask: Array | None) -> Column:
        """The same value, in fewer rows."""
        if mask is None or self.valid is None:
            return self if mask is None else replace(self, valid=mask)
        return replace(self, valid=self.valid & mask)


@dataclass(slots=True)
class Pool:
    """JSON texts by number."""

    parts: list[Array] = field(default_factory=list)
    offsets: list[Array] = field(default_factory=list)
    size: int = 0
    count: int = 0

    def add(self, strings: pa.Array, *, quote: bool = True) -> int:
        """The number of the first of these strings: as JSON strings, or as they are."""
        strings = strings if pa.types.is_string(strings.type) else strings.cast(pa.string())
        _, ends, raw = strings.buffers()
        octets = np.frombuffer(raw, np.uint8) if raw is not None else np.empty(0, np.uint8)
        places = np.zeros(1, np.int32)
        if len(strings):
            places = np.frombuffer(ends, np.int32)[strings.offset : strings.offset + len(strings) + 1]
        octets.flags.writeable = places.flags.writeable = False  # one type, so that one is compiled
        if quote:
            part, offsets = self._quoted(octets, places)
        else:
            part = octets[places[0] : places[-1]]
            offsets = places.astype(np.int64) + (self.size - int(places[0]))
        first = self.count
        self.parts.append(part)
        self.offsets.append(offsets)
        self.size += len(part)
        self.count += len(offsets)
        return first

    def _quoted(self, octets: Array, places: Array) -> tuple[Array, Array]:
        from csirt.model.ndjson_text import escaped_size, quoted

        more = escaped_size(octets, places[0], places[-1])
        part = np.empty(int(places[-1]) - int(places[0]) + more + 2 * (len(places) - 1), np.uint8)
        offsets = np.empty(len(places), np.int64)
        quoted(octets, places, part, self.size, offsets)
        return part, offsets

    def tables(self) -> tuple[Array, Array]:
        """All texts, and where each begins and ends."""
        offsets = self.offsets or [np.zeros(1, np.int64)]
        return np.concatenate([*self.parts, np.zeros(SLACK, np.uint8)]), np.concatenate(offsets)


class Program:
    """Steps, and the tables they read."""

    def __init__(self, pool: Pool, rows: int) -> None:
        self.pool = pool
        self.rows = rows
        self._steps: list[tuple[int, ...]] = []
        self._fragments = bytearray()
        self._pending = ""
        self._numbers: list[Array] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._valid: list[Array] = []
        self._masks: dict[int, int] = {}

    def constant(self, text: str) -> None:
        """What every row has."""
        self._pending += text

    def member(self, column: Column, label: str, *, comma: bool) -> None:
        """A value behind its label. `comma`: the label's first character is one, and may have to go."""
        mask = self._mask(column.valid)
        self._step(column.kind, label, comma, self._place(column.numbers), self._place(column.other), mask)

    def literal(self, text: str, *, comma: bool) -> None:
        """A whole member that every row has."""
        if comma:
            self._step(LITERAL, text, comma)
        else:
            self._pending += text

    def open(self, label: str, *, comma: bool) -> None:
        """An object that may come out empty; it is left out of the rows where it does."""
        self._step(OPEN, label, comma)

    def close(self) -> None:
        """The end of what was opened last."""
        self._step(CLOSE)

    def _step(
        self, kind: int, label: str = "", comma: bool = False, at: int = 0, other: int = -1, mask: int = -1
    ) -> None:
        if mask < 0 and not comma and kind != OPEN:
            self._pending, label = self._pending + label, ""
        before, behind = (self._fragment(text) for text in (self._pending, label))
        self._pending = ""
        self._steps.append((kind, *before, *behind, int(comma), at, other, mask))

    def _fragment(self, text: str) -> tuple[int, int]:
        raw = text.encode()
        self._fragments += raw
        return len(self._fragments) - len(raw), len(raw)

    def _place(self, arrays: tuple[Array, ...]) -> int:
        if not arrays:
            return -1
        key = tuple(id(array) for array in arrays)
        if key not in self._places:
            self._places[key] = len(self._numbers)
            self._numbers += arrays
        return self._places[key]

    def _mask(self, valid: Array | None) -> int:
        if valid is None:
            return -1
        if id(valid) not in self._masks:
            self._masks[id(valid)] = len(self._valid)
            self._valid.append(valid)
        return self._masks[id(valid)]

    def run(self, ends: Array | None = None) -> Iterator[memoryview]:
        """The rows' text in pieces of whole rows, each overwritten by the next. `ends` becomes each row's end."""
        from csirt.model.ndjson_kernels import write

        if self._pending:
            self._step(CONSTANT)
        steps = np.array(self._steps, np.int64)
        fragments = np.frombuffer(bytes(self._fragments) + bytes(SLACK), np.uint8)
        numbers = np.empty((max(len(self._numbers), 1), self.rows), np.int64)
        for place, array in enumerate(self._numbers):
            numbers[place] = array
        valid = np.stack(self._valid) if self._valid else np.empty((0, self.rows), np.bool_)
        bound = len(fragments) + VALUE * len(steps) + SLACK
        tables = (steps, fragments, numbers, valid, *self.pool.tables(), bound)
        out, row, done = np.empty(SIZE, np.uint8), 0, 0
        places = np.empty(0, np.int64) if ends is None else ends
        opened = np.empty(len(steps), np.int64)
        while row < self.rows:
            begin = row
            row, size = write(*tables, begin, self.rows, out, places, opened)
            if row == begin:
                out = np.empty(2 * len(out), np.uint8)
                continue
            if ends is not None:
                ends[begin:row] += done
            done += size
            yield out.data[:size]


def texts(pool: Pool, columns: tuple[Column, ...], rows: int) -> pa.Array:
    """A value as Arrow text, null where no row of `columns`, which never meet in one, has it."""
    program = Program(pool, rows)
    for column in columns:
        program.member(column, "", comma=False)
    ends = np.zeros(rows + 1, np.int64)
    text = b"".join(bytes(piece) for piece in program.run(ends[1:]))
    missing = ends[1:] == ends[:-1]
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(text)]
    if missing.any():
        buffers[0] = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(pa.large_string(), rows, buffers)
