"""Parquet and Arrow IPC bytes of a table."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from csirt.stores.embedded.lake.narrow import narrow

ROW_GROUP = 131_072
_STATISTICS = ("@timestamp", "csirt.ordinal")
# A page costs its reader more than what most of them hold: one to a column, where pyarrow (from 23 on) would cut more.
_PAGES = {"max_rows_per_page": ROW_GROUP} if "max_rows_per_page" in signature(pq.ParquetWriter).parameters else {}


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How a table is written. Measured on flow batches: dictionaries only for repeated text, and every number as byte
    planes before zstd 1, cost half of pyarrow's defaults in time and take a third less room; statistics are kept only
    where reading skips row groups by them."""
    dictionary: list[str] = []
    planes: list[str] = []
    for field in schema:
        kind = field.type
        if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
            dictionary.append(field.name)
        elif pa.types.is_list(kind):
            dictionary.append(f"{field.name}.list.element")
        elif pa.types.is_timestamp(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
            planes.append(field.name)
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": dictionary or False,
        "column_encoding": dict.fromkeys(planes, "BYTE_STREAM_SPLIT") or None,
        "write_statistics": [name for name in _STATISTICS if name in schema.names] or False,
        "write_batch_size": 65_536,
        "data_page_size": 4 << 20,
        **_PAGES,
    }


def to_parquet(table: pa.Table) -> pa.Buffer:
    """A table as the bytes of a Parquet file, in memory."""
    sink = pa.BufferOutputStream()
    pq.write_table(_required(compact(table)), sink, row_group_size=ROW_GROUP, **parquet_options(table.schema))
    return sink.getvalue()


def _required(table: pa.Table) -> pa.Table:
    """The same table, its columns without a null declared so: nothing need be written about which rows have a value."""
    fields = [
        field.with_nullable(column.null_count > 0) for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields, metadata=table.schema.metadata))


def optional(table: pa.Table) -> pa.Table:
    """The same table, every column nullable: what a file declares of its own rows says nothing of others."""
    if all(field.nullable for field in table.schema):
        return table
    fields = [field.with_nullable(True) for field in table.schema]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields, metadata=table.schema.metadata))


def compact(table: pa.Table) -> pa.Table:
    """The same table without dictionary entries that no row uses, where they would weigh more than the rows: a few
    rows cut from a large batch still carry all of its texts."""
    table = one_dictionary(table)
    for index, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type) or not table.num_rows:
            continue
        texts = table.column(index).chunk(0).dictionary
        if len(texts) <= max(64, table.num_rows // 8):
            continue
        column = table.column(index).combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        used = np.bincount(np.asarray(column.indices.drop_null()), minlength=len(texts)) > 0
        moved = pa.array((np.cumsum(used) - 1).astype(np.int32)).take(column.indices)
        slim = pa.DictionaryArray.from_arrays(moved, texts.filter(pa.array(used)))
        table = table.set_column(index, field, slim)
    return table


def one_dictionary(table: pa.Table) -> pa.Table:
    """The same table with one dictionary per dictionary column, as Parquet and Arrow IPC streams need it."""
    if any(column.num_chunks > 1 and pa.types.is_dictionary(column.type) for column in table.itercolumns()):
        return table.unify_dictionaries()
    return table


def to_ipc(table: pa.Table, compression: str = "zstd") -> bytes:
    """A table as a compressed Arrow IPC stream; `lz4` costs a third of zstd and takes half as much room again."""
    sink = pa.BufferOutputStream()
    options = ipc.IpcWriteOptions(compression=compression, unify_dictionaries=True)
    with ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(compact(table).combine_chunks())
    return bytes(sink.getvalue())


def to_file(table: pa.Table) -> pa.Buffer:
    """A table as the bytes of an Arrow IPC file, in memory: the cheapest form there is, for rows that are written again
    soon. Measured on flow batches: a sixteenth of what Parquet costs in time, at three times its room."""
    sink = pa.BufferOutputStream()
    table = narrow(one_dictionary(table))
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def from_ipc(data: bytes) -> pa.Table:
    """The table of an Arrow IPC stream."""
    with ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_all()
