"""Arrow files in which what columns share lies once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from csirt.cli import arrow_file
from csirt.cli.arrow_file import ArrowFile
from csirt.model import disk

ROWS = 100_003
TEXTS = pa.array(["a", "b"])


def batch(seed: int, rows: int = ROWS) -> pa.RecordBatch:
    """Columns of every kind a batch of events has; some are the same memory, some the same with nulls of their own."""
    random = np.random.default_rng(seed)
    shared = pa.py_buffer(random.integers(0, 1 << 40, rows))
    codes = pa.py_buffer(random.integers(0, 2, rows).astype(np.int8))
    valid = pa.py_buffer(np.packbits(random.integers(0, 2, rows).astype(bool), bitorder="little"))

    def column(kind: pa.DataType, data: pa.Buffer, known: pa.Buffer | None = None) -> pa.Array:
        return pa.Array.from_buffers(kind, rows, [known, data])

    texts = [str(number) if number % 3 else None for number in random.integers(0, 1000, rows).tolist()]
    return pa.RecordBatch.from_pydict(
        {
            "one": column(pa.uint64(), shared),
            "same": column(pa.uint64(), shared),
            "time": column(pa.timestamp("us", tz="UTC"), shared, valid),
            "name": pa.DictionaryArray.from_arrays(column(pa.int8(), codes), TEXTS),
            "other": pa.DictionaryArray.from_arrays(column(pa.int8(), codes, valid), TEXTS),
            "small": pa.array(random.integers(0, 255, rows).astype(np.uint8)),
            "yes": pa.array(random.integers(0, 2, rows).astype(bool)),
            "text": pa.array(texts, pa.string()),
            "none": pa.nulls(rows, pa.uint32()),
        }
    )


def written(path: Path, batches: list[pa.RecordBatch], sample: pa.RecordBatch | None = None) -> None:
    """The batches as one file."""
    with path.open("wb") as handle:
        out = ArrowFile(handle.fileno(), (batches[0] if sample is None else sample).slice(0, 1))
        for one in batches:
            out.write(one)
        out.close()


def test_every_reader_reads_what_was_written(tmp_path: Path) -> None:
    """Arrow (mapped, from a file, as a stream, some columns only) and polars (eager, lazy, from memory) read what went
    in, and what two columns share is there once."""
    path = tmp_path / "x.arrow"
    batches = [batch(1), batch(2, 1), batch(3, 1000)]
    written(path, batches)
    wanted = pa.Table.from_batches(batches)
    with pa.memory_map(str(path)) as mapped:
        read = pa.ipc.open_file(mapped).read_all()
        read.validate(full=True)
        assert read.equals(wanted)
        first = pa.ipc.open_file(mapped).get_batch(0)
        assert first.column("one").buffers()[1].address == first.column("same").buffers()[1].address
    assert pa.ipc.open_file(path).read_all().equals(wanted)
    assert pa.ipc.open_stream(path.read_bytes()[8:]).read_all().equals(wanted)
    some = pa.ipc.open_file(path, options=pa.ipc.IpcReadOptions(included_fields=[1, 2, 4])).read_all()
    assert some.equals(wanted.select(["same", "time", "other"]))
    for frame in (pl.read_ipc(path), pl.scan_ipc(path).collect(), pl.read_ipc(path.read_bytes())):
        assert frame.to_dict(as_series=False) == pl.DataFrame(wanted).to_dict(as_series=False)
    assert pl.read_ipc(path, columns=["same"])["same"].to_list() == wanted.column("same").to_pylist()
    with pa.OSFile(str(tmp_path / "y.arrow"), "wb") as sink, pa.ipc.new_file(sink, wanted.schema) as writer:
        writer.write_table(wanted)
    shared = sum(2 * one.num_rows * 8 + one.num_rows + one.num_rows // 8 for one in batches)
    assert abs((tmp_path / "y.arrow").stat().st_size - shared - path.stat().st_size) < 3 * 64 * 20


def test_columns_inside_others_and_slices_are_copied(tmp_path: Path) -> None:
    """What begins in the middle of its memory, or has columns in it, is written as Arrow writes it, no row more."""
    whole = pa.RecordBatch.from_pydict(
        {"l": pa.array([[1], None, [2, 3], []]), "t": pa.array(["p", "q", None, "secret"]), "n": [1, 2, 3, 4]}
    )
    path = tmp_path / "x.arrow"
    written(path, [whole, whole.slice(1, 2)])
    assert pa.ipc.open_file(path).read_all().to_pylist() == whole.to_pylist() + whole.to_pylist()[1:3]
    plain = whole.select(["t", "n"])
    written(path, [plain.slice(0, 2), plain.slice(2, 1), plain.slice(0, 0)], plain)
    assert pa.ipc.open_file(path).read_all().to_pylist() == plain.to_pylist()[:3]
    assert path.read_bytes().count(b"secret") == 0


def test_a_file_without_batches_or_columns(tmp_path: Path) -> None:
    """It is a file all the same."""
    path = tmp_path / "x.arrow"
    written(path, [], pa.RecordBatch.from_pydict({"n": [1]}))
    assert pa.ipc.open_file(path).read_all().to_pydict() == {"n": []}
    written(path, [], pa.RecordBatch.from_arrays([], schema=pa.schema([])))
    assert pa.ipc.open_file(path).num_record_batches == 0


def test_short_writes_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system may take less than it was given."""
    path, wanted = tmp_path / "x.arrow", batch(4)
    gathered, single = os.pwritev, os.pwrite
    monkeypatch.setattr(
        arrow_file.os,
        "pwritev",
        lambda handle, views, at: (
            single(handle, b"".join(views)[:70_001], at) if views else gathered(handle, views, at)
        ),
    )
    monkeypatch.setattr(arrow_file.os, "pwrite", lambda handle, view, at: single(handle, view[:100_000], at))
    written(path, [wanted])
    assert pa.ipc.open_file(path).read_all().equals(pa.Table.from_batches([wanted]))


@pytest.mark.parametrize("able", [True, False])
def test_a_place_is_asked_for_ahead_where_that_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    """It leaves no trace: the file is as long as what was written, and the same where there is no such call or it
    fails."""
    path, wanted = tmp_path / "x.arrow", batch(5)
    asked: list[tuple[int, ...]] = []
    real = disk._fallocate()

    def ask(*words: int) -> int:
        asked.append(words)
        return int(real(*words)) if able and real is not None else -1

    written(path, [wanted])
    usual = path.read_bytes()
    monkeypatch.setattr(disk, "_fallocate", lambda: ask)
    written(path, [wanted])
    assert path.read_bytes() == usual and len(asked) == 1
    assert 0 < asked[0][3] < len(usual) and os.stat(path).st_blocks * 512 < len(usual) + (1 << 16)
    monkeypatch.setattr(disk, "_fallocate", lambda: None)
    written(path, [wanted])
    assert path.read_bytes() == usual
