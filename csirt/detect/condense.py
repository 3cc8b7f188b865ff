"""A batch's hits of a baseline, one row per group and bucket: a baseline over all traffic hands on a few rows, not all.

Condensing is exact: counts and sums add up the same in any pieces, and the row that speaks for a bucket is the one with
the greatest number, of those the first, whichever pieces it comes through. Distinct values stay a row each.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect import buckets
from csirt.detect.held import event_keys
from csirt.detect.rule import Correlation
from csirt.model.batch import Array
from csirt.model.hits import HITS


def condensed(table: pa.Table, item: Correlation) -> pa.Table:
    """The hits of one rule for a baseline, one row per group, bucket and distinct value."""
    settings = item.baseline
    if settings is None or table.num_rows < 2:
        return table
    times = np.asarray(table.column("time").to_numpy())
    codes = np.unique(buckets.starts(times, item.timespan, settings.timezone), return_inverse=True)[1].reshape(-1)
    for name in ("group", "value"):
        own, distinct = _codes(table.column(name))
        codes = codes * distinct + own
    order, firsts = speaking(codes, table)
    kept = table.take(pa.array(order[firsts]))
    counts = np.diff(np.append(firsts, len(order)))
    numbers = np.asarray(pc.fill_null(table.column("number"), 0.0).to_numpy())
    whole = np.floor(numbers)
    parts = np.rint((numbers - whole) * 1e6)
    sums = [np.add.reduceat(item[order], firsts) for item in (whole, parts)]
    for name, values in (("count", counts), ("total", sums[0] + sums[1] / 1e6)):
        kept = kept.set_column(HITS.names.index(name), HITS.field(name), pa.array(values))
    return kept


def speaking(codes: Array, table: pa.Table) -> tuple[Array, Array]:
    """The order by code, then the greatest number, then (time, event); and where in it each code begins."""
    numbers = np.asarray(pc.fill_null(table.column("number"), 0.0).to_numpy())
    high, low = event_keys(table.column("event"))
    order = np.lexsort((low, high, np.asarray(table.column("time").to_numpy()), -numbers, codes))
    return order, np.flatnonzero(np.diff(codes[order], prepend=-1))


def _codes(column: pa.ChunkedArray) -> tuple[Array, int]:
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return np.asarray(encoded.indices.to_numpy()).astype(np.int64), len(encoded.dictionary)
