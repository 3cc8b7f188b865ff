"""An Arrow IPC file written as records come, so that memory does not grow with the input.

A file has one schema and one dictionary per column, and what a later record brings cannot be known. So texts of which
there are few stay dictionaries, with indices of two octets, and others are written out. Codes are never changed, only
added: when a column or a dictionary grows, what follows goes to another file, and at the end all are copied into one
with the last schema and dictionaries. Exports announce their templates first, so there is mostly one; a dictionary that
keeps growing is given up, so there are never many.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Array

FEW = 256  # texts of a column at its first sight, for it to stay a dictionary
MOST = 1 << 15  # what the indices can tell apart
GROWTHS = 4  # times a dictionary may grow
CODES = pa.dictionary(pa.int16(), pa.string())


class Streamed:
    """Tables into one Arrow IPC file, in order. `handle`: where the file shall be; `rewritable`: whether it can be read
    and written again, and is empty."""

    def __init__(self, handle: IO[bytes], *, rewritable: bool) -> None:
        self._handle = handle
        own = f"/proc/self/fd/{handle.fileno()}" if rewritable else ""
        self._rewritable = rewritable
        self._own = own if own and Path(own).exists() else ""  # the file as Arrow writes it, without Python between
        self._texts: dict[str, pa.Array] = {}  # the values so far of columns that are dictionaries
        self._growths: dict[str, int] = {}
        self._schema = pa.schema([])
        self._seen = pa.schema([])  # of the last table
        self._parts: list[str] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Append the rows."""
        table = table.unify_dictionaries()
        if self._grow(table) or self._writer is None:
            self._next_part()
        self._append(table, self._writer)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is None:
            self._next_part()
        self._end_part()
        if self._folder is None:
            return
        with self._folder:
            whole = self._parts[0] if len(self._parts) == 1 else self._joined()
            if self._rewritable:
                self._handle.seek(0)
                self._handle.truncate()
            with Path(whole).open("rb") as source:
                shutil.copyfileobj(source, self._handle, 1 << 20)

    def _joined(self) -> str:
        """All parts in one file, with the last schema and dictionaries."""
        whole = self._place("whole")
        with pa.OSFile(whole, "wb") as file, pa.ipc.new_file(file, self._schema) as writer:
            for part in self._parts:
                with pa.memory_map(part) as mapped, pa.ipc.open_file(mapped) as reader:
                    for number in range(reader.num_record_batches):
                        self._append(pa.Table.from_batches([reader.get_batch(number)]), writer)
        return whole

    def _place(self, name: str) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory()
        return str(Path(self._folder.name) / name)

    def _next_part(self) -> None:
        if self._writer is not None:
            self._end_part()
        first = bool(self._own) and not self._parts
        self._parts.append(self._own if first else self._place(str(len(self._parts))))
        # It is empty; to truncate it all the same would have it written to the disk as soon as it is closed.
        self._file = pa.OSFile(self._parts[-1], "ab")
        self._writer = pa.ipc.new_file(self._file, self._schema)

    def _end_part(self) -> None:
        self._writer.close()
        self._file.close()

    def _grow(self, table: pa.Table) -> bool:
        """Take in the table's columns and texts; whether there was anything new."""
        grown = False
        if not table.schema.equals(self._seen):
            self._seen = table.schema
            known = set(self._schema.names)
            fresh = [self._field(item, table.column(item.name)) for item in table.schema if item.name not in known]
            rest = [pa.field(item.name, _plain(item.type)) for item in table.schema if item.name in known]
            schema = self._merged(fresh, [item for item in rest if item.name not in self._texts])
            grown = not schema.equals(self._schema)
            self._schema = schema
        for name in [name for name in self._texts if name in table.column_names]:
            grown |= self._take(name, table.column(name))
        return grown

    def _merged(self, fresh: list[pa.Field], known: list[pa.Field]) -> pa.Schema:
        schemas = [self._schema, pa.schema(fresh), pa.schema(known)]
        return pa.unify_schemas(schemas, promote_options="permissive")

    def _field(self, item: pa.Field, column: pa.ChunkedArray) -> pa.Field:
        """How a column that was not there before is kept."""
        if not pa.types.is_dictionary(item.type):
            return item
        texts = column.chunk(0).dictionary if column.num_chunks else pa.array([], item.type.value_type)
        if item.type.value_type != pa.string() or len(texts) > FEW:
            return pa.field(item.name, item.type.value_type)
        self._texts[item.name] = texts
        return pa.field(item.name, CODES)

    def _take(self, name: str, column: pa.ChunkedArray) -> bool:
        """Take in the texts of a dictionary column; whether there were new ones."""
        if not column.num_chunks:
            return False
        texts, known = column.chunk(0).dictionary, self._texts[name]
        if texts is known or texts.equals(known[: len(texts)]):
            return False
        fresh = texts.filter(pc.invert(pc.is_in(texts, known)))
        if not len(fresh):
            return False
        growths = self._growths[name] = self._growths.get(name, 0) + 1
        if growths > GROWTHS or len(known) + len(fresh) > MOST:
            del self._texts[name]
            place = self._schema.get_field_index(name)
            self._schema = self._schema.set(place, pa.field(name, pa.string()))
        else:
            self._texts[name] = pa.concat_arrays([known, fresh])
        return True

    def _append(self, table: pa.Table, writer: Any) -> None:
        columns = [self._column(table, item) for item in self._schema]
        writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def _column(self, table: pa.Table, item: pa.Field) -> pa.Array | pa.ChunkedArray:
        index = table.schema.get_field_index(item.name)
        texts = self._texts.get(item.name)
        if texts is None:
            if index < 0:
                return pa.nulls(table.num_rows, item.type)
            column = table.column(index)
            return column if column.type == item.type else column.cast(item.type)
        if index < 0 or not table.column(index).num_chunks:
            return pa.DictionaryArray.from_arrays(pa.nulls(table.num_rows, pa.int16()), texts)
        chunks = [_recoded(chunk, texts) for chunk in table.column(index).chunks]
        return pa.chunked_array(chunks) if len(chunks) > 1 else chunks[0]


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _recoded(column: pa.DictionaryArray, texts: pa.Array) -> pa.DictionaryArray:
    """The column with the codes of `texts`, which has all of its values."""
    own, indices = column.dictionary, column.indices
    valid, data = indices.buffers()
    codes: Array = np.frombuffer(data, f"i{indices.type.bit_width // 8}")[indices.offset :][: len(indices)]
    if not own.equals(texts[: len(own)]):
        table: Array = np.asarray(pc.index_in(own, texts)).astype(np.int16)
        codes = table.take(codes, mode="clip")  # under a null there may be any index
    if valid is not None and indices.offset:
        valid = pa.array(np.zeros(len(indices), np.int8), mask=~indices.is_valid().to_numpy(False)).buffers()[0]
    codes = np.ascontiguousarray(codes, np.int16)
    same = pa.Array.from_buffers(pa.int16(), len(codes), [valid, pa.py_buffer(codes)])
    return pa.DictionaryArray.from_arrays(same, texts)
