"""Rows of parts: projected, and cut to a time range or to event ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from csirt.errors import CsirtError
from csirt.model import ecs
from csirt.model.batch import Array, event_ids
from csirt.stores.embedded.lake.encode import from_ipc, optional
from csirt.stores.embedded.lake.files import FRESH
from csirt.stores.embedded.lake.narrow import widen
from csirt.stores.embedded.lake.parts import Part, parse_id

IDENTITY = ("@timestamp", "csirt.segment", "csirt.ordinal")


def wanted(columns: list[str] | None) -> set[str] | None:
    """The physical columns behind logical names, with those every table carries; None means all."""
    if columns is None:
        return None
    return set(IDENTITY).union(*(ecs.physical(name) for name in columns))


def tables(root: Path, part: Part, columns: set[str] | None = None) -> Iterator[pa.Table]:
    """A part's rows, row group by row group; without those that are in another part since they were settled."""
    if part.fresh is not None:
        yield waiting(root, part, columns).drop_columns(ecs.DUE)
    else:
        yield from everything(root, part, columns)


def waiting(root: Path, part: Part, columns: set[str] | None) -> pa.Table:
    """The rows of a fresh part that are not settled yet, with the time they are due at."""
    assert part.fresh is not None
    (table,) = everything(root, part, None if columns is None else {*columns, ecs.DUE})
    if part.fresh.settled is None:
        return table
    due = pc.cast(table.column(ecs.DUE), pa.int64())
    return table.filter(pc.greater(due, part.fresh.settled))


def everything(root: Path, part: Part, columns: set[str] | None = None) -> Iterator[pa.Table]:
    """A part's rows as they were written, row group by row group."""
    if part.path is None:
        table = from_ipc(part.data or b"")
        yield table if columns is None else table.select([name for name in table.column_names if name in columns])
        return
    path = root / part.path
    try:
        if path.suffix == FRESH:
            yield _arrow(path, columns)
            return
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if columns is None or name in columns]
            for group in range(file.num_row_groups):
                yield optional(file.read_row_group(group, columns=names, use_threads=False).select(names))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CsirtError(f"{path}: the event file cannot be read ({error}); run `csirt store fsck`") from error


def _arrow(path: Path, columns: set[str] | None) -> pa.Table:
    """The rows of an Arrow file, of which only the columns asked for are read."""
    with pa.memory_map(str(path)) as source, ipc.open_file(source) as reader:
        table = reader.read_all()  # nothing is read yet: it is not compressed
        return widen(table.select([name for name in table.column_names if columns is None or name in columns]), columns)


def row_count(root: Path, part: Part) -> int:
    """How many rows a part really has, without reading them when it is a file."""
    if part.path is None:
        return int(from_ipc(part.data or b"").num_rows)
    if part.path.endswith(FRESH):
        return int(_arrow(root / part.path, {"csirt.ordinal"}).num_rows)
    return int(pq.read_metadata(root / part.path).num_rows)


def row_group(path: Path, group: int) -> pa.Table:
    """One row group of a file, all columns."""
    with pq.ParquetFile(path) as file:
        return optional(file.read_row_group(group, use_threads=False))


def between(table: pa.Table, since: int | None, until: int | None) -> pa.Table:
    """Rows with event time in [since, until); rows without a time only when no range is asked for."""
    if (since is None and until is None) or "@timestamp" not in table.column_names:
        return table
    time = pc.cast(table.column("@timestamp"), pa.int64())
    keep = pc.is_valid(time)
    if since is not None:
        keep = pc.and_kleene(keep, pc.greater_equal(time, since))
    if until is not None:
        keep = pc.and_kleene(keep, pc.less(time, until))
    return table if pc.all(keep).as_py() else table.filter(keep)


def ids_between(table: pa.Table, least: str, greatest: str) -> list[str]:
    """Ids of rows from one id to another of the same segment, both included."""
    ordinals = np.asarray(table.column("csirt.ordinal").to_numpy())
    low, high = (np.uint64(int(id[16:], 16)) for id in (least, greatest))
    inside = pa.array((ordinals >= low) & (ordinals <= high))
    rows = table.filter(pc.and_(inside, pc.equal(pc.cast(table.column("csirt.segment"), pa.string()), least[:16])))
    found: list[str] = event_ids(rows).to_pylist()
    return found


class Chosen:
    """A set of event ids that picks rows without making the ids of all rows."""

    def __init__(self, ids: list[str]) -> None:
        by_segment: dict[str, list[int]] = {}
        for id in ids:
            ordinal = parse_id(id)
            if ordinal is not None:
                by_segment.setdefault(id[:16], []).append(ordinal)
        self._ordinals = {name: np.array(sorted(values), np.uint64) for name, values in by_segment.items()}

    @classmethod
    def of(cls, ordinals: dict[str, Array]) -> Chosen:
        """The set of these ordinals, by segment."""
        found = cls([])
        found._ordinals = ordinals
        return found

    def filter(self, table: pa.Table) -> pa.Table:
        """The rows whose id is in the set."""
        segment = pc.cast(table.column("csirt.segment"), pa.string())
        ordinals = np.asarray(table.column("csirt.ordinal").to_numpy())
        keep = np.zeros(table.num_rows, bool)
        for name, chosen in self._ordinals.items():
            inside = np.isin(ordinals, chosen)
            if inside.any():
                same = pc.fill_null(pc.equal(segment, name), False)
                keep |= inside & np.asarray(same.to_numpy(zero_copy_only=False), bool)
        return table.filter(pa.array(keep))
