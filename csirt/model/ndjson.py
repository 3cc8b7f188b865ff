"""A batch as text: nested ECS NDJSON, keys sorted, UTF-8, null left out, with the columns that are computed on read.

The nesting is the same in every row: it becomes a program of labels and values that one compiled pass writes, row by
row. A comma is constant, except after members that some rows lack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pyarrow as pa

from csirt.model import ndjson_program
from csirt.model.batch import Batch
from csirt.model.ndjson_columns import Value, logical
from csirt.model.ndjson_program import Program

ROWS = 20_000  # rows per slice: bounds the memory of the tables

Tree = dict[str, Any]


def render(batch: Batch) -> Iterator[bytes]:
    """The batch's rows as JSON objects, one at a time, without line ends."""
    for text in blocks(batch):
        yield from text.splitlines()


def blocks(batch: Batch) -> Iterator[bytes]:
    """The batch as NDJSON text with line ends, in pieces of whole lines."""
    for piece in _pieces(batch):
        yield bytes(piece)


def write(batch: Batch, to: Callable[[memoryview], object]) -> None:
    """Give the blocks to a file's `write`, which must not keep them."""
    for piece in _pieces(batch):
        to(piece)


def _pieces(batch: Batch) -> Iterator[memoryview]:
    for start in range(0, batch.rows, ROWS):
        yield from _program(Batch(batch.dataset, batch.table.slice(start, ROWS))).run()


def texts(batch: Batch) -> dict[str, pa.Array | str]:
    """Every logical column as JSON text: the same in every row, or per row and null where absent."""
    columns, pool = logical(batch)
    return {
        name: value if isinstance(value, str) else ndjson_program.texts(pool, value, batch.rows)
        for name, value in columns.items()
    }


def _program(batch: Batch) -> Program:
    columns, pool = logical(batch)
    tree: Tree = {}
    for name, value in columns.items():
        if isinstance(value, tuple):
            value = tuple(column for column in value if column.valid is None or column.valid.any())
        *outer, last = name.split(".")
        node = tree
        for key in outer:
            node = node.setdefault(key, {})
        node[last] = value
    program = Program(pool, batch.rows)
    program.constant("{")
    _members(program, tree)
    program.constant("}\n")
    return program


def _members(program: Program, node: Tree) -> None:
    """The members of an object, by name."""
    before: bool | None = False  # whether rows have a member already; None: some
    for key in sorted(node):
        value = node[key]
        there = _there(value)
        if there is False:
            continue
        label = f"{orjson.dumps(key).decode()}:"
        label = label if before is False else "," + label
        _member(program, value, label, comma=before is None, there=there)
        before = True if before or there else None


def _member(program: Program, value: Value | Tree, label: str, *, comma: bool, there: bool | None) -> None:
    if isinstance(value, str):
        program.literal(label + value, comma=comma)
    elif isinstance(value, tuple):
        for column in value:
            program.member(column, label, comma=comma)
    elif there:
        program.literal(label + "{", comma=comma)
        _members(program, value)
        program.constant("}")
    else:
        program.open(label + "{", comma=comma)
        _members(program, value)
        program.close()


def _there(value: Value | Tree) -> bool | None:
    """Whether rows have that member: all, none, or some (None)."""
    if isinstance(value, str):
        return True
    if isinstance(value, dict):
        found = {_there(item) for item in value.values()}
        return True if True in found else None if None in found else False
    if any(column.valid is None for column in value):
        return True
    return None if value else False
