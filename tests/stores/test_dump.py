"""The canonical dump: equal for any batching, merging, restart or path, sorted, and without what differs by chance."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson
import pytest

from csirt import ids
from csirt.clock import HOUR, Frozen
from csirt.errors import Usage
from csirt.model.batch import Batch, event_ids
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded
from csirt.stores.embedded.dump import DUMP_KINDS
from tests.stores import build

ROWS = 12_000


def filled(folder: Path, *, rows: int, now: int, maintain: bool = False, where: str = "x") -> EmbeddedStore:
    """The same content, committed in pieces of `rows` at time `now`, interleaved over segments and datasets."""
    clock = Frozen(now)
    store = open_embedded(folder, clock=clock)
    for first in range(0, ROWS, rows):
        size = min(rows, ROWS - first)
        flows = [build.flows(size, name=name, first=first) for name in ("one", "two")]
        mail = build.mails(size // 20, first=first // 20)
        index = mail.table.column_names.index("log.file.path")
        path = mail.table.column("log.file.path").combine_chunks()
        renamed = type(path).from_arrays(path.indices, [f"/{where}/mail.log"])
        mail = Batch("mail", mail.table.set_column(index, "log.file.path", renamed))
        store.commit(
            Commit(
                batches=[*flows, mail],
                position=Position("s", "f", first + size, done=first + size == ROWS, extra={"path": where}),
                previous=first,
            )
        )
        if maintain:
            clock.time += 2 * HOUR
            store.maintain()
            store.maintain()
    case, events = build.opened("a")
    case = case.model_copy(update={"version": 1, "created": now, "updated": now})
    store.commit(
        Commit(
            alerts=[build.alert("a", created=now), build.alert("b")],
            incidents=[build.incident("a", created=now)],
            cases=[case],
            case_events=events,
            runs=[build.run("a", created=now)],
            receipts=[build.receipt("a", started=now, finished=now, artifact=f"/{where}/outbox/block.acl")],
            notifications=[build.notification("a", due=now, state="sent" if maintain else "pending", attempts=now % 7)],
            audit=[
                build.entry("case.opened", time=now, detail={"number": where, "alerts": 1}),
                build.entry("case.opened", time=now, actor="kari"),
                build.entry("looked", time=now, category="access"),
            ],
        )
    )
    return store


def test_equal_for_any_batching_time_path_and_layout(tmp_path: Path) -> None:
    """Commits of 600 or 6,000 rows, another year, other paths, merged files: the same bytes."""
    variants = [
        {"rows": 600, "now": build.START},
        {"rows": 6_000, "now": 2 * build.START, "where": "elsewhere"},
        {"rows": 3_000, "now": build.START, "maintain": True},
    ]
    dumps = []
    for number, variant in enumerate(variants):
        with filled(tmp_path / str(number), **variant) as store:  # type: ignore[arg-type]
            dumps.append(b"".join(store.dump()))
        with open_embedded(tmp_path / str(number), clock=Frozen(1)) as store:
            assert b"".join(store.dump()) == dumps[-1]
    assert len({hashlib.sha256(dump).hexdigest() for dump in dumps}) == 1


def test_lines_are_canonical_json_sorted_by_kind_and_id(tmp_path: Path) -> None:
    """Every line is JSON, keys sorted, no spaces; (kind, id) rises bytewise and is unique; all kinds are there."""
    with filled(tmp_path, rows=4_000, now=build.START) as store:
        lines = list(store.dump())
    keys = []
    for line in lines:
        assert line.endswith(b"\n")
        document = orjson.loads(line)
        keys.append((document["kind"].encode(), document["id"].encode()))
        assert orjson.dumps(document, option=orjson.OPT_SORT_KEYS) + b"\n" == line
    assert keys == sorted(set(keys))
    assert {kind.decode() for kind, _ in keys} == set(DUMP_KINDS)
    assert sum(kind == b"event" for kind, _ in keys) == 2 * ROWS + ROWS // 20


def test_events_carry_their_own_ids_in_both_places(tmp_path: Path) -> None:
    """The line's id is the event's id, computed from segment and ordinal; when it was received is not said."""
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        flow = build.flows(50)
        store.commit(Commit(batches=[flow]))
        documents = [orjson.loads(line) for line in store.dump(["event"])]
    assert [document["id"] for document in documents] == event_ids(flow.table).to_pylist()
    assert all(document["event"]["event"]["id"] == document["id"] for document in documents)
    assert all("ingested" not in document["event"]["event"] for document in documents)


def test_what_differs_by_chance_is_left_out(tmp_path: Path) -> None:
    """No wall clock, number, version, delivery state, path, chain or other people's audit entries."""
    with filled(tmp_path, rows=12_000, now=build.START) as store:
        found = {document["kind"]: document for document in map(orjson.loads, store.dump())}
        audit = [orjson.loads(line) for line in store.dump(["audit"])]
    assert not {"created", "updated", "number", "version"} & set(found["case"])
    assert not {"created", "updated", "number", "state_since"} & set(found["run"])
    assert not {"state", "acked_by", "attempts", "due", "created", "updated"} & set(found["notification"])
    assert not {"started", "finished"} & set(found["receipt"])
    assert found["receipt"]["artifact"] == "block.acl"
    assert found["position"] == {"kind": "position", "id": ids.digest("s", "f"), "offset": 12_000}
    (entry,) = audit
    assert set(entry) == {"kind", "id", "actor", "uid", "on_behalf", "category", "action", "subject", "detail"}
    assert entry["detail"] == {"alerts": 1}


def test_kinds_are_chosen(tmp_path: Path) -> None:
    """Only the kinds asked for, in their order; an unknown one is refused before anything is given out."""
    with filled(tmp_path, rows=12_000, now=build.START) as store:
        assert [orjson.loads(line)["kind"] for line in store.dump(["run", "case"])] == ["case", "run"]
        with pytest.raises(Usage):
            store.dump(["cases"])


def test_the_dump_is_a_snapshot(tmp_path: Path) -> None:
    """What is committed or merged while a dump is read does not show in it."""
    with filled(tmp_path, rows=1_000, now=build.START) as store:
        whole = list(store.dump())
        reader = store.dump()
        lines = [next(reader)]
        store.clock.time += 2 * HOUR  # type: ignore[attr-defined]
        store.maintain()
        store.commit(Commit(batches=[build.flows(3_000, name="late")], alerts=[build.alert("late")]))
        store.maintain()
        lines += reader
        assert lines == whole


def test_events_out_of_order_within_a_segment(tmp_path: Path) -> None:
    """Rows a decoder held back and gave out later still come in id order."""
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        for first in (5_000, 0, 9_000, 7_000, 2_500):
            size = {0: 2_500, 2_500: 2_500, 5_000: 2_000, 7_000: 2_000, 9_000: 10}[first]
            store.commit(Commit(batches=[build.flows(size, first=first)]))
        store.commit(Commit(batches=[build.mails(30, name="one", first=40_000)]))
        found = [orjson.loads(line)["id"] for line in store.dump(["event"])]
    assert found == sorted(found)
    assert len(found) == 9_040
