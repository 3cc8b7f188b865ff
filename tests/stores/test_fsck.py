"""fsck finds every kind of damage, names what is damaged, and finds nothing in a store that is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from csirt.cases.fold import fold
from csirt.clock import HOUR, Frozen
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from csirt.stores.embedded import EmbeddedStore, open_embedded
from csirt.stores.embedded.fsck import fsck
from tests.stores import build


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A store with a bit of everything: files, merged files, rows in the catalogue, hits, documents, audit."""
    clock = Frozen(build.START)
    with open_embedded(tmp_path / "store", clock=clock) as opened:
        for n in range(9):
            opened.commit(Commit(batches=[build.flows(2_100, first=n * 2_100), build.mails(5, first=5 * n)]))
        clock.time += 2 * HOUR
        opened.maintain()
        case, events = build.opened("a")
        opened.commit(
            Commit(
                batches=[build.flows(3_000, name="two"), build.mails(9, name="two")],
                position=Position("s", "f", 5),
                hits=build.hits([5, 9]),
                alerts=[build.alert("a")],
                incidents=[build.incident("a", case=case.id)],
                cases=[case],
                case_events=events,
                runs=[build.run("a")],
                receipts=[build.receipt("a")],
                notifications=[build.notification("a")],
                audit=[build.entry("one"), build.entry("two")],
            )
        )
        yield opened


def only_file(store: EmbeddedStore) -> Path:
    return sorted((store.lake / "flow").rglob("*.parquet"))[-1]


def test_a_whole_store_has_no_findings(store: EmbeddedStore) -> None:
    """Neither whole nor quick checks find anything."""
    assert fsck(store, fold=fold) == []
    assert fsck(store, checksums=False) == []


def flip(store: EmbeddedStore) -> None:
    path = only_file(store)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(store: EmbeddedStore) -> None:
    path = only_file(store)
    path.write_bytes(path.read_bytes()[:-100])


def lose(store: EmbeddedStore) -> None:
    only_file(store).unlink()


def stray(store: EmbeddedStore) -> None:
    only_file(store).with_name("0123456789abcdef.parquet").write_bytes(b"x")


def sql(text: str) -> Callable[[EmbeddedStore], None]:
    def damage(store: EmbeddedStore) -> None:
        store.database.writer.execute(text)

    return damage


DAMAGE: dict[str, tuple[Callable[[EmbeddedStore], None], str]] = {
    "one bit of a file": (flip, "events"),
    "a file's tail": (cut, "events"),
    "a file": (lose, "events"),
    "a file too many": (stray, "orphan"),
    "rows of a part": (sql("UPDATE part SET rows = rows + 1 WHERE id = (SELECT max(id) FROM part)"), "events"),
    "a part's time": (sql("UPDATE part SET least = least - 1 WHERE path IS NOT NULL"), "events"),
    "a part's segment": (sql("UPDATE part_segment SET least = least + 1"), "events"),
    "rows in the catalogue": (sql("UPDATE part_data SET data = zeroblob(length(data))"), "events"),
    "a part that is gone": (sql("DELETE FROM part WHERE path IS NULL"), "events"),
    "hits": (sql("UPDATE hits SET data = zeroblob(9)"), "hits"),
    "times of hits": (sql("UPDATE hits SET least = 0"), "hits"),
    "a document": (sql("UPDATE runs SET doc = '{}'"), "run"),
    "a searched column": (sql("UPDATE notifications SET state = 'sent'"), "notification"),
    "an alert": (sql("DELETE FROM alerts"), "incident"),
    "an incident": (sql("DELETE FROM incidents"), "case"),
    "a case": (sql("UPDATE cases SET owner = 'ola', doc = json_set(doc, '$.owner', 'ola')"), "case"),
    "a case's events": (sql("DELETE FROM case_event"), "case"),
    "the audit": (sql("UPDATE audit SET doc = replace(doc, 'one', 'two') WHERE seq = 1"), "audit"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(store: EmbeddedStore, what: str) -> None:
    """Each kind of damage gives a finding of its check, with a sentence."""
    damage, check = DAMAGE[what]
    damage(store)
    findings = fsck(store, fold=fold)
    assert {finding["check"] for finding in findings} == {check}, findings
    assert all(finding["subject"] and finding["message"] for finding in findings)


def test_a_damaged_catalogue_is_found(tmp_path: Path) -> None:
    """A page of the catalogue overwritten on the disk is found by SQLite's own check."""
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        store.commit(Commit(alerts=[build.alert(f"{n}") for n in range(300)]))
    path = tmp_path / "catalogue.sqlite"
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        root = store.database.writer.execute("SELECT rootpage FROM sqlite_master WHERE name = 'alerts_by_time'").get
        size = store.database.writer.pragma("page_size")
    data = bytearray(path.read_bytes())
    data[root * size - 900 : root * size - 100] = bytes(800)
    path.write_bytes(data)
    with open_embedded(tmp_path, clock=Frozen(1)) as store:
        assert any(finding["check"] == "catalogue" for finding in fsck(store))
