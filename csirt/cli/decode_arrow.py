"""An Arrow IPC file written as records come, so that memory does not grow with the input.

A file has one schema and one dictionary per column, and what a later record brings cannot be known. So texts of which
there are few stay dictionaries, with indices of one or two octets, and others are written out. Codes are never
changed, only added: when a column or a dictionary grows, what follows goes to another file, and at the end all are
copied into one with the last schema and dictionaries. Exports announce their templates first, so there is mostly one; a
dictionary that keeps growing is given up, so there are never many.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.cli.arrow_file import ArrowFile
from csirt.model.batch import Array

FEW = 256  # texts of a column at its first sight, for it to stay a dictionary
LEAST, MOST = 1 << 7, 1 << 15  # what indices of one octet and of two can tell apart
GROWTHS = 4  # times a dictionary may grow


class Streamed:
    """Tables into one Arrow IPC file, in order. `handle`: where the file shall be; `rewritable`: whether it can be read
    and written again, and is empty."""

    def __init__(self, handle: IO[bytes], *, rewritable: bool) -> None:
        self._handle = handle
        self._rewritable = rewritable and stat.S_ISREG(os.fstat(handle.fileno()).st_mode)
        self._texts: dict[str, pa.Array] = {}  # the values so far of columns that are dictionaries
        self._growths: dict[str, int] = {}
        self._schema = pa.schema([])
        self._seen = pa.schema([])  # of the last batch
        self._coded: list[str] = []  # its columns that are dictionaries
        self._places: dict[str, Array | None] = {}  # where their texts are among ours, None: in the same order
        self._columns: list[tuple[str, pa.DataType]] = []  # of the file
        self._parts: list[IO[bytes]] = []
        self._writer: ArrowFile | None = None

    def write(self, table: pa.Table) -> None:
        """Append the rows."""
        batches = table.to_batches()
        if len(batches) > 1:
            batches = table.unify_dictionaries().combine_chunks().to_batches()
        first = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
        if self._grow(first) or self._writer is None:
            self._next_part()
        assert self._writer is not None
        for batch in batches:
            self._writer.write(self._arranged(batch))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is None:
            self._next_part()
        self._end_part()
        if self._parts == [self._handle]:
            return
        with contextlib.ExitStack() as stack:
            for part in self._parts:
                if part is not self._handle:
                    stack.enter_context(part)
            whole = self._parts[0] if len(self._parts) == 1 else stack.enter_context(self._joined())
            if self._rewritable:
                self._handle.seek(0)
                self._handle.truncate()
            whole.seek(0)
            shutil.copyfileobj(whole, self._handle, 1 << 20)

    def _joined(self) -> IO[bytes]:
        """All parts in one file, with the last schema and dictionaries."""
        whole = tempfile.TemporaryFile()  # noqa: SIM115 closed by the caller
        self._places = {}  # texts were only added
        writer = self._begun(whole)
        for part in self._parts:
            part.seek(0)
            with pa.ipc.open_file(pa.PythonFile(part, "r")) as reader:
                for number in range(reader.num_record_batches):
                    writer.write(self._arranged(reader.get_batch(number)))
        writer.close()
        return whole

    def _next_part(self) -> None:
        if self._writer is not None:
            self._end_part()
        own = self._rewritable and not self._parts
        self._parts.append(self._handle if own else tempfile.TemporaryFile())  # noqa: SIM115 closed at the end
        self._writer = self._begun(self._parts[-1])

    def _end_part(self) -> None:
        assert self._writer is not None
        self._writer.close()

    def _begun(self, file: IO[bytes]) -> ArrowFile:
        columns = [self._absent(name, kind, 1) for name, kind in self._columns]
        return ArrowFile(file.fileno(), pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def _grow(self, batch: pa.RecordBatch) -> bool:
        """Take in the batch's columns and texts; whether there was anything new."""
        grown = False
        schema = batch.schema
        if not schema.equals(self._seen):
            self._seen = schema
            known = set(self._schema.names)
            fresh = [self._field(item, batch.column(item.name)) for item in schema if item.name not in known]
            rest = [pa.field(item.name, _plain(item.type)) for item in schema if item.name in known]
            merged = self._merged(fresh, [item for item in rest if item.name not in self._texts])
            grown = not merged.equals(self._schema)
            self._schema = merged
            self._coded = [name for name in self._texts if name in schema.names]
        for name in self._coded:
            grown |= name in self._texts and self._take(name, batch.column(name))
        if grown:
            self._columns = [(item.name, item.type) for item in self._schema]
        return grown

    def _merged(self, fresh: list[pa.Field], known: list[pa.Field]) -> pa.Schema:
        schemas = [self._schema, pa.schema(fresh), pa.schema(known)]
        return pa.unify_schemas(schemas, promote_options="permissive")

    def _field(self, item: pa.Field, column: pa.Array) -> pa.Field:
        """How a column that was not there before is kept."""
        if not pa.types.is_dictionary(item.type):
            return item
        texts = column.dictionary
        if item.type.value_type != pa.string() or len(texts) > FEW:
            return pa.field(item.name, item.type.value_type)
        self._texts[item.name] = texts
        return pa.field(item.name, _codes(texts))

    def _take(self, name: str, column: pa.DictionaryArray) -> bool:
        """Take in the texts of a dictionary column; whether there were new ones."""
        texts, known = column.dictionary, self._texts[name]
        self._places[name] = None
        if texts.equals(known[: len(texts)]):
            return False
        places = pc.index_in(texts, known)
        if not places.null_count:
            self._places[name] = np.asarray(places)
            return False
        fresh = texts.filter(places.is_null())
        growths = self._growths[name] = self._growths.get(name, 0) + 1
        kind = pa.string()
        if growths > GROWTHS or len(known) + len(fresh) > MOST:
            del self._texts[name]
        else:
            self._texts[name] = pa.concat_arrays([known, fresh])
            self._places[name] = np.asarray(pc.index_in(texts, self._texts[name]))
            kind = _codes(self._texts[name])
        self._schema = self._schema.set(self._schema.get_field_index(name), pa.field(name, kind))
        return True

    def _arranged(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch as the file has it."""
        mine = dict(zip(batch.schema.names, batch.columns, strict=True))
        known: dict[tuple[int, int, int], Array] = {}  # columns of the same codes stay so
        columns = [
            self._column(column, name, kind, known) if (column := mine.get(name)) is not None
            else self._absent(name, kind, batch.num_rows)
            for name, kind in self._columns
        ]  # fmt: skip
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _column(
        self, column: pa.Array, name: str, kind: pa.DataType, known: dict[tuple[int, int, int], Array]
    ) -> pa.Array:
        texts = self._texts.get(name)
        if texts is None:
            return column if column.type.equals(kind) else column.cast(kind)
        return _recoded(column, texts, kind.index_type, self._places.get(name), known)

    def _absent(self, name: str, kind: pa.DataType, rows: int) -> pa.Array:
        """A column that a table does not have."""
        texts = self._texts.get(name)
        if texts is None:
            return pa.nulls(rows, kind)
        return pa.DictionaryArray.from_arrays(pa.nulls(rows, kind.index_type), texts, safe=False)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _codes(texts: pa.Array) -> pa.DataType:
    """The type of a dictionary column with so many values."""
    return pa.dictionary(pa.int8() if len(texts) <= LEAST else pa.int16(), pa.string())


def _recoded(
    column: pa.DictionaryArray,
    texts: pa.Array,
    kind: pa.DataType,
    places: Array | None,
    known: dict[tuple[int, int, int], Array],
) -> pa.DictionaryArray:
    """The column with the codes of `texts`, which has all of its values at these places, as numbers of that kind."""
    indices = column.indices
    valid, data = indices.buffers()
    codes: Array = np.frombuffer(data, f"i{indices.type.bit_width // 8}")[indices.offset :][: len(indices)]
    small = np.dtype(kind.to_pandas_dtype())
    if places is None:
        key = data.address + indices.offset, len(codes), small.itemsize
        if key not in known:
            known[key] = codes.astype(small)
        codes = known[key]
    else:
        codes = places.astype(small).take(codes, mode="clip")
    if valid is not None:
        # Under a null there may be any index: a negative one is a great one.
        codes = np.minimum(codes.view(f"u{small.itemsize}"), max(len(texts) - 1, 0)).view(small)
    if valid is not None and indices.offset:
        valid = pa.array(np.zeros(len(indices), np.int8), mask=~indices.is_valid().to_numpy(False)).buffers()[0]
    same = pa.Array.from_buffers(kind, len(codes), [valid, pa.py_buffer(codes)])
    return pa.DictionaryArray.from_arrays(same, texts, safe=False)
