"""Community ID flow hashing, version 1 (https://github.com/corelight/community-id-spec), over whole tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Array, address_parts

WIDTH = 30  # characters of an id
# ICMP types that ask and answer; anything else is one-way and is never turned round.
_ICMP4 = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17, 10: 9, 9: 10}
_ICMP6 = {128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135, 130: 131, 131: 130, 144: 145, 145: 144, 139: 140,
          140: 139}  # fmt: skip


def _answers(pairs: dict[int, int]) -> Array:
    """By ICMP type, the last for an unknown one: the type that answers it, or -1."""
    table = np.full(257, -1, np.int64)
    table[list(pairs)] = list(pairs.values())
    return table


_ANSWERS = np.stack([_answers(_ICMP4), _answers(_ICMP6)])


def ids(table: pa.Table) -> pa.StringArray | None:
    """The id of every row, null where an address, the protocol, or what stands for ports is missing; None when the
    table lacks the columns."""
    if not {"source.ip:f", "destination.ip:f", "network.iana_number"} <= set(table.column_names):
        return None
    from csirt.model.community_kernel import identify

    names = ("network.iana_number", "source.port", "destination.port", "icmp.type", "icmp.code")
    columns = [*address_parts(table, "source.ip"), *address_parts(table, "destination.ip")]
    columns += [_numbers(table, name) for name in names]
    numbers = np.empty((len(columns), table.num_rows), np.int64)  # one type, so that one is compiled
    for place, column in enumerate(columns):
        numbers[place] = column
    texts = np.zeros((table.num_rows, WIDTH), np.uint8)
    missing = np.zeros(table.num_rows, np.bool_)
    identify(numbers, _ANSWERS, texts, missing)
    places = pa.py_buffer(np.arange(table.num_rows + 1, dtype=np.int32) * WIDTH)
    valid = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    return pa.Array.from_buffers(pa.string(), table.num_rows, [valid, places, pa.py_buffer(texts)])


def _numbers(table: pa.Table, name: str) -> Array:
    """A column's numbers, -1 where there is none."""
    if name not in table.column_names:
        return np.full(table.num_rows, -1, np.int64)
    column = table.column(name).combine_chunks().cast(pa.int64())
    return np.asarray(pc.fill_null(column, -1).to_numpy(zero_copy_only=False))
