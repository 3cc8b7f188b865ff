"""Arrow files written as records come."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from csirt.cli.decode_arrow import FEW, GROWTHS, Streamed


def written(path: Path, tables: list[pa.Table], *, rewritable: bool = True) -> pa.Table:
    """The tables as one file."""
    with path.open("w+b" if rewritable else "wb") as handle:
        out = Streamed(handle, rewritable=rewritable)
        for table in tables:
            out.write(table)
        out.close()
    return pa.ipc.open_file(path).read_all()


def test_arrow_files_grow_by_columns_and_texts(tmp_path: Path) -> None:
    """What comes later may have other columns and exporters: one file at the end, with null where a row lacks one."""
    few = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int32()), ["10.0.0.1"])
    more = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int32()), ["10.0.0.2", "10.0.0.1"])
    free = pa.array(["a", None, "b"]).dictionary_encode()
    first = pa.table({"observer.ip": few, "n": pa.array([1, 2], pa.uint8())})
    second = pa.table({"observer.ip": more, "network.application": free})
    third = pa.table({"observer.ip": few, "n": pa.array([3, None], pa.uint8())})
    table = written(tmp_path / "x.arrow", [first, second, third])
    assert table.to_pydict() == {
        "observer.ip": ["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", None, "10.0.0.1", "10.0.0.1"],
        "n": [1, 2, None, None, None, 3, None],
        "network.application": [None, None, "a", None, "b", None, None],
    }
    assert pa.types.is_dictionary(table.schema.field("observer.ip").type)


@pytest.mark.parametrize("rewritable", [True, False])
def test_a_dictionary_that_keeps_growing_is_given_up(tmp_path: Path, rewritable: bool) -> None:
    """New texts in every table: strings at the end, and never more files than a dictionary may grow; few texts that
    come at once stay a dictionary, many do not. polars reads the same."""
    few = pa.array(["x", None, "y"]).dictionary_encode()
    many = pa.array([f"host-{number}" for number in range(FEW + 1)]).dictionary_encode()
    tables = [
        pa.table({"a": pa.array([f"n{number}", "n0", None]).dictionary_encode(), "b": few.take(pa.array([2, 1, 0]))})
        for number in range(GROWTHS + 3)
    ]
    table = written(tmp_path / "x.arrow", tables, rewritable=rewritable)
    assert table.column("a").to_pylist() == [text for n in range(GROWTHS + 3) for text in (f"n{n}", "n0", None)]
    assert table.column("b").to_pylist() == ["y", None, "x"] * (GROWTHS + 3)
    assert table.schema.field("a").type == pa.string() and pa.types.is_dictionary(table.schema.field("b").type)
    read = pl.read_ipc(tmp_path / "x.arrow")
    assert read["b"].cast(pl.String).to_list() == table.column("b").to_pylist()
    assert written(tmp_path / "y.arrow", [pa.table({"c": many})]).schema.field("c").type == pa.string()


def test_slices_and_empty_tables(tmp_path: Path) -> None:
    """Rows that begin in the middle of an array keep their nulls; a table without rows adds its columns."""
    array = pa.array([None, "p", None, "q", "p", None, "q", "p", None, "q"]).dictionary_encode()
    none = pa.table({"a": array.slice(0, 0), "n": pa.array([], pa.int8())})
    table = written(tmp_path / "x.arrow", [none, pa.table({"a": array.slice(3, 6)}), pa.table({"a": array})])
    assert table.column("a").to_pylist() == array.to_pylist()[3:9] + array.to_pylist()
    assert table.column("n").null_count == 16
