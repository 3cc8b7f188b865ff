"""A batch as text: nested ECS NDJSON, keys sorted, UTF-8, null left out, with the columns that are computed on read.

Work is done by column and once per distinct value; a line is the join of fragments. A fragment that is not first in its
object starts with the octet 01, which JSON text never holds; it becomes a comma, or nothing after `{`, in one pass over
the whole text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Batch
from csirt.model.ndjson_columns import Texts, logical

ROWS = 50_000  # rows per slice: bounds the memory of the joined text
_MARK = "\x01"
_COMMAS = bytes.maketrans(b"\x01", b",")

Part = pa.Array | str
Tree = dict[str, Any]


def render(batch: Batch) -> Iterator[bytes]:
    """The batch's rows as JSON objects, one at a time, without line ends."""
    for text in blocks(batch):
        yield from text.splitlines()


def blocks(batch: Batch) -> Iterator[bytes]:
    """The batch as NDJSON text with line ends, in pieces of at most ROWS rows: what is fastest to write."""
    for start in range(0, batch.rows, ROWS):
        yield _block(Batch(batch.dataset, batch.table.slice(start, ROWS)))


def _block(batch: Batch) -> bytes:
    tree: Tree = {}
    for name, value in logical(batch).items():
        *outer, last = name.split(".")
        node = tree
        for key in outer:
            node = node.setdefault(key, {})
        node[last] = value
    parts: list[Part] = ["{"]
    _object(tree, parts, Texts())
    parts.append("}\n")
    joined = pc.binary_join_element_wise(*_merged(parts), "", null_handling="replace", null_replacement="")
    if isinstance(joined, pa.Scalar):
        return b""
    first, last = joined.offset, joined.offset + len(joined)
    offsets = memoryview(joined.buffers()[1]).cast("i")
    raw = memoryview(joined.buffers()[2])[offsets[first] : offsets[last]]
    return bytes(raw).replace(b"{\x01", b"{").translate(_COMMAS)


def _object(node: Tree, parts: list[Part], texts: Texts) -> pa.Array | None:
    """Append the members of an object; return which rows have any, None for all of them."""
    present: list[pa.Array] = []
    always = False
    for key in sorted(node):
        value = node[key]
        label = f"{_MARK}{texts.quote(key)}:"
        if isinstance(value, dict):
            inner: list[Part] = []
            there = _object(value, inner, texts)
            if there is None:
                parts += [label + "{", *inner, "}"]
                always = True
            else:
                none = pa.scalar(None, pa.string())
                parts += [pc.if_else(there, label + "{", none), *inner, pc.if_else(there, "}", none)]
                present.append(there)
        elif isinstance(value, str):
            parts.append(label + value)
            always = True
        elif not value.null_count:
            parts += [label, value]
            always = True
        elif value.null_count < len(value):
            parts.append(pc.binary_join_element_wise(label, value, ""))
            present.append(value.is_valid())
    if always:
        return None
    found = present[0] if present else pa.scalar(False)
    for item in present[1:]:
        found = pc.or_(found, item)
    return found


def _merged(parts: list[Part]) -> list[Part]:
    """Neighbouring constants as one."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return merged
