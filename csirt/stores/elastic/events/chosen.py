"""Sets of event ids: from hits and tables, packed for the catalogue, and as rows of the lake again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Array, Batch, duplicates
from csirt.stores.embedded.lake import read

if TYPE_CHECKING:
    from csirt.stores.embedded.lake.parts import Part
    from csirt.stores.embedded.store import EmbeddedStore

# A set is an array of (segment, ordinal), sorted, each once.


def of_ids(ids: pa.Array | pa.ChunkedArray) -> Array:
    """The set of some ids as text; what is no event id is left out."""
    texts = pc.drop_null(pc.unique(ids))
    texts = texts.filter(pc.match_substring_regex(texts, "^[0-9a-f]{32}$"))
    return of_texts(texts.to_pylist())


def of_texts(texts: list[str]) -> Array:
    """The set of some event ids."""
    raw = bytes.fromhex("".join(texts))
    return _sorted(np.frombuffer(raw, ">u8").reshape(-1, 2).astype(np.uint64))


def of_table(table: pa.Table) -> Array:
    """The set of a table's rows, without records of flows that other records count already."""
    twice = duplicates(table)
    if twice is not None:
        table = table.filter(pa.array(~twice))
    segment = table.column("csirt.segment").combine_chunks()
    names = segment if pa.types.is_dictionary(segment.type) else segment.dictionary_encode()
    if isinstance(names, pa.ChunkedArray):
        names = names.unify_dictionaries().combine_chunks()
        names = names.chunk(0) if isinstance(names, pa.ChunkedArray) and names.num_chunks else names
    if not table.num_rows:
        return np.empty((0, 2), np.uint64)
    numbers = np.array([int(name, 16) for name in names.dictionary.to_pylist()], np.uint64)
    found = np.empty((table.num_rows, 2), np.uint64)
    found[:, 0] = numbers[np.asarray(names.indices)]
    found[:, 1] = np.asarray(table.column("csirt.ordinal").to_numpy())
    return _sorted(found)


def union(sets: list[Array]) -> Array:
    """All of them in one set."""
    return _sorted(np.concatenate([np.empty((0, 2), np.uint64), *sets]))


def _sorted(found: Array) -> Array:
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    keep = np.ones(len(found), bool)
    keep[1:] = (found[1:] != found[:-1]).any(axis=1)
    return np.ascontiguousarray(found[keep])


def pack(found: Array) -> bytes:
    """A set in few bytes: neighbours differ by little."""
    steps = np.diff(found, axis=0, prepend=np.zeros((1, 2), np.uint64))  # wraps where a segment ends
    return zlib.compress(np.ascontiguousarray(steps.T).tobytes(), 1)


def unpack(data: bytes) -> Array:
    """The set that was packed."""
    steps = np.frombuffer(zlib.decompress(data), np.uint64).reshape(2, -1)
    return np.ascontiguousarray(np.cumsum(steps, axis=1, dtype=np.uint64).T)


def rows(store: EmbeddedStore, wanted: Array) -> Iterator[tuple[Part, Batch]]:
    """The rows of a set that are in the lake for good, table by table, with the part they are in."""
    if not len(wanted):
        return
    segments, starts = np.unique(wanted[:, 0], return_index=True)
    members = dict(zip((f"{number:016x}" for number in segments), np.split(wanted[:, 1], starts[1:]), strict=True))
    chosen = read.Chosen.of(members)
    with store.keeper.lease():
        parts: dict[int, Part] = {}
        for name, ordinals in members.items():
            bounds = f"{name}{int(ordinals[0]):016x}", f"{name}{int(ordinals[-1]):016x}"
            with store.reading_parts(between=bounds, fresh=False) as found:
                parts |= {part.id: part for part in found}
        for _, part in sorted(parts.items()):
            for table in read.tables(store.lake, part):
                kept = chosen.filter(table)
                if kept.num_rows:
                    yield part, Batch(part.dataset, kept)
