"""Arrow data of any plain type as columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.columns import physical
from csirt.detect.columns.coded import Distinct, bits, numbers_of, of_dictionary
from csirt.detect.columns.columns import Column, NumberColumn, TextColumn, TimeColumn, TruthColumn
from csirt.model.batch import Array


def testable(kind: pa.DataType) -> bool:
    """Whether `from_arrow` makes a column of that type."""
    return not (pa.types.is_nested(kind) and not (pa.types.is_list(kind) or pa.types.is_large_list(kind)))


def written(kind: pa.DataType) -> bool:
    """Whether `from_arrow` makes a column of that type that is no text."""
    return bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def from_arrow(column: Any) -> Column | None:
    """A column from Arrow data of any plain type; None for a type no test is defined on (structs, maps)."""
    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) and column.num_chunks == 1 else column
    if isinstance(array, pa.ChunkedArray):
        array = _one_array(array)
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _of_lists(array)
    if pa.types.is_null(kind):
        return TextColumn(len(array), Distinct(pa.array([], pa.string()), np.full(len(array), -1, np.int32)))
    if pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type):
        return TextColumn(len(array), of_dictionary(array))
    valid = _valid(array) if array.null_count else None
    if pa.types.is_boolean(kind):
        return TruthColumn(bits(array.buffers()[1], array.offset, len(array)), valid)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return NumberColumn(numbers_of(array), valid)
    if pa.types.is_decimal(kind):
        return from_arrow(array.cast(pa.float64()))
    if pa.types.is_timestamp(kind):
        micros = array if kind.unit == "us" else array.cast(pa.timestamp("us", tz=kind.tz), safe=False)
        return TimeColumn(numbers_of(micros.view(pa.int64())), valid)
    text = _as_text(array)
    return None if text is None else TextColumn(len(array), of_dictionary(text))


def _valid(array: Any) -> Array:
    """Which entries are not null."""
    return bits(array.buffers()[0], array.offset, len(array))


def _one_array(chunked: pa.ChunkedArray) -> Any:
    if not chunked.num_chunks:
        return pa.array([], chunked.type)
    if pa.types.is_dictionary(chunked.type):
        chunked = chunked.unify_dictionaries()
    joined = chunked.combine_chunks()
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _as_text(array: Any) -> pa.DictionaryArray | None:
    """Dictionary text of a textual array (binary as hex), or None."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        inner = array.dictionary
        if pa.types.is_string(inner.type):
            return array
        plain = _as_text(inner)
        if plain is None:
            return None
        return _as_text(plain.cast(pa.string()).take(array.indices))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.string()).dictionary_encode()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        hexes = [None if item is None else item.hex() for item in array.to_pylist()]
        return pa.array(hexes, pa.string()).dictionary_encode()
    if pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        return array.cast(pa.string()).dictionary_encode()
    return None


def _of_few_texts(array: Any) -> Column | None:
    """Lists of a few texts, each its own value, as `physical.Taken` has them; None where they are not."""
    if not pa.types.is_string(array.values.type):
        return None
    bounds = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    first, count = int(bounds[0]), int(bounds[-1] - bounds[0])
    valid = _valid(array) if array.null_count else np.ones(len(array), bool)
    sizes, texts = np.diff(bounds), array.values.slice(first, count)
    if count > physical.FEW_TEXTS or texts.null_count or sizes[~valid].any():
        return None
    parents = np.repeat(np.arange(len(array)), sizes)
    return TextColumn(len(array), Distinct(texts, np.arange(count, dtype=np.int32), parents), valid, ~valid)


def _of_lists(array: Any) -> Column | None:
    if pa.types.is_list(array.type) and len(array):
        few = _of_few_texts(array)
        if few is not None:
            return few
    valid = np.asarray(pc.is_valid(array).to_numpy(zero_copy_only=False))
    parents = np.asarray(pc.list_parent_indices(array).to_numpy(zero_copy_only=False))
    parents = parents[valid[parents]]  # a list that is null may span members, which are nobody's
    inner = from_arrow(pc.list_flatten(array))
    if inner is None:
        return None
    found = inner.distinct()
    if found.parents is not None:  # a list of lists: the innermost members count
        parents = parents[found.parents]
    return TextColumn(len(array), Distinct(found.texts, found.codes, parents, found.kinds), valid, ~valid)
