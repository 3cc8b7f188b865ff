"""Columns in few bytes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.stores.embedded.lake.narrow import narrow, widen

TYPES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)),
    (pa.uint64(), st.integers(0, 2**64 - 1) | st.integers(2**64 - 300, 2**64 - 1)),
    (pa.int32(), st.integers(-(2**31), 2**31 - 1) | st.integers(-200, 200)),
    (pa.uint16(), st.integers(0, 2**16 - 1) | st.integers(7, 9)),
    (pa.timestamp("us", tz="UTC"), st.datetimes(timezones=st.just(dt.UTC))),
    (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["", "a", "b"]) | st.text(max_size=3)),
    (pa.string(), st.text(max_size=3)),
    (pa.bool_(), st.booleans()),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.list_(pa.string()), st.lists(st.text(max_size=2), max_size=2)),
]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Tables of every kind of column, with and without nulls, whole or cut from a larger one."""
    rows = draw(st.integers(0, 12))
    columns: dict[str, pa.Array] = {}
    for number, (kind, values) in enumerate(TYPES):
        drawn = draw(st.sampled_from([values, values | st.none(), st.none(), st.just(draw(values))]))
        found = draw(st.lists(drawn, min_size=rows, max_size=rows))
        plain = pa.string() if pa.types.is_dictionary(kind) else kind
        array = pa.array(found, plain)
        columns[str(number)] = array.dictionary_encode() if pa.types.is_dictionary(kind) else array
    start = draw(st.integers(0, rows))
    return pa.table(columns).replace_schema_metadata({"a": "b"}).slice(start)


@settings(max_examples=200, deadline=None)
@given(tables(), st.sets(st.sampled_from([str(number) for number in range(len(TYPES))]), min_size=1))
def test_what_was_narrowed_is_widened_to_the_same(table: pa.Table, chosen: set[str]) -> None:
    """Values, nulls, types and metadata are what they were, through a file too, of all columns or of some."""
    sink = pa.BufferOutputStream()
    small = narrow(table)
    small.validate(full=True)
    with pa.ipc.new_file(sink, small.schema) as writer:
        writer.write_table(small)
    read = pa.ipc.open_file(sink.getvalue()).read_all()
    found = widen(read)
    found.validate(full=True)
    assert found.equals(table, check_metadata=True)
    assert widen(read, chosen).equals(table.select([name for name in table.column_names if name in chosen]))


def test_flows_take_a_third_of_their_room() -> None:
    """Times near each other, small counters and repeated texts are kept in the bytes they need; one value in none."""
    rows = 1_000
    table = pa.table({
        "time": pa.array([1_700_000_000_000_000 + 1_000 * row for row in range(rows)], pa.timestamp("us")),
        "port": pa.array([443] * rows, pa.uint16()),
        "bytes": pa.array([row % 250 for row in range(rows)], pa.uint64()),
        "site": pa.array(["a", "b"] * (rows // 2)).dictionary_encode(),
    })  # fmt: skip
    assert narrow(table).nbytes < table.nbytes / 3
    assert narrow(table).column("port").nbytes == 0


def test_what_nobody_narrowed_is_left_alone_and_nonsense_is_refused() -> None:
    """A plain table comes back as it is; a file whose own words about it are damaged raises ValueError."""
    table = pa.table({"a": pa.array([1, 2], pa.int64())})
    assert widen(table) is table
    small = narrow(table)
    broken = small.replace_schema_metadata({**small.schema.metadata, b"csirt.bases": b"[1, 2]"})
    with pytest.raises(ValueError):
        widen(broken)
