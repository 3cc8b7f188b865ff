"""Text columns of a Parquet row group without Arrow: their dictionaries as they stand, and codes of what is there.

Arrow makes a code for every row of every column, and most columns of mixed events are mostly empty. What these loops
do not take (`pagescan`) is left to Arrow, and so is every other column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from csirt.detect.columns.packedtext import Text, readable
from csirt.detect.columns.physical import address
from csirt.model.batch import Array

# A row group of more rows is read by Arrow, in pieces.
MOST_ROWS = 1 << 18
# So much of a row group is read and unpacked at most; what unpacks to more is not text columns of events.
MOST_BYTES = 1 << 30
_FLAT = ("string", "dictionary<values=string, indices=int32, ordered=0>")
_PAGES = 4096


def taken(file: pq.ParquetFile) -> list[int]:
    """The columns that `read` may take, by number of their leaf; none where names collide."""
    kinds = {field.name: str(field.type) for field in file.schema_arrow}
    if len({name.replace(" ", "") for name in kinds}) < len(file.schema_arrow):
        return []
    found, schema = [], file.schema
    for place in range(len(schema)):
        leaf = schema.column(place)
        flat = leaf.max_repetition_level == 0 and leaf.max_definition_level <= 1 and leaf.path == leaf.name
        if flat and leaf.physical_type == "BYTE_ARRAY" and kinds[leaf.name] in _FLAT:
            found.append(place)
    return found


def read(stream: BinaryIO, metadata: Any, group: int, places: Sequence[int]) -> Text | None:
    """Those of a row group's columns at these places that are as expected; None: let Arrow take all."""
    part = metadata.row_group(group)
    if not 0 < part.num_rows <= MOST_ROWS or not places:
        return None
    chunks = [part.column(place) for place in places]
    packings = {chunk.compression for chunk in chunks}
    if len(packings) != 1 or not packings <= {"ZSTD", "SNAPPY", "UNCOMPRESSED"}:
        return None
    sizes = [chunk.total_compressed_size for chunk in chunks]
    if not all(chunk.has_dictionary_page for chunk in chunks) or not 0 < sum(sizes) <= MOST_BYTES:
        return None
    raw = np.empty(sum(sizes), np.uint8)
    ends = np.cumsum(sizes)
    for chunk, start, end in zip(chunks, (ends - sizes).tolist(), ends.tolist(), strict=True):
        stream.seek(chunk.dictionary_page_offset)
        if stream.readinto(raw[start:end].data) != end - start:  # type: ignore[attr-defined]
            return None
    required = np.array([metadata.schema.column(place).max_definition_level == 0 for place in places], bool)
    names = tuple(chunk.path_in_schema for chunk in chunks)
    try:
        return _decoded(raw, ends - sizes, ends, packings.pop(), required, names, part.num_rows)
    except (pa.ArrowException, OSError):  # what is packed is broken
        return None


def _decoded(
    raw: Array, starts: Array, ends: Array, packing: str, required: Array, names: tuple[str, ...], rows: int
) -> Text | None:
    from csirt.detect.columns import pagescan

    room = _PAGES
    while True:
        table, odd = np.empty((room, 7), np.int64), np.zeros(len(names), bool)
        count = pagescan.pages(address(raw), starts, ends, table, odd, False)
        if count >= 0:
            break
        room *= 4
    if odd.all():
        return None
    table = table[:count]
    table[:, pagescan.CHUNK] = (np.cumsum(~odd) - 1)[table[:, pagescan.CHUNK]]
    names = tuple(name for name, left in zip(names, odd.tolist(), strict=True) if not left)
    required = required[~odd]
    unpacked = _unpacked(raw, table, packing)
    if unpacked is None:
        return None
    sizes = table[:, pagescan.SIZE]
    addresses = unpacked.address + np.cumsum(sizes) - sizes
    values, texts = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    size = pagescan.counted(table, addresses, required, rows, values, texts)
    if size < 0 or 4 * int(texts.sum()) > size:  # how long a text is takes four bytes
        return None
    firsts, heads = np.append(0, np.cumsum(values)), np.append(0, np.cumsum(texts + 1))
    if 4 * int(firsts[-1]) > MOST_BYTES:
        return None
    words = np.zeros((len(names), (rows + 63) // 64), np.uint64)
    ranks = np.empty(words.shape, np.int32)
    codes, bounds = np.empty(int(firsts[-1]), np.int32), np.zeros(int(heads[-1]), np.int32)
    data = np.empty(size, np.uint8)
    used = pagescan.columns(table, addresses, required, firsts, heads, words, ranks, codes, bounds, data)
    if used < 0 or not readable(data, bounds):
        return None
    return Text(names, rows, words, ranks, codes, firsts, heads, texts, bounds, data)


def _unpacked(raw: Array, table: Array, packing: str) -> pa.Buffer | None:
    """The pages' bytes behind one another; None when they are not as many as they say, or more than there may be."""
    from csirt.detect.columns import pagescan

    starts, sizes, full = (table[:, place] for place in (pagescan.START, pagescan.PACKED, pagescan.SIZE))
    total = int(full.sum())
    if total > MOST_BYTES:
        return None
    if packing == "SNAPPY":
        whole, codec = pa.py_buffer(raw), pa.Codec("snappy")
        edges = zip(starts.tolist(), sizes.tolist(), full.tolist(), strict=True)
        found = pa.py_buffer(b"".join(codec.decompress(whole.slice(at, size), most) for at, size, most in edges))
        return found if found.size == total else None
    packed = raw[: pagescan.joined(raw, starts, sizes)]  # in its place: fresh memory costs more than the move
    if packing == "UNCOMPRESSED":
        return pa.py_buffer(packed) if len(packed) == total else None
    # One stream for all: to begin one costs more than most pages hold.
    with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(packed)), "zstd") as stream:
        found = stream.read_buffer(total)
        return found if found.size == total and not stream.read(1) else None
