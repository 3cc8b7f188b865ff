"""Numbers of Parquet read without Arrow are the numbers Arrow reads; whatever is odd or broken is left to Arrow."""

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

from csirt.detect.columns import arrow, files, numberpages
from csirt.detect.columns.columns import Column
from csirt.errors import CsirtError
from tests.detect.columns.broken import harmless

KINDS = [pa.int64(), pa.uint64(), pa.int8(), pa.uint16(), pa.uint32(), pa.float64(), pa.float32(), pa.bool_()]


def written(table: pa.Table, **options: Any) -> bytes:
    """A file of the table, its numbers not in dictionaries."""
    sink = io.BytesIO()
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    pq.write_table(table, sink, **{"use_dictionary": texts, **options})
    return sink.getvalue()


def columns(raw: bytes) -> list[dict[str, Column | None]]:
    """What is read of each row group; a column that Arrow was asked for is left out."""
    found = []
    with pq.ParquetFile(io.BytesIO(raw)) as file:
        kinds = numberpages.taken(file)
        for group in range(file.num_row_groups):
            asked: list[str] = []
            chunks = numberpages.read(io.BytesIO(raw), file.metadata, group, kinds)
            makers = numberpages.makers(chunks, asked.append)
            made = {name: make() for name, make in makers.items()}
            found.append({name: column for name, column in made.items() if name not in asked})
    return found


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Numbers of every kind with runs of nulls, or none."""
    rows = draw(st.integers(1, 300))
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    fields, arrays = [], []
    for place, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))):
        share = draw(st.sampled_from([0.0, 0.1, 0.9, 1.0]))
        whole = pa.types.is_integer(kind)
        info = np.iinfo(kind.to_pandas_dtype()) if whole else None
        some = [
            (
                chance.randint(info.min, info.max)
                if info
                else chance.random() < 0.5
                if kind == pa.bool_()
                else chance.random()
            )
            for _ in range(rows)
        ]
        gaps = [chance.random() < share for _ in range(rows)]
        arrays.append(pa.array(np.array(some, kind.to_pandas_dtype()), kind, mask=np.array(gaps)))
        fields.append(pa.field(f"n {place}", kind, nullable=any(gaps) or draw(st.booleans())))
    return pa.table(arrays, schema=pa.schema(fields))


@settings(max_examples=150, deadline=None)
@given(
    tables(),
    st.sampled_from(["zstd", "snappy", "none"]),
    st.sampled_from([7, 64, 100_000]),
    st.sampled_from([50, 1000]),
    st.booleans(),
)
def test_numbers_are_what_arrow_reads(table: pa.Table, packing: str, page: int, group: int, split: bool) -> None:
    """Bit by bit, required or not, in pages and row groups of every size, as they are or in planes of bytes."""
    planes = [field.name for field in table.schema if split and not pa.types.is_boolean(field.type)]
    options = {"column_encoding": dict.fromkeys(planes, "BYTE_STREAM_SPLIT")} if planes else {}
    raw = written(table, compression=packing, data_page_size=page, write_batch_size=16, row_group_size=group, **options)
    at = 0
    for found in columns(raw):
        assert len(found) == table.num_columns
        part = table.slice(at, group)
        at += group
        for name, array in zip(part.column_names, part.columns, strict=True):
            column, plain = found[name.replace(" ", "")], arrow.from_arrow(array)
            assert plain is not None
            if column is None:
                assert array.null_count == len(array)
                continue
            assert type(column) is type(plain)
            assert column.null().tolist() == plain.null().tolist()
            rows = np.arange(len(array))
            assert column.texts(rows).to_pylist() == plain.texts(rows).to_pylist()


def test_other_forms_are_left_to_arrow() -> None:
    """Dictionaries of numbers, pages of format 2, times, parts of addresses and identities, names that collide."""
    table = pa.table({"n": [1, None, 2] * 100, "csirt.ordinal": range(300), "source.ip:lo": range(300)})
    assert [sorted(found) for found in columns(written(table))] == [["n"]]
    assert columns(written(table, use_dictionary=True)) == [{}]
    assert columns(written(table, data_page_version="2.0")) == [{}]
    assert columns(written(table, compression="gzip")) == [{}]
    assert columns(written(pa.table({"t": pa.array([1, 2], pa.timestamp("us"))}))) == [{}]
    assert columns(written(pa.table({"a b": [1], "ab": [2]}))) == [{}]


@pytest.mark.parametrize("packing", ["zstd", "snappy", "none"])
def test_broken_files_harm_nobody(packing: str, tmp_path: Path) -> None:
    """Bytes changed anywhere: what is read is of the right length, or the file is refused by name."""
    chance = random.Random(11)
    some = {name: [chance.choice([1, -5, None, 1 << 40]) for _ in range(300)] for name in "abc"}
    table = pa.table(
        some | {"t": ["x"] * 300, "f": [chance.random() for _ in range(300)], "b": [True, None, False] * 100}
    )
    whole = written(table, compression=packing, write_batch_size=16, data_page_size=64)
    harmless(whole, tmp_path / "events.parquet", chance)


def test_a_column_that_is_odd_is_read_by_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out only when it is asked for, after the file was closed."""
    table = pa.table({"n": [1, None, 2] * 100, "t": ["x"] * 300})
    path = tmp_path / "events.parquet"
    path.write_bytes(written(table))
    (frame,) = files.read(path)
    monkeypatch.setattr(numberpages._Chunk, "_unpacked", lambda self, page: None)
    column = frame.column("n")
    assert column is not None and column.texts(np.arange(3)).to_pylist() == ["1", None, "2"]
    path.write_bytes(b"PAR1")
    with pytest.raises(CsirtError, match="not a Parquet file"):
        frame.makers["n"]()
