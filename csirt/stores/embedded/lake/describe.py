"""What the catalogue says of a table's rows: their times, and the segments they come from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model import ecs
from csirt.stores.embedded.lake.parts import Fresh, Part, Span


def times(table: pa.Table) -> tuple[int | None, int | None]:
    """Least and greatest event time in microseconds; None when a row may have none, so that no reader skips it."""
    if "@timestamp" not in table.column_names or table.column("@timestamp").null_count:
        return None, None
    bounds = pc.min_max(pc.cast(table.column("@timestamp"), pa.int64())).as_py()
    return bounds["min"], bounds["max"]


def spans(table: pa.Table) -> list[Span]:
    """The segments of a table with their ordinals' bounds."""
    segment = table.column("csirt.segment")
    if not pa.types.is_dictionary(segment.type):
        segment = segment.dictionary_encode()
    segment = segment.unify_dictionaries().combine_chunks()
    if isinstance(segment, pa.ChunkedArray):
        segment = segment.chunk(0) if segment.num_chunks else pa.array([], segment.type)
    if not len(segment):
        return []
    codes = np.asarray(segment.indices)
    ordinals = np.asarray(table.column("csirt.ordinal").to_numpy())
    names = segment.dictionary.to_pylist()
    if (codes == codes[0]).all():
        return [Span(names[codes[0]], int(ordinals.min()), int(ordinals.max()), len(codes))]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=codes[order[0]] - 1))
    sizes = np.diff(starts, append=len(codes))
    least = np.minimum.reduceat(ordinals[order], starts)
    greatest = np.maximum.reduceat(ordinals[order], starts)
    return [
        Span(names[codes[order[start]]], int(low), int(high), int(size))
        for start, low, high, size in zip(starts, least, greatest, sizes, strict=True)
    ]


def describe(dataset: str, table: pa.Table, received: int) -> Part:
    """A part for the rows of a table, not yet written."""
    least, greatest = times(table)
    return Part(dataset, received, table.num_rows, least, greatest, spans=spans(table), fresh=_fresh(table))


def _fresh(table: pa.Table) -> Fresh | None:
    """When the rows of a table that waits to be settled are due."""
    if ecs.DUE not in table.column_names:
        return None
    bounds = pc.min_max(pc.cast(table.column(ecs.DUE), pa.int64())).as_py()
    return Fresh(bounds["min"], bounds["max"], table.num_rows)
