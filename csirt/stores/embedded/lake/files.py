"""Parquet and Arrow IPC bytes of a table, and files that are either wholly on the disk or not there."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from csirt.clock import iso
from csirt.stores.embedded.faults import guarded

ROW_GROUP = 131_072
_STATISTICS = ("@timestamp", "csirt.ordinal")


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
    }


def to_parquet(table: pa.Table) -> pa.Buffer:
    """A table as the bytes of a Parquet file, in memory."""
    sink = pa.BufferOutputStream()
    pq.write_table(compact(table), sink, row_group_size=ROW_GROUP, **parquet_options(table.schema))
    return sink.getvalue()


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


def to_ipc(table: pa.Table) -> bytes:
    """A table as a compressed Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    options = ipc.IpcWriteOptions(compression="zstd", unify_dictionaries=True)
    with ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(compact(table).combine_chunks())
    return bytes(sink.getvalue())


def from_ipc(data: bytes) -> pa.Table:
    """The table of an Arrow IPC stream."""
    with ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_all()


def checksum(data: Any) -> str:
    """SHA-256 in hex of bytes or an Arrow buffer."""
    return hashlib.sha256(data).hexdigest()


def checksum_of(path: Path) -> str:
    """SHA-256 in hex of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def new_name(dataset: str, received: int) -> str:
    """A fresh path of a Parquet file inside the lake: `<dataset>/<hour of receipt>/<random>.parquet`."""
    return f"{dataset}/{iso(received)[:13]}/{secrets.token_hex(8)}.parquet"


def place(root: Path, name: str, data: Any) -> None:
    """Write a file so that after return it survives a power cut, and before return it has no name of its own."""
    path = root / name
    temporary = path.with_suffix(".tmp")
    with guarded("writing an event file"):
        handle = _create(root, temporary)
        try:
            try:
                view = memoryview(data)
                while view.nbytes:
                    view = view[os.write(handle, view) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _create(root: Path, path: Path) -> int:
    """A new file; its folder may just have been removed because it was empty."""
    while True:
        make_folder(root, path.parent)
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue


def settle(path: Path, final: Path) -> None:
    """Sync a written file, give it its name, sync its folder."""
    with guarded("writing an event file"):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        path.rename(final)
        sync_folder(final.parent)


def make_folder(root: Path, folder: Path) -> None:
    """Create a folder below `root` and sync the parents it was created in."""
    if folder.is_dir():
        return
    if folder != root:
        make_folder(root, folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
