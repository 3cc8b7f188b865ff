"""The lake: what files look like, how small parts gather and files merge, what readers and sweeps see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from csirt.clock import HOUR, MINUTE, SECOND, Frozen, iso
from csirt.errors import Conflict, CsirtError
from csirt.model import ecs
from csirt.model.batch import Batch, event_ids
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded
from csirt.stores.embedded.fsck import fsck
from csirt.stores.embedded.lake import describe, keep, merge
from tests.stores import build


@pytest.fixture
def clock() -> Frozen:
    return Frozen(build.START // HOUR * HOUR)


@pytest.fixture
def store(tmp_path: Path, clock: Frozen):  # type: ignore[no-untyped-def]
    with open_embedded(tmp_path / "store", clock=clock) as opened:
        yield opened


def files(store: EmbeddedStore) -> list[str]:
    return sorted(str(path.relative_to(store.lake)) for path in store.lake.rglob("*") if path.is_file())


def ids(store: EmbeddedStore, dataset: str | None = None) -> list[str]:
    return sorted(name for batch in store.events(dataset) for name in event_ids(batch.table).to_pylist())


def waiting(store: EmbeddedStore) -> int:
    with store.reading_parts() as found:
        return sum(part.rows for part in found if part.path is None)


def test_files_lie_by_dataset_and_hour_of_receipt(store: EmbeddedStore, clock: Frozen) -> None:
    """A file's folder says when the store took it, not what time its events claim."""
    store.commit(Commit(batches=[build.flows(3_000, start=5 * HOUR)]))
    clock.time += HOUR
    store.commit(Commit(batches=[build.flows(3_000, first=3_000, start=99 * build.START // 10)]))
    hours = [iso(clock.time - HOUR)[:13], iso(clock.time)[:13]]
    assert [name.rsplit("/", 1)[0] for name in files(store)] == [f"flow/{hour}" for hour in hours]


def test_files_are_zstd_with_statistics_where_reading_uses_them(store: EmbeddedStore) -> None:
    """Every column chunk is zstd; repeated text is a dictionary; time and ordinal have bounds."""
    store.commit(Commit(batches=[build.flows(3_000)]))
    file = pq.ParquetFile(store.lake / files(store)[0])
    group = file.metadata.row_group(0)
    for index, name in enumerate(file.schema_arrow.names):
        column = group.column(index)
        assert column.compression == "ZSTD"
        bounded = column.statistics is not None and column.statistics.has_min_max
        assert bounded == (name in ("@timestamp", "csirt.ordinal"))
    assert pa.types.is_dictionary(file.schema_arrow.field("observer.name").type)


def test_small_batches_make_no_files_until_they_are_gathered(store: EmbeddedStore, clock: Frozen) -> None:
    """Fifty commits of seven mails are one file once ten seconds have passed, and none before."""
    for n in range(50):
        store.commit(Commit(batches=[build.mails(7, first=n * 7)]))
    before = ids(store)
    store.maintain()
    assert files(store) == []
    assert waiting(store) == 350
    clock.time += 11 * SECOND
    store.maintain()
    assert len(files(store)) == 1
    assert waiting(store) == 0
    assert ids(store) == before
    assert len(before) == 350


def test_many_waiting_rows_become_a_file_with_a_commit(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that never maintains still does not fill the catalogue with events."""
    monkeypatch.setattr(keep, "GATHER_ROWS", 100)
    for n in range(40):
        store.commit(Commit(batches=[build.mails(9, first=n * 9)]))
        assert waiting(store) < 100
    assert 1 <= len(files(store)) <= 4
    assert len(ids(store)) == 360
    assert fsck(store) == []


def test_what_was_prepared_in_vain_leaves_no_file(store: EmbeddedStore) -> None:
    """Files of a prepared change are accounted for while it waits, and gone when it is discarded or refused."""
    names = [
        Commit(batches=[build.flows(3_000, name=name)], position=Position("s", "f", 9)) for name in ("a", "b", "c")
    ]
    for change in names:
        store.prepare(change)
    assert len(list(store.lake.glob("*/*/*.parquet"))) == 3 and store.keeper.strays() == []
    store.commit(names[0])
    store.discard(names[1])
    with pytest.raises(Conflict):
        store.commit(names[2])
    assert len(list(store.lake.glob("*/*/*.parquet"))) == 1 and store.keeper.strays() == []


def test_rows_of_another_hour_gather_apart(store: EmbeddedStore, clock: Frozen) -> None:
    """Rows received in different hours never share a file: retention deletes by the hour."""
    store.commit(Commit(batches=[build.mails(7)]))
    clock.time += HOUR
    store.commit(Commit(batches=[build.mails(7, first=7)]))
    clock.time += MINUTE
    store.maintain()
    assert [name.split("/")[1] for name in files(store)] == [iso(clock.time - HOUR)[:13], iso(clock.time)[:13]]


def test_files_merge_in_tiers_and_once_more_when_the_hour_is_over(store: EmbeddedStore, clock: Frozen) -> None:
    """Eight files become one while the hour runs; what is left becomes one run when it is over; no row changes."""
    tables = []
    for n in range(19):
        store.commit(Commit(batches=[build.flows(2_100, first=n * 2_100)]))
        tables.append(build.flows(2_100, first=n * 2_100).table)
    before = ids(store)
    store.maintain()
    assert len(files(store)) == 19
    clock.time += 2 * MINUTE
    store.maintain()
    with store.reading_parts() as found:
        assert sorted((part.rows, part.tier) for part in found) == [(2_100 * 19, 1)]
    store.commit(Commit(batches=[build.flows(2_100, first=19 * 2_100)]))
    tables.append(build.flows(2_100, first=19 * 2_100).table)
    clock.time += HOUR + 2 * MINUTE
    store.maintain()
    store.maintain()
    clock.time += 2 * MINUTE
    store.maintain()
    assert len(files(store)) == 1
    assert ids(store) == sorted([*before, *event_ids(tables[-1]).to_pylist()])
    (whole,) = [pa.concat_tables([batch.table for batch in store.events("flow")])]
    wanted = pa.concat_tables(tables).unify_dictionaries()
    for name in wanted.column_names:
        assert whole.column(name).to_pylist() == wanted.column(name).to_pylist(), name
    assert fsck(store) == []


def test_a_reader_keeps_the_files_it_listed(store: EmbeddedStore, clock: Frozen) -> None:
    """A hunt that began before a merge reads to its end, however long it takes; the files go after it."""
    for n in range(8):
        store.commit(Commit(batches=[build.flows(2_100, first=n * 2_100)]))
    clock.time += 2 * MINUTE
    reader = store.events("flow")
    rows = next(reader).rows
    clock.time += 1
    store.maintain()
    clock.time += 2 * HOUR
    store.maintain()
    assert len(files(store)) == 9
    rows += sum(batch.rows for batch in reader)
    assert rows == 8 * 2_100
    store.maintain()
    assert len(files(store)) == 1


def test_columns_that_do_not_fit_stay_in_files_of_their_own(store: EmbeddedStore, clock: Frozen) -> None:
    """A column with two types is never converted: such files are not merged, and both are read back as they were."""
    small = build.flows(2_100).table
    for n in range(8):
        kind = np.uint16 if n < 4 else np.uint64
        column = pa.array(np.arange(2_100, dtype=kind))
        table = build.flows(2_100, first=n * 2_100).table.append_column("netflow.private", column)
        store.commit(Commit(batches=[Batch("flow", table)]))
    clock.time += 2 * HOUR
    for _ in range(4):
        store.maintain()
        clock.time += 2 * MINUTE
    with store.reading_parts() as found:
        assert [part.rows for part in found] == [4 * small.num_rows, 4 * small.num_rows]
    kinds = [batch.table.schema.field("netflow.private").type for batch in store.events("flow")]
    assert kinds == [pa.uint16(), pa.uint64()]


def test_columns_that_some_files_lack_are_null_there(store: EmbeddedStore, clock: Frozen) -> None:
    """Files with and without a column merge; rows that had none have null."""
    for n in range(8):
        table = build.flows(2_100, first=n * 2_100).table
        if n % 2:
            table = table.append_column("network.application", pa.array(["smb"] * 2_100).dictionary_encode())
        store.commit(Commit(batches=[Batch("flow", table)]))
    clock.time += 2 * MINUTE
    store.maintain()
    (batch,) = list(store.events("flow"))
    assert batch.table.schema.field("network.application").type == ecs.TEXT
    values = batch.table.column("network.application").to_pylist()
    assert values[:2_100] == [None] * 2_100
    assert values[2_100:4_200] == ["smb"] * 2_100


def test_metadata_of_a_table_is_kept(store: EmbeddedStore) -> None:
    """Schema metadata comes back from files and from the catalogue."""
    for rows in (10, 3_000):
        table = build.flows(rows, name=str(rows)).table.replace_schema_metadata({"csirt.enriched": "register-7"})
        store.commit(Commit(batches=[Batch("flow", table)]))
    assert [batch.table.schema.metadata[b"csirt.enriched"] for batch in store.events()] == [b"register-7"] * 2


def test_a_start_sweeps_what_no_row_names(tmp_path: Path, clock: Frozen) -> None:
    """Files of a commit that never was go at the next start; files that are not ours stay."""
    folder = tmp_path / "swept"
    with open_embedded(folder, clock=clock) as store:
        store.commit(Commit(batches=[build.flows(3_000)]))
        (kept,) = files(store)
    stray = folder / "lake/flow/2001-01-01T00"
    stray.mkdir(parents=True)
    for name in ("0123456789abcdef.parquet", "0123456789abcdef.tmp", "notes.txt"):
        (stray / name).write_text("x")
    with open_embedded(folder, clock=clock) as store:
        assert files(store) == sorted([kept, "flow/2001-01-01T00/notes.txt"])
        assert len(ids(store)) == 3_000


def test_a_lost_file_is_an_error_not_silence(store: EmbeddedStore) -> None:
    """Reading events whose file is gone says which file, and what to run."""
    store.commit(Commit(batches=[build.flows(3_000)]))
    (store.lake / files(store)[0]).unlink()
    with pytest.raises(CsirtError, match="store fsck"):
        list(store.events("flow"))


def test_spans_of_many_segments() -> None:
    """Bounds and numbers of rows by segment, ordinals above 2^63 included."""
    table = pa.concat_tables(
        [
            build.mails(3, name="b", first=5).table,
            build.mails(2, name="a").table,
            build.mails(1, name="b", first=1 << 55).table,
        ]
    ).unify_dictionaries()
    found = {span.segment: (span.least, span.greatest, span.rows) for span in describe.spans(table)}
    assert found == {build.segment("a"): (0, 1 << 8, 2), build.segment("b"): (5 << 8, 1 << 63, 4)}


def test_union_of_schemas() -> None:
    """Text as dictionary or plain is one thing; two number types are not; null fits everything."""
    text, plain = pa.schema([("a", ecs.TEXT)]), pa.schema([("a", pa.string())])
    joined = merge.union(text, plain)
    assert joined is not None and joined.field("a").type == ecs.TEXT
    assert merge.union(pa.schema([("a", pa.uint8())]), pa.schema([("a", pa.uint16())])) is None
    nulls = merge.union(pa.schema([("a", pa.null())]), pa.schema([("a", pa.uint16())]))
    assert nulls is not None and nulls.field("a").type == pa.uint16()
    assert merge.union(text.with_metadata({"m": "1"}), text.with_metadata({"m": "2"})) is None


def test_texts_no_row_uses_are_not_written(store: EmbeddedStore) -> None:
    """Three rows cut from a batch with 50,000 texts weigh like three rows, in the catalogue and in a file."""
    names = [f"member-{n:06d}" for n in range(50_000)]
    for rows in (3, 2_500):
        table = build.flows(rows, name=str(rows)).table
        codes = pa.array([49_999, None, *range(rows - 2)], pa.int32())
        column = pa.DictionaryArray.from_arrays(codes, pa.array(names))
        wide = table.append_column("csirt.source.member.name", column)
        store.commit(Commit(batches=[Batch("flow", wide)]))
    with store.reading_parts() as found:
        assert all(part.size < 10_000 + part.rows * 60 for part in found)
    values = [batch.table.column("csirt.source.member.name").to_pylist() for batch in store.events()]
    assert [value[:3] for value in values] == [["member-049999", None, "member-000000"]] * 2
    assert fsck(store) == []


def test_a_damaged_file_keeps_no_other_from_being_merged(
    store: EmbeddedStore, clock: Frozen, caplog: pytest.LogCaptureFixture
) -> None:
    """Its group is left alone and said once; the files of another hour merge all the same."""
    for hour in range(2):
        for n in range(3):
            store.commit(Commit(batches=[build.flows(2_100, name=str(hour), first=n * 2_100)]))
        clock.time += HOUR
    first, second = sorted({Path(name).parent for name in files(store)})
    victim = next((store.lake / first).iterdir())
    data = bytearray(victim.read_bytes())
    data[10:2_000] = bytes(1_990)
    victim.write_bytes(data)
    clock.time += HOUR
    store.maintain()
    store.maintain()
    clock.time += HOUR
    store.maintain()
    assert len(list((store.lake / first).iterdir())) == 3
    assert len(list((store.lake / second).iterdir())) == 1
    assert len(caplog.records) == 1
