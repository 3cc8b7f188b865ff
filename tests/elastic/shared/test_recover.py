"""A node's folder that no longer follows the log: it is noticed, and made to follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from csirt.config import Config
from csirt.errors import Conflict, CsirtError, NotFound
from csirt.stores.base import Commit
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.shared import recover
from csirt.stores.elastic.shared.store import NodeStore
from csirt.stores.embedded import open_embedded
from tests.elastic import desk as clusters
from tests.elastic.shared import desk
from tests.elastic.shared.test_log import opened
from tests.stores import build

pytestmark = pytest.mark.timeout(300)


def rebuilt(folder: Path, place: tuple[str, str], name: str, store: NodeStore, **how: Any) -> dict[str, Any]:
    """The command's report, of a folder whose daemon has ended."""
    config = Config(stores=clusters.settings(*place, node=name))
    return recover.rebuild(folder / name, config, clock=store.clock, **{"dry_run": False, **how})


def lose(place: tuple[str, str], number: int) -> None:
    """The cluster forgets the entries of its log from this number on, as one that was restored does."""
    url, prefix = place
    with connect.client(clusters.settings(url, prefix).elasticsearch) as client:
        index = layout.alias(prefix, layout.LOG) + "-0*"
        client.indices.refresh(index=index)
        hits = client.search(index=index, size=1_000, source=False)["hits"]["hits"]
        for hit in hits:
            if hit["_id"].isdigit() and int(hit["_id"]) >= number:
                client.delete(index=hit["_index"], id=hit["_id"], refresh=True)


def test_a_folder_that_knows_more_than_the_log_is_made_to_follow(place: tuple[str, str], tmp_path: Path) -> None:
    """A node finds that the cluster lost entries and stops writing. A dry run says what only its folder has; then the
    folder holds what the others' do, its own events, positions and chain stay, each audit entry is told once, and what
    it held is in the copy of the catalogue."""
    with desk.nodes(tmp_path, *place, "ab") as (a, b):
        a.commit(opened("one"))
        desk.turn(a, b)
        applied = b.journal.place.applied
        b.commit(opened("two"))
        b.commit(Commit(batches=[build.mails(3)]))
        lose(place, applied + 1)
        b.tail._joined = None
        with pytest.raises(CsirtError, match="store recover"):
            b.tail.turn()
        told = [entry.subject for entry in b.audit()]
        b.close()
        said = rebuilt(tmp_path, place, "b", a, dry_run=True)
        assert (said["state"], said["kept"]) == ("diverged", "")
        assert {kind: said["only_here"][kind] for kind in ("alert", "case")} == {"alert": 1, "case": 1}
        said = rebuilt(tmp_path, place, "b", a)
        assert said["equal"] and Path(said["kept"]).exists()
        assert rebuilt(tmp_path, place, "b", a)["state"] == "follows"
        b = desk.node(tmp_path, *place, "b", a.clock)  # type: ignore[arg-type]
        try:
            a.commit(opened("three"))
            b.commit(opened("four"))
            desk.turn(a, b)
            assert len(b.find("case")) == 3
            for kind in ("alert", "incident", "case", "notification"):
                assert a.find(kind) == b.find(kind)
            assert b.verify_audit().first_bad is None
            subjects = [entry.subject for entry in b.audit()]
            assert subjects[: len(told)] == told and subjects.count("one") == 1
            assert sum(batch.table.num_rows for batch in b.events()) == 3
        finally:
            b.close()
    kept = tmp_path / "kept"
    kept.mkdir()
    Path(said["kept"] or tmp_path / "b" / "catalogue-before-recover-1.sqlite").rename(kept / "catalogue.sqlite")
    with open_embedded(kept, clock=a.clock) as old:
        assert len(old.find("case")) == 2


def test_a_folder_of_another_log_is_made_to_follow(place: tuple[str, str], tmp_path: Path) -> None:
    """A folder that worked alone joins the others: what it held stays in the copy. Without a log there is nothing to
    follow, and nothing is changed."""
    with desk.nodes(tmp_path, *place, "a") as (a,):
        with open_embedded(tmp_path / "c", clock=a.clock) as alone:
            alone.commit(opened("mine"))
        a.commit(opened("one"))
        said = rebuilt(tmp_path, place, "c", a)
        assert said["state"] == "other_log" and said["only_here"]["case"] == 1 and said["equal"]
        c = desk.node(tmp_path, *place, "c", a.clock)  # type: ignore[arg-type]
        try:
            c.tail.turn()
            assert c.find("case") == a.find("case") and c.verify_audit().first_bad is None
        finally:
            c.close()
    with pytest.raises(NotFound):
        rebuilt(tmp_path, place, "nowhere", a, dry_run=True)
    assert not (tmp_path / "nowhere").exists()
    clusters.empty(*place)
    with pytest.raises(Conflict, match="no log"):
        rebuilt(tmp_path, place, "c", a)


def test_a_folder_made_anew_goes_on_with_its_nodes_chain(place: tuple[str, str], tmp_path: Path) -> None:
    """A node whose folder is gone begins with an empty one: its audit entries get numbers after those that the cluster
    has of it, so that none is taken for an old one; the chain says where it begins and is whole."""
    with desk.nodes(tmp_path, *place, "ab") as (a, b):
        for number in range(3):
            b.append_audit([build.entry(subject=f"before {number}", action="x", actor="kari")])
        a.commit(opened("one"))
        desk.turn(a, b)
        b.shipper.settle(30, patient=True)
        b.close()
        (tmp_path / "b").rename(tmp_path / "gone")
        b = desk.node(tmp_path, *place, "b", a.clock)  # type: ignore[arg-type]
        try:
            b.tail.turn()
            b.append_audit([build.entry(subject="after", action="x", actor="kari")])
            b.shipper.settle(30, patient=True)
            assert next(iter(b.audit())).seq == 4
            assert b.verify_audit().first_bad is None
            reader = clusters.reader(b)
            subjects = [one["subject"] for one in reader.all("audit") if one["action"] == "x"]
            assert sorted(subjects) == ["after", "before 0", "before 1", "before 2"]
        finally:
            b.close()
