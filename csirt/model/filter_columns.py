"""A parsed filter over an event table: one bool per row, work done once per distinct text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from csirt.model.address_columns import texts
from csirt.model.batch import Array, address_parts
from csirt.model.ecs import ADDRESS_PARTS
from csirt.model.filter_nodes import AllOf, AnyOf, Compare, Flag, Node, Not, Text
from csirt.model.literal import ORDER, TIMES, Literal, compare_text


def rows(node: Node, table: pa.Table, now: int) -> Array:
    """Which rows pass, as `matches` would answer for each of them."""
    size = table.num_rows
    match node:
        case AllOf(parts):
            result = np.ones(size, bool)
            for part in parts:
                result &= rows(part, table, now)
            return result
        case AnyOf(parts):
            result = np.zeros(size, bool)
            for part in parts:
                result |= rows(part, table, now)
            return result
        case Not(part):
            return np.asarray(~rows(part, table, now))
        case Compare(fields, op, values):
            result = np.zeros(size, bool)
            for name in fields:
                for literal in values:
                    result |= _column(table, name, op, literal, now)
            return result
        case Flag(fields):
            result = np.zeros(size, bool)
            for name in fields:
                result |= _set(table, name)
            return result
        case Text(value):
            return _search(table, value)


def _column(table: pa.Table, name: str, op: str, literal: Literal, now: int) -> Array:
    size = table.num_rows
    if name + ADDRESS_PARTS[0] in table.column_names:
        return _address(table, name, op, literal, now)
    if name not in table.column_names:
        return np.zeros(size, bool)
    column = table.column(name)
    kind = column.type
    if pa.types.is_timestamp(kind):
        us = _numbers(column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()))
        return _valid(column) & _times(us, op, literal, now)
    if pa.types.is_boolean(kind):
        wanted = literal.truth if op == "=" else None
        truth = np.asarray(column.fill_null(False).to_numpy())
        return np.zeros(size, bool) if wanted is None else _valid(column) & (truth == wanted)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = _numbers(column)
        if name in TIMES:
            return _valid(column) & _times(numbers.astype(np.int64), op, literal, now)
        return _valid(column) & _compare_numbers(numbers, op, literal)
    return _distinct(column, lambda text: compare_text(text, op, literal, name in TIMES, now))


def _valid(column: pa.ChunkedArray) -> Array:
    return np.asarray(column.is_valid().to_numpy()) if column.null_count else np.ones(len(column), bool)


def _numbers(column: pa.ChunkedArray) -> Array:
    return np.asarray((column.fill_null(0) if column.null_count else column).to_numpy())


def _times(us: Array, op: str, literal: Literal, now: int) -> Array:
    if literal.duration is not None:
        return np.asarray(ORDER["<=" if op == "=" else op](now - us, literal.duration))
    if literal.time is None:
        return np.zeros(len(us), bool)
    end = literal.time + literal.span
    if op == "=":
        return np.asarray((us >= literal.time) & (us < end))
    if op in ("<", ">="):
        return np.asarray(ORDER[op](us, literal.time))
    return np.asarray(us >= end if op == ">" else us < end)


def _compare_numbers(values: Array, op: str, literal: Literal) -> Array:
    wanted = literal.amount
    if wanted is None:
        return np.zeros(len(values), bool)
    if isinstance(wanted, float) and values.dtype.kind in "iu":
        # Exact for integers beyond 2**53, as Python compares them.
        if op == "=":
            return np.zeros(len(values), bool)
        floor = int(np.floor(wanted))
        return np.asarray(values <= floor if op in ("<", "<=") else values > floor)
    return np.asarray(values == wanted if op == "=" else ORDER[op](values, wanted))


def _address(table: pa.Table, name: str, op: str, literal: Literal, now: int) -> Array:
    family, high, low = address_parts(table, name)
    if op == "=" and literal.network is not None:
        version, base_high, base_low, mask_high, mask_low = literal.network
        return np.asarray(
            (family == version)
            & ((high & np.uint64(mask_high)) == np.uint64(base_high))
            & ((low & np.uint64(mask_low)) == np.uint64(base_low))
        )
    column = pa.chunked_array([texts(family, high, low)])
    return _distinct(column, lambda text: compare_text(text, op, literal, False, now))


def _set(table: pa.Table, name: str) -> Array:
    if name + ADDRESS_PARTS[0] in table.column_names:
        return np.asarray(address_parts(table, name)[0] > 0)
    if name not in table.column_names:
        return np.zeros(table.num_rows, bool)
    column = table.column(name)
    if pa.types.is_timestamp(column.type):
        return _valid(column)
    if pa.types.is_boolean(column.type):
        return np.asarray(column.fill_null(False).to_numpy())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(_valid(column) & (_numbers(column) != 0))
    return _distinct(column, bool)


def _search(table: pa.Table, literal: Literal) -> Array:
    result = np.zeros(table.num_rows, bool)
    for name in table.column_names:
        if name.endswith(ADDRESS_PARTS[0]):
            column = pa.chunked_array([texts(*address_parts(table, name.removesuffix(ADDRESS_PARTS[0])))])
        elif name not in TIMES:
            column = table.column(name)
        else:
            continue
        if _is_text(column.type):
            result |= _distinct(column, literal.within)
    return result


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _distinct(column: pa.ChunkedArray, test: Callable[[str], bool]) -> Array:
    """A test over a text or list-of-text column, run once per distinct value; null is false."""
    if not _is_text(column.type):
        return np.zeros(len(column), bool)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    if pa.types.is_list(array.type):
        inner = _distinct(pa.chunked_array([array.flatten()]), test)
        lengths = np.asarray(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
        parents = np.repeat(np.arange(len(array)), lengths)
        return np.asarray(np.bincount(parents[inner], minlength=len(array)) > 0)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    verdicts = np.array([False if text is None else test(text) for text in array.dictionary.to_pylist()] + [False])
    indices = np.asarray(array.indices.fill_null(len(verdicts) - 1).to_numpy(zero_copy_only=False))
    return np.asarray(verdicts[indices])
