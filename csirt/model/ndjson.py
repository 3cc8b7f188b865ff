"""A batch as text: nested ECS NDJSON, keys sorted, UTF-8, null left out, with the columns that are computed on read.

Work is done by column and once per distinct value; a line is the join of fragments, constants among them. A comma is
constant too, except after members that some rows lack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Batch
from csirt.model.ndjson_columns import Texts, logical

ROWS = 20_000  # rows per slice: bounds the memory of the joined text

Part: TypeAlias = Any  # an Arrow string array, or a string that is the same in every row
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
    return bytes(raw)


def _object(node: Tree, parts: list[Part], texts: Texts) -> pa.Array | bool:
    """Append the members of an object; return which rows have any: True for all, False for none, else an array."""
    before: pa.Array | bool = False
    for key in sorted(node):
        value = node[key]
        label = f"{texts.quote(key)}:"
        there: pa.Array | bool = True
        if isinstance(value, dict):
            inner: list[Part] = []
            there = _object(value, inner, texts)
            if there is False:
                continue
            if there is True:
                parts += [*_labels(before, label + "{"), *inner, "}"]
            else:
                parts += [*_masked(there, before, label + "{"), *inner, *_masked(there, False, "}")]
        elif isinstance(value, str) or not value.null_count:
            parts += [*_labels(before, label), value]
        elif value.null_count < len(value):
            there = value.is_valid()
            labels = _labels(before, label)
            parts.append(pc.binary_join_element_wise(*labels, value, ""))
        else:
            continue
        before = _either(before, there)
    return before


def _either(a: pa.Array | bool, b: pa.Array | bool) -> pa.Array | bool:
    if a is True or b is True:
        return True
    return b if a is False else a if b is False else pc.or_(a, b)


def _labels(before: pa.Array | bool, label: str) -> list[Part]:
    """A member's label, after a comma in the rows that have a member before it."""
    if isinstance(before, bool):
        return ["," + label if before else label]
    return [pc.if_else(before, "," + label, label)]


def _masked(there: pa.Array, before: pa.Array | bool, label: str) -> list[Part]:
    """As `_labels`, in some rows only."""
    text = _labels(before, label)[0]
    return [pc.if_else(there, text, pa.scalar(None, pa.string()))]


def _merged(parts: list[Part]) -> list[Part]:
    """Neighbouring constants as one."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return merged
