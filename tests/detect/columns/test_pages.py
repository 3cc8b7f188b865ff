"""Text of Parquet read without Arrow is the text Arrow reads; whatever is odd or broken is left to Arrow."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csirt.detect.columns import files, pages
from csirt.stores.embedded.lake.encode import to_parquet
from tests.detect.columns.broken import harmless

VALUES = st.one_of(st.none(), st.sampled_from(["a", "bb", "æøå", "", "x" * 300]), st.text(max_size=8))
RUNS = st.lists(st.tuples(VALUES, st.integers(1, 90)), min_size=1, max_size=12)


def written(table: pa.Table, **options: Any) -> bytes:
    """A file of the table."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def texts(raw: bytes) -> list[dict[str, list[str | None]]]:
    """What is read of each row group."""
    found = []
    with pq.ParquetFile(io.BytesIO(raw)) as file:
        places = pages.taken(file)
        for group in range(file.num_row_groups):
            text = pages.read(io.BytesIO(raw), file.metadata, group, places)
            if text is None:
                found.append({})
                continue
            columns = {name: make() for name, make in text.makers().items()}
            rows = np.arange(text.rows)
            found.append(
                {
                    name: [None] * text.rows if column is None else column.texts(rows).to_pylist()
                    for name, column in columns.items()
                }
            )
            filled = dict(zip(text.names, text.physical().filled.tolist(), strict=True))
            for name, values in found[-1].items():
                assert filled[name] == sum(value is not None for value in values)
    return found


@settings(max_examples=80, deadline=None)
@given(
    st.lists(RUNS, min_size=1, max_size=3),
    st.sampled_from(["zstd", "snappy", "none"]),
    st.sampled_from([7, 64, 100_000]),
    st.sampled_from([50, 1000]),
)
def test_text_is_what_arrow_reads(columns: list[Any], packing: str, page: int, group: int) -> None:
    """Runs and single values, columns without a null, pages and row groups of every size."""
    values = [[value for value, count in runs for _ in range(count)] for runs in columns]
    rows = min(map(len, values))
    fields = [pa.field(str(place), pa.string(), nullable=None in item[:rows]) for place, item in enumerate(values)]
    table = pa.table([pa.array(item[:rows], pa.string()) for item in values], schema=pa.schema(fields))
    raw = written(table, compression=packing, data_page_size=page, write_batch_size=16, row_group_size=group)
    at = 0
    for found in texts(raw):
        assert found
        part = table.slice(at, group)
        assert found == {name: part.column(name).to_pylist() for name in part.column_names}
        at += group


def test_other_columns_and_forms_are_left_to_arrow(tmp_path: Path) -> None:
    """Numbers, lists, objects; texts too many for a dictionary, pages of format 2, packings nobody here unpacks."""
    table = pa.table(
        {
            "text": ["a", None, "b"] * 400,
            "number": list(range(1200)),
            "list": [["x", "y"], [], None] * 400,
            "object": [{"inner": "z"}, None, {"inner": None}] * 400,
            "many": [f"{number:0200}" for number in range(1200)],
        }
    )
    read = written(table, compression="zstd", dictionary_pagesize_limit=1000)
    assert [sorted(found) for found in texts(read)] == [["text"]]
    assert texts(written(table, data_page_version="2.0")) == [{}]
    assert texts(written(table, compression="gzip")) == [{}]
    for raw in (read, written(table, data_page_version="2.0"), written(table, use_dictionary=False)):
        path = tmp_path / "events.parquet"
        path.write_bytes(raw)
        (frame,) = files.read(path)
        expected = {"text", "number", "list", "object", "object.inner", "many"}
        assert set(frame.names()) == expected
        rows = np.arange(frame.rows)
        for name in ("text", "many", "number"):
            column = frame.column(name)
            assert column is not None
            values = [None if item is None else str(item) for item in table.column(name).to_pylist()]
            assert column.texts(rows).to_pylist() == values


def test_the_lake_writes_what_is_read_so(tmp_path: Path) -> None:
    """All of its text, with the events' ids."""
    table = pa.table(
        {
            "csirt.segment": pa.array(["0" * 16] * 9).dictionary_encode(),
            "csirt.ordinal": pa.array(range(9), pa.uint64()),
            "dns.question.name": pa.array([None, "a.no", "b.no"] * 3).dictionary_encode(),
        }
    )
    path = tmp_path / "events.parquet"
    path.write_bytes(to_parquet(table))
    (frame,) = files.read(path)
    known = frame.physical()
    assert known is not None and set(known.names) == {"csirt.segment", "dns.question.name"}
    assert frame.event_ids()[8] == "0" * 31 + "8"


@pytest.mark.parametrize("packing", ["zstd", "none"])
def test_broken_files_harm_nobody(packing: str, tmp_path: Path) -> None:
    """Bytes changed anywhere: what is read is of the right length, or the file is refused by name."""
    chance = random.Random(7)
    table = pa.table({name: [chance.choice(["a", "bb", None]) for _ in range(300)] for name in "abc"})
    whole = written(table, compression=packing, write_batch_size=16, data_page_size=64)
    harmless(whole, tmp_path / "events.parquet", chance)
