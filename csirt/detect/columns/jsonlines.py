"""NDJSON to columns at once, where a column reader sees exactly what reading line by line would; the rest line by line.

Arrow's reader knows one type per column and no difference between absent and null: the lines that hold a null are read
a second time for where it is. A piece of the file whose columns mix types, or that is odd in another way, is left to
the reader of single lines, which also says what is wrong with it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

# Lines are taken in pieces of about so many bytes.
PIECE = 16 << 20
EXACT = 2.0**53


def pieces(stream: BinaryIO, size: int = PIECE) -> Iterator[bytes]:
    """Whole lines, about `size` bytes of them at a time."""
    rest = b""
    while True:
        read = stream.read(size)
        if not read:
            break
        whole, found, tail = read.rpartition(b"\n")
        if found:
            yield rest + whole
            rest = tail
        else:
            rest += read
    if rest:
        yield rest


def columns(raw: bytes) -> tuple[pa.Table, dict[str, list[int]]] | None:
    """The events of whole lines as a table, one row per line that is not blank, and by field (with dots) the rows where
    it is present and null; None: read them line by line."""
    if not raw.strip() or b"\0" in raw:
        return None
    try:
        if not raw.isascii():
            raw.decode("utf-8")
        table = _read(raw, None)
        if any(pa.types.is_temporal(kind) for kind in _leaves(table.schema)):
            table = _read(raw, _as_text(table.schema))
        if table.num_rows != raw.count(b"\n") + (raw[-1:] != b"\n") and table.num_rows != len(_lines(raw)):
            return None
        if not all(_exact(field.type, table.column(place)) for place, field in enumerate(table.schema)):
            return None
        nulls = _nulls(raw) if b"null" in raw and _NULL.search(raw) else {}
    except (pa.ArrowException, ValueError):
        return None
    return None if nulls is None else (table, nulls)


_NULL = re.compile(rb"[:,\[]\s*null\s*[,}\]]")


def _lines(raw: bytes) -> list[bytes]:
    return [line for line in raw.split(b"\n") if line.strip()]


def _nulls(raw: bytes) -> dict[str, list[int]] | None:
    """Where a field is null; None when a list holds one."""
    found: dict[str, list[int]] = {}
    for row, line in enumerate(_lines(raw)):
        if b"null" in line and not _walk(orjson.loads(line), "", row, found):
            return None
    return found


def _walk(event: dict[str, Any], prefix: str, row: int, found: dict[str, list[int]]) -> bool:
    for key, value in event.items():
        name = prefix + key.replace(" ", "")
        if value is None:
            found.setdefault(name, []).append(row)
        elif isinstance(value, dict):
            if not _walk(value, name + ".", row, found):
                return False
        elif isinstance(value, list) and None in value:
            return False
    return True


def _read(raw: bytes, schema: pa.Schema | None) -> pa.Table:
    options = pj.ReadOptions(use_threads=False, block_size=1 << 20)
    return pj.read_json(io.BytesIO(raw), options, pj.ParseOptions(explicit_schema=schema))


def _leaves(schema: Any) -> Iterator[pa.DataType]:
    for field in schema:
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type)
        elif pa.types.is_list(field.type):
            yield from _leaves([pa.field("", field.type.value_type)])
        else:
            yield field.type


def _as_text(schema: Any) -> pa.Schema:
    return pa.schema([pa.field(field.name, _text(field.type)) for field in schema])


def _text(kind: pa.DataType) -> pa.DataType:
    """The type with text in place of times, which Arrow's reader sees in some texts."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _text(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_text(kind.value_type))
    return pa.string() if pa.types.is_temporal(kind) else kind


def _exact(kind: pa.DataType, column: Any) -> bool:
    """Whether the column says what its lines said. Objects in lists have a form of their own; a whole number beyond
    2^53 among fractions would be rounded; and a value that is not there must not hide an empty object or list."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(
            _exact(kind.field(place).type, pc.struct_field(column, place)) for place in range(kind.num_fields)
        )
    if pa.types.is_list(kind):
        inner = kind.value_type
        return not pa.types.is_nested(inner) and not pa.types.is_null(inner) and _exact(inner, pc.list_flatten(column))
    if pa.types.is_floating(kind):
        size = np.abs(np.asarray(column.drop_null().to_numpy()))
        return bool((size < EXACT).all())
    return True
