"""Merging parts: few rows into a file, small files into larger ones, in tiers, within bounded memory.

Files of one dataset and hour of receipt are merged in the order of their commits, so that rows of a segment stay
nearly in ordinal order and event time nearly rises. While the hour runs, eight files of a tier make one of the next;
once it is over, what is left is merged into runs of at most `MOST_ROWS` rows. Each row is rewritten a few times.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from csirt.clock import HOUR, Clock
from csirt.model.stack import conform, union
from csirt.stores.embedded.catalogue.database import Database
from csirt.stores.embedded.faults import guarded
from csirt.stores.embedded.lake import parts, read
from csirt.stores.embedded.lake.encode import ROW_GROUP, one_dictionary, parquet_options
from csirt.stores.embedded.lake.files import checksum_of, drop_unnamed, make_folder, new_name, settle

MOST_ROWS = 4_000_000
FAN_IN = 8


class Merger:
    """Finds files to merge and merges them; the caller sees to it that only one does so at a time."""

    def __init__(self, root: Path, database: Database, clock: Clock, compact_after_us: int) -> None:
        self._root, self._database, self._clock, self._after = root, database, clock, compact_after_us
        self._alone: set[int] = set()  # parts whose columns fit none of their neighbours

    def due(self) -> list[list[parts.Part]]:
        """Groups of files that should become one, oldest first."""
        now = self._clock.now()
        with self._database.reading() as connection:
            found = [part for part in parts.select(connection, files=True, fresh=False) if part.rows < MOST_ROWS]
        groups: list[list[parts.Part]] = []
        for (_, hour), members in groupby(found, key=lambda part: (part.dataset, part.received // HOUR)):
            ripe = [part for part in members if part.received + self._after <= now and part.id not in self._alone]
            if (hour + 1) * HOUR + self._after <= now:
                groups += _runs(ripe, 2)
                continue
            for tier in sorted({part.tier for part in ripe}):
                groups += _runs([part for part in ripe if part.tier == tier], FAN_IN)
        return sorted(groups, key=lambda group: group[0].received)

    def leave(self, group: list[parts.Part]) -> None:
        """Try these parts no more until the next start."""
        self._alone.update(part.id for part in group)

    def merge(self, group: list[parts.Part]) -> list[str]:
        """Merge the longest leading run whose columns fit; returns the paths no longer named."""
        schema: pa.Schema | None = None
        chosen: list[parts.Part] = []
        for part in group:
            wider = union(schema, pq.read_schema(self._root / str(part.path)))
            if wider is None:
                break
            schema, chosen = wider, [*chosen, part]
        if schema is None or len(chosen) < 2:
            self._alone.add(group[0].id)
            return []
        merged = self._write(chosen, schema)
        done = False
        try:
            with self._database.transaction("merging event files") as connection:
                merged.spans = _joined([parts.spans_of(connection, part.id) for part in chosen])
                gone = parts.remove(connection, (part.id for part in chosen))
                if gone == len(chosen):
                    parts.insert(connection, merged)
                    done = True
        finally:
            if not done:
                drop_unnamed(self._root, self._database, [str(merged.path)])
        return [str(part.path) for part in chosen] if done else []

    def _write(self, chosen: list[parts.Part], schema: pa.Schema) -> parts.Part:
        """Stream the rows of the parts into one synced file, a few row groups in memory at a time."""
        first = chosen[0]
        name = new_name(first.dataset, first.received)
        path = self._root / name
        temporary = path.with_suffix(".tmp")
        with guarded("merging event files"):
            make_folder(self._root, path.parent)
            try:
                with pq.ParquetWriter(temporary, schema, **parquet_options(schema)) as writer:
                    self._copy(chosen, schema, writer)
                settle(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        least = [part.least for part in chosen if part.least is not None]
        greatest = [part.greatest for part in chosen if part.greatest is not None]
        return parts.Part(
            first.dataset,
            min(part.received for part in chosen),
            sum(part.rows for part in chosen),
            min(least, default=None),
            max(greatest, default=None),
            size=path.stat().st_size,
            checksum=checksum_of(path),
            tier=max(part.tier for part in chosen) + 1,
            path=name,
        )

    def _copy(self, chosen: list[parts.Part], schema: pa.Schema, writer: pq.ParquetWriter) -> None:
        waiting: list[pa.Table] = []
        rows = 0
        for part in chosen:
            for table in read.tables(self._root, part):
                waiting.append(conform(table, schema))
                rows += table.num_rows
                if rows >= ROW_GROUP:
                    writer.write_table(_one(waiting), row_group_size=ROW_GROUP)
                    waiting, rows = [], 0
        if waiting:
            writer.write_table(_one(waiting), row_group_size=ROW_GROUP)


def _one(tables: list[pa.Table]) -> pa.Table:
    return one_dictionary(pa.concat_tables(tables)).combine_chunks()


def _runs(files: list[parts.Part], least: int) -> list[list[parts.Part]]:
    """Neighbours in commit order, at most MOST_ROWS rows and at least `least` files together."""
    runs: list[list[parts.Part]] = []
    current: list[parts.Part] = []
    rows = 0
    for part in files:
        if current and rows + part.rows > MOST_ROWS:
            runs.append(current)
            current, rows = [], 0
        current.append(part)
        rows += part.rows
    runs.append(current)
    return [run for run in runs if len(run) >= least]


def _joined(lists: list[list[parts.Span]]) -> list[parts.Span]:
    """One span per segment over all parts."""
    joined: dict[str, parts.Span] = {}
    for span in (span for spans in lists for span in spans):
        have = joined.get(span.segment)
        joined[span.segment] = (
            span
            if have is None
            else parts.Span(
                span.segment,
                min(span.least, have.least),
                max(span.greatest, have.greatest),
                span.rows + have.rows,
            )
        )
    return list(joined.values())
