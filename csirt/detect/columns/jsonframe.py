"""Much NDJSON as columns, by one compiled pass; see `jsonscan`. What that pass does not take is left to others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from csirt.detect.columns.coded import OTHER, Distinct
from csirt.detect.columns.columns import Column, NumberColumn, TextColumn, TruthColumn
from csirt.detect.columns.jsonlines import EXACT
from csirt.detect.columns.packedtext import Text, readable
from csirt.detect.columns.physical import Physical
from csirt.model.batch import Array

# Of less the compiled loop is not worth its loading.
FEW_BYTES = 1 << 18
MOST_BYTES = (1 << 31) - 64
# Texts are told apart by a hash nobody outside can foresee.
_SEED, _SECRET = (int.from_bytes(os.urandom(7), "big") for _ in range(2))
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
Makers = dict[str, Callable[[], Column | None]]


@dataclass(frozen=True)
class Events:
    """The events of whole lines: how many, what makes each field's column, what makes the table of those that are
    text, and how many lines there were."""

    rows: int
    makers: Makers
    text: Callable[[], Physical | None]
    lines: int


def columns(raw: bytes) -> Events | None:
    """The events of whole lines; None: let another reader take them."""
    if not FEW_BYTES <= len(raw) < MOST_BYTES:
        return None
    try:
        read = _read(raw)
        if read is None or not readable(read.arena, read.starts):
            return None
        makers, fields = _makers(read)
        text = _text(read, fields)
        return Events(read.rows, makers | text.makers(), text.physical, read.lines)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class _Read:
    """What the pass found. `starts` in the `arena`: fields' names and fields' texts; `owners`: of each, as
    `jsonscan.read` says; `places`: the number of a text among those of its field; `sorted` and `ranked`: texts by
    their owners, and those; `order` and `edges`: the tokens of each field; `kinds`:
    which it has."""

    raw: bytes
    rows: int
    lines: int
    arena: Array
    starts: Array
    owners: Array
    places: Array
    sorted: Array
    ranked: Array
    tokens: Array
    numbers: Array
    order: Array
    edges: Array
    kinds: Array


def _read(raw: bytes) -> _Read | None:
    from csirt.detect.columns import jsonscan as scan
    from csirt.detect.columns.jsontext import NO_ROOM, ODD

    data = np.frombuffer(raw + b"\n" + bytes(8), np.uint8)
    arena = np.empty(len(data) + 8, np.uint8)
    texts, values = max(len(raw) // 64, 1024), max(len(raw) // 16, 1024)
    while True:
        size = 1 << (2 * texts).bit_length()
        slots, starts = np.full(size, -1, np.int32), np.zeros(size // 2 + 2, np.int32)
        owners, last = np.empty(size // 2 + 2, np.int32), np.full(size // 2 + 2, -1, np.int32)
        state = np.zeros(3, np.int64)
        tokens, numbers = np.empty((values, 3), np.int32), np.empty(values, np.int64)
        rows, count = scan.read(
            data, _SEED, _SECRET, arena, slots, starts, owners, state, tokens, numbers, numbers.view(np.float64), last
        )
        if rows != NO_ROOM:
            break
        texts, values = 4 * texts, 4 * values
    if rows == ODD:
        return None
    known = int(state[0])
    owners, starts = owners[:known], starts[: known + 1]
    edges, kinds = np.zeros(known + 2, np.int64), np.zeros(known, np.int32)
    order = np.empty(count, np.int64)
    scan.by_field(tokens, count, edges, order, kinds)
    sorted_ = np.argsort(owners, kind="stable")
    ranked = owners[sorted_]
    places = np.empty(known, np.int32)
    places[sorted_] = np.arange(known) - np.searchsorted(ranked, ranked)
    lines, arena = int(state[2]), arena[: state[1]]
    return _Read(raw, rows, lines, arena, starts, owners, places, sorted_, ranked, tokens, numbers, order, edges, kinds)


def _makers(read: _Read) -> tuple[Makers, dict[str, int]]:
    """By the fields' names, and the fields that are text alone. Raises ValueError for what columns cannot say."""
    from csirt.detect.columns import jsonscan as scan

    names: dict[int, str] = {}
    makers: Makers = {}
    text: dict[str, int] = {}
    fields = np.flatnonzero(read.owners < 0)
    kinds = read.kinds[fields].tolist()
    starts, ends = read.starts[fields].tolist(), read.starts[fields + 1].tolist()
    for field, kind, start, end in zip(fields.tolist(), kinds, starts, ends, strict=True):
        plain = str(read.arena[start:end].data, "utf-8").replace(" ", "")
        parent = -2 - int(read.owners[field])
        name = f"{names[parent]}.{plain}" if parent >= 0 else plain
        if not plain or name in makers or name in text:
            raise ValueError(name)
        names[field] = name
        if kind == _bits(scan.TEXT):
            text[name] = field
        else:
            makers[name] = _maker(read, field, kind)
    return makers, text


def _text(read: _Read, named: dict[str, int]) -> Text:
    """The columns of fields that are text alone."""
    from csirt.detect.columns import jsonscan as scan

    fields = np.array(list(named.values()), np.int64)
    lefts, rights = (np.searchsorted(read.ranked, fields, side) for side in ("left", "right"))
    texts, values = rights - lefts, read.edges[fields + 1] - read.edges[fields]
    firsts, heads = np.append(0, np.cumsum(values)), np.append(0, np.cumsum(texts + 1))
    words = np.zeros((len(fields), (read.rows + 63) // 64), np.uint64)
    ranks = np.empty(words.shape, np.int32)
    codes, bounds = np.empty(int(firsts[-1]), np.int32), np.empty(int(heads[-1]), np.int32)
    data = np.empty(len(read.arena), np.uint8)
    texts_ = read.sorted, read.starts, read.arena
    tokens = read.tokens, read.numbers, read.order, read.edges, read.places
    scan.text_columns(fields, lefts, *texts_, *tokens, firsts, heads, words, ranks, codes, bounds, data)
    return Text(tuple(named), read.rows, words, ranks, codes, firsts, heads, texts, bounds, data)


def _bits(*kinds: int) -> int:
    return sum(1 << kind for kind in kinds)


def _maker(read: _Read, field: int, kinds: int) -> Callable[[], Column | None]:
    from csirt.detect.columns import jsonscan as scan

    numeric = _bits(scan.WHOLE, scan.FRACTION, scan.HARD)
    listed, kinds = bool(kinds & _bits(scan.LIST)), kinds & ~_bits(scan.LIST, scan.NULL)
    plain = kinds >> scan.MEMBER if listed else kinds
    if (listed and kinds & (1 << scan.MEMBER) - 1) or (plain & plain - 1 and plain & ~numeric):
        raise ValueError("mixed types")
    made = _Field(read, field, plain, listed)
    if plain & _bits(scan.FRACTION, scan.HARD):  # whether they are exact has to be known now
        made.exact()
    return made.column


class _Field:
    """One field's column, made when it is first asked for."""

    def __init__(self, read: _Read, field: int, plain: int, listed: bool) -> None:
        self._read, self._field, self._plain, self._listed = read, field, plain, listed
        self._numbers: Array | None = None

    def _where(self) -> tuple[Array, Array, Array]:
        """The field's tokens: their places, rows and kinds."""
        read = self._read
        where = read.order[read.edges[self._field] : read.edges[self._field + 1]]
        return where, read.tokens[where, 1], read.tokens[where, 2]

    def exact(self) -> None:
        """Read the numbers. Raises ValueError for one that a column of fractions would round."""
        from csirt.detect.columns import jsonscan as scan

        where, _, kinds = self._where()
        kinds = kinds & (scan.MEMBER - 1)
        kept = (kinds == scan.WHOLE) | (kinds == scan.FRACTION) | (kinds == scan.HARD)
        where, kinds = where[kept], kinds[kept]
        found = self._read.numbers[where]
        hard: list[tuple[int, int | float]] = []
        for at in np.flatnonzero(kinds == scan.HARD).tolist():
            written = _NUMBER.match(self._read.raw, int(found[at]))
            assert written is not None
            hard.append((at, float(written[0]) if written[1] or written[2] else int(written[0])))
        if not (kinds == scan.FRACTION).any() and all(isinstance(value, int) for _, value in hard):
            for at, value in hard:
                found[at] = value  # OverflowError beyond 64 bits
            self._numbers = found
            return
        exact = np.where(kinds == scan.FRACTION, found.view(np.float64), found.astype(np.float64))
        for at, value in hard:
            exact[at] = value
        if not (np.abs(exact) < EXACT).all():
            raise ValueError("rounded numbers")
        self._numbers = exact

    def column(self) -> Column | None:
        """The column, nulls and all."""
        from csirt.detect.columns import jsonscan as scan

        where, rows, kinds = self._where()
        nulls = rows[kinds == scan.NULL]
        there = (kinds != scan.NULL) & (kinds != scan.LIST)
        made = self._made(where[there], rows[there], rows[kinds == scan.LIST])
        if len(nulls):
            made.has_nulls(nulls)
        return made

    def _made(self, where: Array, rows: Array, lists: Array) -> Column:
        from csirt.detect.columns import jsonscan as scan

        count = self._read.rows
        if self._plain == _bits(scan.OBJECT):
            return _coded(count, rows, pa.array([""]), np.zeros(len(rows), np.int32), np.full(1, OTHER, np.uint8))
        values = self._read.numbers[where] if self._numbers is None else self._numbers
        if self._plain == _bits(scan.TEXT) or not self._plain:
            read, owner = self._read, self._field
            left, right = np.searchsorted(read.ranked, [owner, owner + 1])
            whole = pa.StringArray.from_buffers(
                len(read.starts) - 1, pa.py_buffer(read.starts), pa.py_buffer(read.arena)
            )
            texts = whole.take(pa.array(read.sorted[left:right]))
            codes = read.places[values]
            if not self._listed:
                return _coded(count, rows, texts, codes, None)
            found = Distinct(texts, codes)
        elif self._listed:
            truth = self._plain == _bits(scan.TRUTH)
            found = (TruthColumn(values.astype(bool)) if truth else NumberColumn(values)).distinct()
        else:
            dense = np.zeros(count, bool if self._plain == _bits(scan.TRUTH) else values.dtype)
            dense[rows] = values
            valid = np.zeros(count, bool)
            valid[rows] = True
            some = None if len(rows) == count else valid
            return TruthColumn(dense, some) if dense.dtype == bool else NumberColumn(dense, some)
        valid = np.zeros(count, bool)
        valid[lists] = True
        return TextColumn(count, Distinct(found.texts, found.codes, rows.astype(np.int64), found.kinds), valid, ~valid)


def _coded(count: int, rows: Array, texts: pa.StringArray, codes: Array, kinds: Array | None) -> TextColumn:
    dense = np.full(count, -1, np.int32)
    dense[rows] = codes
    return TextColumn(count, Distinct(texts, dense, None, kinds))
