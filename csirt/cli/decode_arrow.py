"""An Arrow IPC file written as records come, so that memory does not grow with the input.

A file has one schema and one dictionary per column, and what a later record brings cannot be known. So only texts of
which there are few stay dictionaries. Codes are never changed, only added: when a column or a dictionary grows, what
follows goes to another file, and at the end all are copied into one with the last schema and dictionaries. Exports
announce their templates first, so there is mostly one.
"""

from __future__ import annotations

import shutil
import tempfile
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Array

# Texts of the exporter, the input and the template; all others can have as many values as there are rows.
FEW = (
    "csirt.segment", "observer.ip", "observer.name", "csirt.flow.sampling_origin", "network.direction",
    "netflow.elements",
)  # fmt: skip


class Streamed:
    """Tables into one Arrow IPC file, in order. `handle`: where the file shall be; `rewritable`: whether it can be read
    and written again, and is empty."""

    def __init__(self, handle: IO[bytes], *, rewritable: bool) -> None:
        self._handle = handle
        self._rewritable = rewritable
        self._texts: dict[str, pa.Array] = {}  # a dictionary column's values so far
        self._schema = pa.schema([])
        self._seen = pa.schema([])  # of the last table
        self._parts: list[IO[bytes]] = []
        self._writer: Any = None
        self._file: Any = None

    def write(self, table: pa.Table) -> None:
        """Append the rows."""
        table = table.unify_dictionaries()
        grown = self._grow(table)
        if grown or self._writer is None:
            self._next_part()
        self._writer.write_table(
            pa.Table.from_arrays([self._column(table, item) for item in self._schema], schema=self._schema)
        )

    def close(self) -> None:
        """Finish the file."""
        if self._writer is None:
            self._next_part()
        self._end_part()
        if len(self._parts) == 1 and self._rewritable:
            return
        if len(self._parts) == 1:
            _copy(self._parts[0], self._handle)
            return
        with tempfile.TemporaryFile() as whole:
            with pa.ipc.new_file(whole, self._schema) as writer:
                for part in self._parts:
                    self._append(part, writer)
            if self._rewritable:
                self._handle.seek(0)
                self._handle.truncate()
            _copy(whole, self._handle)

    def _append(self, part: IO[bytes], writer: Any) -> None:
        part.flush()
        with pa.memory_map(f"/proc/self/fd/{part.fileno()}") as mapped, pa.ipc.open_file(mapped) as reader:
            for number in range(reader.num_record_batches):
                table = pa.Table.from_batches([reader.get_batch(number)])
                columns = [self._column(table, item) for item in self._schema]
                writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def _next_part(self) -> None:
        if self._writer is not None:
            self._end_part()
        first = not self._parts and self._rewritable
        self._parts.append(self._handle if first else tempfile.TemporaryFile())  # noqa: SIM115 closed with the object
        self._file = _unbuffered(self._parts[-1])
        self._writer = pa.ipc.new_file(self._file, self._schema)

    def _end_part(self) -> None:
        self._writer.close()
        if self._file is not self._parts[-1]:
            self._file.close()

    def _grow(self, table: pa.Table) -> bool:
        """Take in the table's columns and texts; whether there was anything new."""
        grown = False
        if not table.schema.equals(self._seen):
            self._seen = table.schema
            schema = pa.unify_schemas([self._schema, _plain(table.schema)], promote_options="permissive")
            grown = not schema.equals(self._schema)
            self._schema = schema
        for item, column in zip(table.schema, table.columns, strict=True):
            if item.name not in FEW or not pa.types.is_dictionary(item.type) or not column.num_chunks:
                continue
            texts, known = column.chunk(0).dictionary, self._texts.get(item.name)
            if known is None:
                self._texts[item.name] = texts
            elif texts is not known and not texts.equals(known[: len(texts)]):
                fresh = texts.filter(pc.invert(pc.is_in(texts, known)))
                if len(fresh):
                    self._texts[item.name] = pa.concat_arrays([known, fresh])
                    grown = True
        return grown

    def _column(self, table: pa.Table, item: pa.Field) -> pa.Array | pa.ChunkedArray:
        index = table.schema.get_field_index(item.name)
        if not pa.types.is_dictionary(item.type):
            if index < 0:
                return pa.nulls(table.num_rows, item.type)
            column = table.column(index)
            return column if column.type == item.type else column.cast(item.type)
        texts = self._texts.get(item.name, pa.array([], item.type.value_type))
        if index < 0 or not table.column(index).num_chunks:
            return pa.DictionaryArray.from_arrays(pa.nulls(table.num_rows, item.type.index_type), texts)
        chunks = [_recoded(chunk, texts) for chunk in table.column(index).chunks]
        return pa.chunked_array(chunks) if len(chunks) > 1 else chunks[0]


def _plain(schema: pa.Schema) -> pa.Schema:
    """The columns as the file has them."""
    fields = [
        pa.field(item.name, item.type.value_type)
        if pa.types.is_dictionary(item.type) and item.name not in FEW
        else pa.field(item.name, item.type)
        for item in schema
    ]
    return pa.schema(fields)


def _unbuffered(handle: IO[bytes]) -> Any:
    """A file for Arrow to write without Python between; the handle itself where there is no /proc."""
    try:
        return pa.OSFile(f"/proc/self/fd/{handle.fileno()}", "wb")
    except OSError:
        return handle


def _recoded(column: pa.DictionaryArray, texts: pa.Array) -> pa.DictionaryArray:
    """The column with the codes of `texts`, which has all of its values."""
    own = column.dictionary
    if own.equals(texts):
        return column
    if own.equals(texts[: len(own)]):
        return pa.DictionaryArray.from_arrays(column.indices, texts)
    codes: Array = np.asarray(pc.index_in(own, texts))
    moved = pc.take(pa.array(codes.astype(np.int32)), column.indices)
    return pa.DictionaryArray.from_arrays(moved, texts)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.flush()
    source.seek(0)
    shutil.copyfileobj(source, target, 1 << 20)
