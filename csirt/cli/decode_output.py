"""Where `csirt decode` writes: NDJSON and Arrow as it goes, CSV and Parquet when all is known."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from csirt.cli.decode_arrow import Streamed
from csirt.errors import Usage
from csirt.model import ndjson
from csirt.model.batch import Batch
from csirt.safety import csv_line

WAIT_ROWS = 2_000_000  # rows kept back for records that wait for their template, so that lines come in frame order


@contextmanager
def open_output(form: str, target: str | None, dataset: str) -> Iterator[Output]:
    """The writer for that form; a file that could not be written whole is removed."""
    binary = form in ("parquet", "arrow")
    if target is None and binary and sys.stdout.isatty():
        raise Usage(f"{form} is not for terminals: add -o FILE")
    if target is None:
        yield _kind(form)(sys.stdout.buffer, dataset)
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    try:
        handle = path.open("w+b")
    except OSError as error:
        raise Usage(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with handle:
            yield _kind(form)(handle, dataset)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _kind(form: str) -> type[Output]:
    return {"ndjson": Lines, "csv": Csv, "parquet": Tables, "arrow": Arrow}[form]


class Output:
    """Takes batches in order. `records` by dataset, and the raw `octets` and `packets` of all flows, both directions
    of those that have two, are counted before `--dataset` chooses."""

    def __init__(self, handle: IO[bytes], dataset: str) -> None:
        self.handle = handle
        self.dataset = dataset
        self.records: dict[str, int] = {}
        self.octets = 0
        self.packets = 0

    def add(self, batches: list[Batch], *, settled: bool) -> None:
        """Count and write. `settled`: no earlier record can still come."""
        if self.dataset != "self":  # what is said of the exporters is in no record of theirs
            batches = [batch for batch in batches if batch.dataset != "self"]
        for batch in batches:
            self.records[batch.dataset] = self.records.get(batch.dataset, 0) + batch.rows
            if batch.dataset == "flow":
                for direction in ("network", "csirt.flow.reverse"):
                    octets, packets = raw_sums(batch.table, direction)
                    self.octets += octets
                    self.packets += packets
        chosen = [batch for batch in batches if batch.rows and self.dataset in ("", batch.dataset)]
        self.put(chosen, settled)

    def put(self, batches: list[Batch], settled: bool) -> None:
        """Write, now or later."""
        raise NotImplementedError

    def close(self) -> None:
        """Write what waits."""


def raw_sums(table: pa.Table, direction: str = "network") -> tuple[int, int]:
    """The sums of the octets and packets of a direction as they were on the wire: with the sampling rate taken out
    again."""
    places = [table.schema.get_field_index(f"{direction}.{name}") for name in ("bytes", "packets")]
    if max(places) < 0 or not table.num_rows:
        return 0, 0
    rates = np.ones(1, np.uint32)
    rate = table.schema.get_field_index("csirt.flow.sampling_rate")
    if rate >= 0:
        rates = _numbers(table.column(rate), 1, np.uint32)
    octets, packets = (_raw_sum(_numbers(table.column(at), 0, np.uint64), rates) if at >= 0 else 0 for at in places)
    return octets, packets


def _raw_sum(values: np.ndarray[Any, Any], rates: np.ndarray[Any, Any]) -> int:
    from csirt.model.totals import total  # compiled code is not for who has no flows

    if rates.min() == rates.max() and int(values.max()) * len(values) < 1 << 64:
        return int(values.sum()) // max(int(rates[0]), 1)  # every value is a multiple of it
    high, low = total(values, rates)
    return (int(high) << 64) + int(low)


def _numbers(column: pa.ChunkedArray, absent: int, kind: type) -> np.ndarray[Any, Any]:
    values = pc.fill_null(column, absent) if column.null_count else column
    array = values.chunk(0) if values.num_chunks == 1 else values
    return np.ascontiguousarray(array.to_numpy(), kind)


class Lines(Output):
    """NDJSON, in file, frame, record order over all datasets."""

    def __init__(self, handle: IO[bytes], dataset: str) -> None:
        super().__init__(handle, dataset)
        self._waiting: list[Batch] = []
        self._rows = 0
        self._order: dict[str, int] = {}

    def put(self, batches: list[Batch], settled: bool) -> None:
        """Write once nothing earlier can come any more."""
        self._waiting += batches
        self._rows += sum(batch.rows for batch in batches)
        if settled or self._rows > WAIT_ROWS:
            self.close()

    def close(self) -> None:
        """Write what waits, merged."""
        batches, self._waiting, self._rows = self._waiting, [], 0
        if not batches:
            return
        keys = [self._keys(batch.table) for batch in batches]
        files, ordinals = (np.concatenate([key[i] for key in keys]) for i in range(2))
        order = np.lexsort((ordinals, files))
        if (order[1:] > order[:-1]).all():
            for batch in batches:
                ndjson.write(batch, self.handle.write)
            return
        lines = [line for batch in batches for line in ndjson.render(batch)]
        self.write(b"".join(lines[i] + b"\n" for i in order.tolist()))

    def write(self, text: bytes) -> None:
        """Whole lines."""
        self.handle.write(text)

    def _keys(self, table: pa.Table) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Each row's file number, in order of first sight, and ordinal."""
        segments = table.column("csirt.segment").combine_chunks()
        segments = segments if pa.types.is_dictionary(segments.type) else segments.dictionary_encode()
        numbers = [self._order.setdefault(name, len(self._order)) for name in segments.dictionary.to_pylist()]
        files = np.array(numbers, np.int64)[segments.indices.to_numpy(zero_copy_only=False)]
        return files, np.asarray(table.column("csirt.ordinal").to_numpy())


class _One(Output):
    """One dataset."""

    def put(self, batches: list[Batch], settled: bool) -> None:
        """Take the rows."""
        if not self.dataset and sum(1 for rows in self.records.values() if rows) > 1:
            names = ", ".join(sorted(name for name, rows in self.records.items() if rows))
            raise Usage(f"there is more than one dataset ({names}): add --dataset NAME, or write NDJSON")
        for batch in batches:
            self.take(batch.table)

    def take(self, table: pa.Table) -> None:
        """Rows of the one dataset."""
        raise NotImplementedError


class _Gathered(_One):
    """One dataset whose columns must all be known before the first row is written."""

    def __init__(self, handle: IO[bytes], dataset: str) -> None:
        super().__init__(handle, dataset)
        self._tables: list[pa.Table] = []

    def take(self, table: pa.Table) -> None:
        """Keep the rows."""
        self._tables.append(table)

    def table(self) -> pa.Table | None:
        """All rows, with null where a batch lacks a column, in file, frame, record order."""
        if not self._tables:
            return None
        return pa.concat_tables(self._tables, promote_options="permissive").unify_dictionaries()


class Tables(_Gathered):
    """Parquet with the physical columns of the schema."""

    def close(self) -> None:
        """Write everything."""
        import pyarrow.parquet as pq

        table = self.table()
        pq.write_table(table if table is not None else pa.table({}), self.handle, compression="zstd")


class Arrow(_One):
    """An Arrow IPC file with the physical columns of the schema, written as the rows come."""

    def __init__(self, handle: IO[bytes], dataset: str) -> None:
        super().__init__(handle, dataset)
        self._out = Streamed(handle, rewritable=handle is not sys.stdout.buffer)

    def take(self, table: pa.Table) -> None:
        """Write the rows."""
        self._out.write(table)

    def close(self) -> None:
        """Finish the file."""
        self._out.close()


class Csv(_Gathered):
    """CSV of the logical columns, every cell safe for spreadsheets."""

    def close(self) -> None:
        """Write everything."""
        table = self.table()
        if table is None:
            return
        name = self.dataset or next(name for name, rows in self.records.items() if rows)
        batch = Batch(name, table.combine_chunks())
        columns = ndjson.texts(batch)
        names = sorted(columns)
        self.handle.write((",".join(f'"{key}"' for key in names) + "\n").encode())
        cells = [_cells(columns[key], batch.rows) for key in names]
        for row in zip(*cells, strict=True):
            self.handle.write((csv_line(list(row)) + "\n").encode())


def _cells(value: pa.Array | str, rows: int) -> list[object]:
    if isinstance(value, str):
        return [_cell(value)] * rows
    known = {text: _cell(text) for text in pc.unique(value).to_pylist()}
    return [known[text] for text in value.to_pylist()]


def _cell(text: str | None) -> object:
    if text is None:
        return ""
    value = orjson.loads(text)
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return value if isinstance(value, str) else text
