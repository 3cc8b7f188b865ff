"""Literals by field, indexed so that one pass over the texts of many fields finds where each of them stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from csirt.model.batch import Array

# Windows of so many bytes: a literal has the widest it has room for.
WIDE, NARROW, BYTE = 4, 2, 1
ROOM = 4096
# So many comparisons cost less than loading the compiled loops.
FEW = 4096
# Bytes that texts are full of: of two windows nobody shares, the one with fewer of them comes by less often.
_COMMON = [6 if byte in b"etaoinsrlcdmpuhg" else 4 if byte in b"0123456789.-/ \\:" else 1 for byte in range(256)]

Literal = tuple[str, bytes, bool, bool]
"""(field, bytes, at the start, at the end)."""


class Literals:
    """Literals of fields; those of `""` are looked for in every field."""

    def __init__(self, literals: Sequence[Literal]) -> None:
        self._literals = literals
        self._count = len(literals)
        self._everywhere = any(not field for field, *_ in literals)
        slots: dict[str, list[int]] = {}
        for number, (field, *_) in enumerate(literals):
            slots.setdefault(field, []).append(number)
        equal, wide, narrow, byte = self._tables = tuple(_Tables(width) for width in (0, WIDE, NARROW, BYTE))
        pool: list[bytes] = []
        starts: list[int] = []
        size = 0
        for _, text, _, _ in literals:
            pool.append(text)
            starts.append(size)
            size += len(text)
        self._pool = np.frombuffer(b"".join(pool) or b"\0", np.uint8)
        for field, numbers in slots.items():
            sorts: dict[_Tables, list[tuple[int, int, bytes, int]]] = {table: [] for table in self._tables}
            for number in numbers:
                _, text, left, right = literals[number]
                width = len(text)
                table = equal if left and right else wide if width >= WIDE else narrow if width >= NARROW else byte
                sorts[table].append((number, starts[number], text, left + 2 * right))
            for table, members in sorts.items():
                table.add(field, members)
        for table in self._tables:
            table.close()
        self._room = ROOM

    def find(
        self, fields: Sequence[str], bounds: Array, data: Array, offsets: Array
    ) -> Iterator[tuple[int, int, Array]]:
        """(literal, column, sorted indices of the column's texts) for columns of these fields, whose texts lie behind
        one another."""
        if len(offsets) * self._count <= FEW:
            yield from self._singly(fields, bounds, data, offsets)
            return
        from csirt.detect import scan

        parts: list[Array] = []
        for table in self._tables:
            own = [field or None for field in fields]
            for names in (own, [""] * len(fields)) if self._everywhere else (own,):
                tables = table.of(names)
                if (tables[:, 0] >= 0).any():
                    parts.append(self._found(table, tables, bounds, data, offsets))
        found = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)
        starts, texts = np.zeros(self._count + 1, np.int64), np.empty(len(found), np.int64)
        scan.grouped(found, len(found), starts, texts)
        literals = np.flatnonzero(np.diff(starts))
        begins, ends = starts[literals], starts[literals + 1]
        columns = np.searchsorted(bounds, texts[begins], side="right") - 1
        firsts, lasts = bounds[columns], texts[ends - 1]
        within = (lasts < bounds[columns + 1]).tolist()
        for literal, begin, end, column, first, one in zip(
            *(item.tolist() for item in (literals, begins, ends, columns, firsts)), within, strict=True
        ):
            where = texts[begin:end]
            if one:
                yield literal, column, where - first if first else where
                continue
            owners = np.searchsorted(bounds, where, side="right") - 1
            for piece in np.split(np.arange(len(where)), np.flatnonzero(np.diff(owners)) + 1):
                owner = int(owners[piece[0]])
                yield literal, owner, where[piece] - bounds[owner]

    def _singly(
        self, fields: Sequence[str], bounds: Array, data: Array, offsets: Array
    ) -> Iterator[tuple[int, int, Array]]:
        """One by one: a handful is done before the compiled loops were loaded."""
        raw, edges = data.tobytes(), offsets.tolist()
        texts = [raw[start:end] for start, end in pairwise(edges)]
        for number, (owner, literal, left, right) in enumerate(self._literals):
            for column, field in enumerate(fields):
                if owner in ("", field):
                    part = texts[bounds[column] : bounds[column + 1]]
                    found = [place for place, text in enumerate(part) if _stands(literal, text, left, right)]
                    if found:
                        yield number, column, np.array(found)

    def _found(self, table: _Tables, tables: Array, bounds: Array, data: Array, offsets: Array) -> Array:
        from csirt.detect import scan

        while True:
            out = np.empty((self._room, 2), np.int64)
            if table.width:
                last = np.full(self._count, -1, np.int64)
                count = scan.windows(
                    table.width,
                    data,
                    offsets,
                    bounds,
                    tables,
                    table.known,
                    table.heads,
                    table.entries,
                    self._pool,
                    last,
                    out,
                )
            else:
                count = scan.whole(data, offsets, bounds, tables, table.heads, table.entries, self._pool, out)
            if count <= len(out):
                return out[:count]
            self._room = 2 * count


def _stands(literal: bytes, text: bytes, left: bool, right: bool) -> bool:
    if left and right:
        return text == literal
    return text.startswith(literal) if left else text.endswith(literal) if right else literal in text


class _Tables:
    """The tables of all fields for windows of one width; 0: for whole texts."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._fields: dict[str | None, tuple[int, int]] = {}
        self._parts: list[tuple[Array, Array]] = []
        self._heads = self._entries = 0

    def add(self, field: str, members: Sequence[tuple[int, int, bytes, int]]) -> None:
        """The (literal, place in the pool, bytes, anchors) of one field."""
        if not members:
            return
        if self.width:
            chosen = _chosen([text for _, _, text, _ in members], self.width)
        else:
            chosen = [(0, _outline(text)) for _, _, text, _ in members]
        bits = min(max(len(members) * 16, 256).bit_length(), 20)
        rows = np.array(
            [
                (number, start, len(text), offset, anchors, window & 0x7FFFFFFFFFFFFFFF)
                for (number, start, text, anchors), (offset, window) in zip(members, chosen, strict=True)
            ],
            np.int64,
        )
        mixed = np.array([window for _, window in chosen], np.uint64) * _MIX
        places = (mixed >> np.uint64(64 - bits)).astype(np.int64)
        order = np.argsort(places, kind="stable")
        heads = np.searchsorted(places[order], np.arange((1 << bits) + 1)) + self._entries
        self._fields[field] = self._heads, bits
        self._parts.append((heads, rows[order]))
        self._heads += len(heads)
        self._entries += len(rows)

    def close(self) -> None:
        """All fields are there."""
        heads = [part for part, _ in self._parts]
        entries = [part for _, part in self._parts]
        self.heads = np.concatenate(heads).astype(np.int32) if heads else np.zeros(1, np.int32)
        self.entries = np.concatenate(entries) if entries else np.zeros((0, 6), np.int64)
        self.known = np.append(self.heads[1:] > self.heads[:-1], False)
        self._parts.clear()

    def of(self, fields: Iterable[str | None]) -> Array:
        """Per column its table."""
        none = (-1, 0)
        return np.array([self._fields.get(field, none) for field in fields], np.int64).reshape(-1, 2)


_MIX = np.uint64(0x9E3779B97F4A7C15)


def _outline(text: bytes) -> int:
    """As `scan.outline`."""
    mix, mask = int(_MIX), 0xFFFFFFFFFFFFFFFF
    found = len(text)
    for byte in text[:8] + text[-8:]:
        found = ((found ^ byte) * mix) & mask
        found ^= found >> 29
    return found


def _chosen(texts: Sequence[bytes], width: int) -> list[tuple[int, int]]:
    """Per literal (offset, window): the window that fewest other literals have and texts have least."""
    shared = Counter(window for text in texts for window in {text[at : at + width] for at in _places(text, width)})
    found: list[tuple[int, int]] = []
    for text in texts:
        best = min(_places(text, width), key=partial(_rate, text, width, shared))
        found.append((best, int.from_bytes(text[best : best + width], "big")))
    return found


def _rate(text: bytes, width: int, shared: Counter[bytes], at: int) -> tuple[int, float]:
    window = text[at : at + width]
    return shared[window], sum(_COMMON[byte] for byte in window)


def _places(text: bytes, width: int) -> range:
    return range(len(text) - width + 1)
