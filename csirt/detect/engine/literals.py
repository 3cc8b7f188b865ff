"""Literals by field, indexed so that one pass over the texts of many fields finds where each of them stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from csirt.model.batch import Array

# Windows of so many bytes: a literal has the widest it has room for; one that is a whole text has none.
WIDTHS = (4, 2)
WHOLE = 0
# Room for so many finds per text, at first.
ROOM = 2
# So many comparisons cost less than loading the compiled loops.
FEW = 4096
# Of two windows nobody shares, the one with fewer of the bytes that texts are full of comes by less often.
_COMMON = [6 if byte in b"etaoinsrlcdmpuhg" else 4 if byte in b"0123456789.-/ \\:" else 1 for byte in range(256)]
_MIX = np.uint64(0x9E3779B97F4A7C15)
_NONE = (-1, 0)
# A bit for each pair of bytes.
NARROW_BYTES = 1 << 13
# A longer literal needs a window that stands in it once, or hostile text makes comparing it dear.
LONG = 64

Literal = tuple[str, bytes, bool, bool]
"""(field, bytes, at the start, at the end)."""


class Literals:
    """Literals of fields; those of `""` are looked for in every field."""

    def __init__(self, literals: Sequence[Literal]) -> None:
        self._literals = literals
        lengths = [len(text) for _, text, _, _ in literals]
        self._pool = np.frombuffer(b"".join(text for _, text, _, _ in literals) or b"\0", np.uint8)
        self._starts = np.append(0, np.cumsum(lengths)).tolist()
        groups: dict[tuple[str, int], list[int]] = {}
        for number, (field, text, left, right) in enumerate(literals):
            width = WHOLE if left and right else next((width for width in WIDTHS if len(text) >= width), WHOLE)
            groups.setdefault((field, width), []).append(number)
        self._heads: list[Array] = []
        self._entries: list[Array] = []
        self._regions: dict[tuple[str, int], tuple[int, int]] = {}
        self._windows: dict[tuple[str, int], list[int]] = {}
        for (field, width), numbers in groups.items():
            self._add(field, width, numbers)
        self._known: list[Array] = [np.zeros(NARROW_BYTES, np.uint8)]  # the filter of nothing
        self._narrow_filters: dict[frozenset[int], int] = {}
        fields = dict.fromkeys(["", *(field for field, _ in groups)])
        self._places = {field: place for place, field in enumerate(fields)}
        self._known_fields = np.array([self._field(field) for field in fields], np.int64)
        self._arrays = (
            _joined(self._known, np.uint8),
            _joined(self._heads, np.int32),
            np.concatenate([*self._entries, np.zeros((1, 6), np.int32)]),
        )
        self._room = 0

    def _add(self, field: str, width: int, numbers: Sequence[int]) -> None:
        """The literals of a field with windows of that width: entries by the place of their window."""
        texts = [self._literals[number][1] for number in numbers]
        chosen = _chosen(texts, width) if width else [(0, _outline(text)) for text in texts]
        bits = _bits(4 * len(numbers))
        windows = np.array([window for _, window in chosen], np.uint64)
        places = ((windows * _MIX) >> np.uint64(64 - bits)).astype(np.int64)
        rows = np.zeros((len(numbers), 6), np.int32)
        for row, number, text, (offset, _) in zip(rows, numbers, texts, chosen, strict=True):
            _, _, left, right = self._literals[number]
            row[:5] = number, self._starts[number], len(text), offset + width - 1, left + 2 * right
        rows[:, 5] = windows.astype(np.uint32).view(np.int32)
        order = np.argsort(places, kind="stable")
        base = sum(map(len, self._entries))
        self._regions[field, width] = sum(map(len, self._heads)), bits
        self._windows[field, width] = windows.tolist()
        self._heads.append(np.searchsorted(places[order], np.arange((1 << bits) + 1)) + base)
        self._entries.append(rows[order])

    def _field(self, field: str) -> list[int]:
        """What the loop has to know of a field: the filter of its wide windows and by how many bits it is asked, that
        of its narrow ones, the table of whole texts, and the four of windows: its own and everyone's by width."""
        owners = [field, ""] if field else ["", None]
        windows = {
            width: [window for owner in owners if owner is not None for window in self._windows.get((owner, width), ())]
            for width in WIDTHS
        }
        tables = [
            self._regions.get((owner, width), _NONE) if owner is not None else _NONE
            for width in WIDTHS
            for owner in owners
        ]
        wide, narrow = self._wide(windows[4]), self._narrow(windows[2])
        return [*wide, narrow, *self._regions.get((field, WHOLE), _NONE), *sum(tables, ())]

    def _wide(self, windows: Sequence[int]) -> tuple[int, int]:
        """The filter of four bytes: where it is, and the bits of a place in it."""
        if not windows:
            return 0, 3
        bits = _bits(128 * len(windows))
        flags = np.zeros(1 << bits, bool)
        flags[((np.array(windows, np.uint64) * _MIX) >> np.uint64(64 - bits)).astype(np.int64)] = True
        return self._filter(flags), bits

    def _narrow(self, pairs: Sequence[int]) -> int:
        """The filter of the last two bytes."""
        if not pairs:
            return 0
        key = frozenset(pairs)  # most fields have those of every field alone
        if key not in self._narrow_filters:
            flags = np.zeros(1 << 16, bool)
            flags[pairs] = True
            self._narrow_filters[key] = self._filter(flags)
        return self._narrow_filters[key]

    def _filter(self, flags: Array) -> int:
        self._known.append(np.packbits(flags, bitorder="little"))
        return sum(map(len, self._known[:-1]))

    def find(
        self, fields: Sequence[str], bounds: Array, data: Array, offsets: Array
    ) -> Iterator[tuple[int, int, Array]]:
        """(literal, column, sorted indices of the column's texts) for columns of these fields, whose texts lie behind
        one another."""
        if len(offsets) * len(self._literals) <= FEW:
            yield from self._singly(fields, bounds, data, offsets)
            return
        from csirt.detect.engine import scan

        found = self.found(fields, bounds, data, offsets)
        starts, texts = np.zeros(len(self._literals) + 1, np.int64), np.empty(len(found), np.int64)
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
                    found = [place for place, text in enumerate(part) if stands(literal, text, left, right)]
                    if found:
                        yield number, column, np.array(found)

    def found(
        self, fields: Sequence[str], bounds: Array, data: Array, offsets: Array, unsearched: Array | None = None
    ) -> Array:
        """(literal, text) of all that is found, of each literal in the texts' order; in the columns of these places
        only what is looked for in their own field."""
        from csirt.detect.engine import scan

        columns = self._known_fields[[self._places.get(field, 0) for field in fields]]
        if unsearched is not None:
            columns[unsearched, scan.FIRST + 2 :: 4] = -1
        self._room = max(self._room, ROOM * len(offsets))
        while True:
            out = np.empty((self._room, 2), np.int32)
            last = np.full(len(self._literals), -1, np.int32)
            count = int(scan.literals(data, offsets, bounds, columns, *self._arrays, self._pool, last, out))
            if count <= len(out):
                return out[:count]
            self._room = 2 * count


def _bits(count: int) -> int:
    return min(max(count, 256).bit_length(), 20)


def _joined(parts: Sequence[Array], kind: type) -> Array:
    return np.concatenate([*parts, np.zeros(1)]).astype(kind)


def stands(literal: bytes, text: bytes, left: bool, right: bool) -> bool:
    """Whether a literal is in a text, or at its beginning or end, or all of it."""
    if left and right:
        return text == literal
    return text.startswith(literal) if left else text.endswith(literal) if right else literal in text


def _outline(text: bytes) -> int:
    """As `scan.outline`."""
    return int.from_bytes(text[:4] + text[-4:], "big") ^ ((len(text) & 0xFF) << 56)


def _chosen(texts: Sequence[bytes], width: int) -> list[tuple[int, int]]:
    """Per literal (offset, window): the window that fewest other literals have and texts have least."""
    shared = Counter(window for text in texts for window in {text[at : at + width] for at in _places(text, width)})
    found: list[tuple[int, int]] = []
    for text in texts:
        own = Counter(text[at : at + width] for at in _places(text, width))
        best = min(_places(text, width), key=partial(_rate, text, width, shared, own))
        found.append((best, int.from_bytes(text[best : best + width], "little")))
    return found


def _rate(text: bytes, width: int, shared: Counter[bytes], own: Counter[bytes], at: int) -> tuple[bool, int, float]:
    window = text[at : at + width]
    return own[window] > 1, shared[window], sum(_COMMON[byte] for byte in window)


def repeats(text: bytes) -> bool:
    """Whether a literal is long and each of its windows stands in it again: such ones are left to another search."""
    if len(text) <= LONG:
        return False
    own = Counter(text[at : at + WIDTHS[0]] for at in _places(text, WIDTHS[0]))
    return min(own.values()) > 1


def _places(text: bytes, width: int) -> range:
    return range(len(text) - width + 1)
