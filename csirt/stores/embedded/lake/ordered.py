"""Rows of many parts in the order of a key, with only overlapping parts in memory at a time.

Parts of a segment follow each other in ordinal order, except where a decoder held something back, and parts of a time
range nearly do: what is below the least key of every part not yet read is settled and can be given out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from csirt.model import ecs
from csirt.model.batch import Array, Batch, event_ids
from csirt.model.ndjson import render
from csirt.stores.embedded.lake import parts, read
from csirt.stores.embedded.lake.describe import spans
from csirt.stores.embedded.lake.encode import ROW_GROUP

_HIDDEN = ("event.ingested", "log.file.path")
_AT_ONCE = 65_536
_SLICE = 8_192
NEVER = -(1 << 63)


@dataclass(slots=True)
class Piece:
    """Rows that can be loaded together. `least`: a lower bound of their keys."""

    least: int
    dataset: str
    load: Callable[[], pa.Table]


Keys = Callable[[pa.Table], tuple[Array, ...]]
Keep = Callable[[Batch], Batch]


def in_order(pieces: list[Piece], keys: Keys) -> Iterator[list[Batch]]:
    """Groups of batches; every key of a group is less than those of later groups. The first of `keys` is the one that
    pieces are bounded by. Within a group rows keep the order of their part."""
    pieces.sort(key=lambda piece: piece.least)
    waiting: list[Batch] = []
    rows = 0
    for index, piece in enumerate(pieces):
        table = piece.load()
        if table.num_rows:
            waiting.append(Batch(piece.dataset, table))
            rows += table.num_rows
        if index + 1 < len(pieces) and rows < _AT_ONCE:
            continue
        bound = pieces[index + 1].least if index + 1 < len(pieces) else None
        ready, waiting = _split(waiting, bound, keys)
        rows = sum(batch.rows for batch in waiting)
        if ready:
            yield ready


def _split(waiting: list[Batch], bound: int | None, keys: Keys) -> tuple[list[Batch], list[Batch]]:
    if bound is None:
        return waiting, []
    ready: list[Batch] = []
    later: list[Batch] = []
    for batch in waiting:
        below = keys(batch.table)[0] < bound
        if below.all():
            ready.append(batch)
        elif not below.any():
            later.append(batch)
        else:
            ready.append(Batch(batch.dataset, batch.table.filter(pa.array(below))))
            later.append(Batch(batch.dataset, batch.table.filter(pa.array(~below))))
    return ready, later


def time_pieces(root: Path, found: list[parts.Part], since: int | None, until: int | None, keep: Keep) -> list[Piece]:
    """The rows of these parts with event time in [since, until) that `keep` lets through, bounded by time."""
    pieces: list[Piece] = []
    for part in found:
        if part.path is None or part.fresh is not None or part.rows <= ROW_GROUP:
            pieces.append(
                Piece(_or_never(part.least), part.dataset, partial(_kept, root, part, None, since, until, keep))
            )
            continue
        with pq.ParquetFile(root / part.path) as file:
            bounds = _time_bounds(file)
        for group, (least, greatest) in enumerate(bounds):
            outside = (since is not None and greatest is not None and greatest < since) or (
                until is not None and least is not None and least >= until
            )
            if not outside:
                load = partial(_kept, root, part, group, since, until, keep)
                pieces.append(Piece(_or_never(least), part.dataset, load))
    return pieces


def _or_never(time: int | None) -> int:
    """Rows without a time sort before all others."""
    return NEVER if time is None else time


def _time_bounds(file: pq.ParquetFile) -> list[tuple[int | None, int | None]]:
    """Least and greatest event time by row group; None where a row may have none."""
    column = file.schema_arrow.get_field_index("@timestamp")
    bounds: list[tuple[int | None, int | None]] = []
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max or statistics.null_count:
            bounds.append((None, None))
        else:
            bounds.append((_micros(statistics.min), _micros(statistics.max)))
    return bounds


def _micros(value: datetime) -> int:
    return pa.scalar(value, ecs.TIME).cast(pa.int64()).as_py()  # type: ignore[no-any-return]


def _kept(
    root: Path, part: parts.Part, group: int | None, since: int | None, until: int | None, keep: Keep
) -> pa.Table:
    found = [read.row_group(root / str(part.path), group)] if group is not None else list(read.tables(root, part))
    kept = [keep(Batch(part.dataset, read.between(table, since, until))).table for table in found]
    return kept[0] if len(kept) == 1 else pa.concat_tables(kept)


def rendered(group: list[Batch], keys: Keys) -> Iterator[tuple[str, bytes]]:
    """(event id, NDJSON line) of a group's rows, sorted by their keys; only a few thousand lines are in memory."""
    ordered = [_sorted(batch, keys) for batch in group if batch.rows]
    if len(ordered) == 1:
        for batch in _slices(ordered[0]):
            yield from zip(event_ids(batch.table).to_pylist(), render(batch), strict=True)
        return
    for _, id, line in heapq.merge(*(_keyed(batch, keys) for batch in ordered), key=itemgetter(0)):
        yield id, line


def _sorted(batch: Batch, keys: Keys) -> Batch:
    order = np.lexsort(keys(batch.table)[::-1])
    if (order == np.arange(len(order))).all():
        return batch
    return Batch(batch.dataset, batch.table.take(pa.array(order)))


def _slices(batch: Batch) -> Iterator[Batch]:
    for start in range(0, batch.rows, _SLICE):
        yield Batch(batch.dataset, batch.table.slice(start, _SLICE))


def _keyed(batch: Batch, keys: Keys) -> Iterator[tuple[tuple[Any, ...], str, bytes]]:
    for part in _slices(batch):
        columns = [column.tolist() for column in keys(part.table)]
        names = event_ids(part.table).to_pylist()
        yield from zip(zip(*columns, strict=True), names, render(part), strict=True)


def ordinals(table: pa.Table) -> tuple[Array, ...]:
    """The order within a segment."""
    return (np.asarray(table.column("csirt.ordinal").to_numpy()),)


def event_lines(root: Path, connection: apsw.Connection) -> Iterator[bytes]:
    """The dump's lines of all events, sorted by id, from the catalogue's snapshot."""
    pieces: dict[str, list[Piece]] = {}
    for part in parts.select(connection):
        for segment, piece in _segment_pieces(root, part):
            pieces.setdefault(segment, []).append(piece)
    for segment in sorted(pieces):
        for group in in_order(pieces.pop(segment), ordinals):
            for id, text in rendered(group, ordinals):
                yield b'{"event":' + text.rstrip(b"\n") + b',"id":"' + id.encode() + b'","kind":"event"}\n'


def _segment_pieces(root: Path, part: parts.Part) -> Iterator[tuple[str, Piece]]:
    """A part's rows by segment and row group; only identities are read here."""
    if part.path is None or part.fresh is not None:
        for table in read.tables(root, part, set(read.IDENTITY)):
            for span in spans(table):
                yield span.segment, Piece(span.least, part.dataset, partial(_from_part, root, part, span.segment))
        return
    path = root / part.path
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            found = file.read_row_group(group, columns=["csirt.segment", "csirt.ordinal"], use_threads=False)
            for span in spans(found):
                yield span.segment, Piece(span.least, part.dataset, partial(_from_file, path, group, span.segment))


def _from_part(root: Path, part: parts.Part, segment: str) -> pa.Table:
    (table,) = read.tables(root, part)
    return _visible(table, segment)


def _from_file(path: Path, group: int, segment: str) -> pa.Table:
    return _visible(read.row_group(path, group), segment)


def _visible(table: pa.Table, segment: str) -> pa.Table:
    """The rows of a segment, without what the dump leaves out."""
    table = table.drop_columns([name for name in _HIDDEN if name in table.column_names])
    same = pc.equal(pc.cast(table.column("csirt.segment"), pa.string()), segment)
    return table if pc.all(same).as_py() else table.filter(same)
