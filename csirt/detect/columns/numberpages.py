"""Numbers of a Parquet row group without Arrow: their pages as they stand, each column when it is asked for.

Most columns of mixed events are mostly empty, and few of their numbers are what a rule looks at. What the loops do not
take (`numberscan`) is left to Arrow, and so is every other column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from csirt.detect.columns.coded import bits
from csirt.detect.columns.columns import Column, NumberColumn, TruthColumn
from csirt.detect.columns.pages import MOST_BYTES, MOST_ROWS
from csirt.detect.columns.physical import address
from csirt.model import ecs
from csirt.model.batch import Array

# What Arrow makes of what Parquet stores.
_KINDS = {
    "INT64": ("int64", "uint64"),
    "INT32": ("int8", "int16", "int32", "uint8", "uint16", "uint32"),
    "DOUBLE": ("double",),
    "FLOAT": ("float",),
    "BOOLEAN": ("bool",),
}
_WIDTHS = {"INT64": 8, "INT32": 4, "DOUBLE": 8, "FLOAT": 4, "BOOLEAN": 0}
_PACKINGS = ("ZSTD", "SNAPPY", "UNCOMPRESSED")
# Levels take no more than this for each row, and a page no more than this beside.
_LEVEL_BYTES, _PAGE_BYTES = 2, 64
_PAGES = 256
# Parts of what Arrow has to put together: identities.
_IDS = frozenset({"csirt.segment", "csirt.ordinal"})


def taken(file: pq.ParquetFile) -> dict[int, np.dtype[Any]]:
    """The columns that `read` may take, by number of their leaf, and their kind; none where names collide."""
    kinds = {field.name: field.type for field in file.schema_arrow}
    if len({name.replace(" ", "") for name in kinds}) < len(file.schema_arrow):
        return {}
    found, schema = {}, file.schema
    for place in range(len(schema)):
        leaf = schema.column(place)
        flat = leaf.max_repetition_level == 0 and leaf.max_definition_level <= 1 and leaf.path == leaf.name
        parts = leaf.name in _IDS or leaf.name.endswith(ecs.ADDRESS_PARTS)
        if flat and not parts and str(kinds[leaf.name]) in _KINDS.get(leaf.physical_type, ()):
            found[place] = np.dtype(kinds[leaf.name].to_pandas_dtype())
    return found


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A column of a row group: its `pages` as `pagescan` describes them, in `raw`."""

    raw: Array
    pages: Array
    packing: str
    width: int
    required: bool
    rows: int
    kind: np.dtype[Any]

    def column(self, again: Callable[[], Column | None]) -> Column | None:
        """The column, or what `again` reads where it is odd or broken; None where no row has a value."""
        from csirt.detect.columns import numberscan, pagescan

        words = np.zeros((self.rows + 63) // 64, np.uint64)
        dense = np.empty(self.rows, np.int64)  # what stands where there is no value means nothing
        row = count = 0
        for page in self.pages:
            unpacked = self._unpacked(page)
            if unpacked is None:
                return again()
            values, encoding = int(page[pagescan.VALUES]), int(page[pagescan.ENCODING])
            given = unpacked.address, unpacked.size, self.required, row, values, encoding, self.width
            some = numberscan.placed(*given, words, dense)
            if some < 0:
                return again()
            row += values
            count += some
        if row != self.rows:
            return again()
        if not count:
            return None
        return self._made(dense, None if count == self.rows else bits(words, 0, self.rows))

    def _made(self, dense: Array, valid: Array | None) -> Column:
        if not self.width:
            return TruthColumn(dense.astype(bool), valid)
        if self.width == 4:
            dense = dense.astype(np.int32)
        same = self.kind.itemsize == dense.itemsize
        return NumberColumn(dense.view(self.kind) if same else dense.astype(self.kind), valid)

    def _unpacked(self, page: Array) -> pa.Buffer | None:
        """A page's bytes; None when they are broken, or not as many as they say."""
        from csirt.detect.columns import pagescan

        start, packed, size = (int(page[place]) for place in (pagescan.START, pagescan.PACKED, pagescan.SIZE))
        found = pa.py_buffer(self.raw[start : start + packed])
        if self.packing != "UNCOMPRESSED":
            try:
                found = pa.Codec(self.packing.lower()).decompress(found, size)
            except (pa.ArrowException, OSError):
                return None
        return found if found.size == size else None


def read(stream: BinaryIO, metadata: Any, group: int, kinds: Mapping[int, np.dtype[Any]]) -> dict[str, _Chunk]:
    """Those of a row group's columns that are as expected, by name; Arrow takes the others."""
    part = metadata.row_group(group)
    rows = part.num_rows
    if not 0 < rows <= MOST_ROWS or not kinds:
        return {}
    chunks = {place: part.column(place) for place in kinds}
    sizes = {
        place: chunk.total_compressed_size
        for place, chunk in chunks.items()
        if chunk.compression in _PACKINGS and not chunk.has_dictionary_page
    }
    sizes = {place: size for place, size in sizes.items() if size > 0}
    if not sizes or sum(sizes.values()) > MOST_BYTES:
        return {}
    ends = np.cumsum(list(sizes.values()))
    starts = ends - np.array(list(sizes.values()))
    raw = np.empty(int(ends[-1]), np.uint8)
    for place, start, end in zip(sizes, starts.tolist(), ends.tolist(), strict=True):
        stream.seek(chunks[place].data_page_offset)
        if stream.readinto(raw[start:end].data) != end - start:  # type: ignore[attr-defined]
            return {}
    pages = _pages(raw, starts, ends)
    found = {}
    for number, place in enumerate(sizes):
        chunk, width = chunks[place], _WIDTHS[chunks[place].physical_type]
        mine = pages[pages[:, 0] == number]
        required = metadata.schema.column(place).max_definition_level == 0
        if _fits(mine, rows, width):
            made = _Chunk(raw, mine, chunk.compression, width, required, rows, kinds[place])
            found[chunk.path_in_schema] = made
    return found


def makers(
    chunks: Mapping[str, _Chunk], again: Callable[[str], Column | None]
) -> dict[str, Callable[[], Column | None]]:
    """What makes each column; a space is no part of a name. `again`: what reads one otherwise."""
    return {name.replace(" ", ""): partial(chunk.column, partial(again, name)) for name, chunk in chunks.items()}


def _pages(raw: Array, starts: Array, ends: Array) -> Array:
    from csirt.detect.columns import pagescan

    room = _PAGES
    while True:
        table, odd = np.empty((room, 7), np.int64), np.zeros(len(starts), bool)
        count = pagescan.pages(address(raw), starts, ends, table, odd, True)
        if count >= 0:
            return table[:count]
        room *= 4


def _fits(pages: Array, rows: int, width: int) -> bool:
    """Whether a column's pages hold no more than so many rows can."""
    from csirt.detect.columns import pagescan

    sizes, values = pages[:, pagescan.SIZE], pages[:, pagescan.VALUES]
    encodings = set(pages[:, pagescan.ENCODING].tolist())
    known = encodings <= ({pagescan.PLAIN, pagescan.SPLIT} if width else {pagescan.PLAIN})
    whole = bool(len(pages)) and int(values.sum()) == rows
    return known and whole and bool((sizes <= values * (max(width, 1) + _LEVEL_BYTES) + _PAGE_BYTES).all())
