"""What a node that joins reads: whole, or not taken."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from csirt.stores.elastic.shared import snapshot
from csirt.stores.elastic.shared.log import Cut, Documents
from csirt.stores.elastic.shared.snapshot import Damaged, Taken
from csirt.stores.elastic.shared.store import NodeStore
from tests.elastic.shared.model import Model, loaded, model, same, work
from tests.stores import build

pytestmark = pytest.mark.timeout(300)


def kept(store: NodeStore) -> list[Taken]:
    """The snapshots that are named."""
    meta = Documents(lambda: store.shipper.client, store.config.elasticsearch, "meta", store.clock)
    return snapshot.named(meta, store.journal.place.log)[0]


def with_two(found: Model) -> list[Taken]:
    """As many entries as make two snapshots be kept, the tail of the older one with them."""
    loaded(found)
    for _ in range(3):
        found.turn()
    two = kept(found.nodes["a"])
    assert len(two) == 2 and two[0].index in found.cluster.segments()
    return two


def damage(found: Model, taken: Taken, how: str) -> None:
    """A part of it, as a bad disk leaves it."""
    documents, name = found.cluster.indices[taken.index], f"{taken.id}:0"
    if how == "lost":
        del documents[name]
    elif how == "not text":
        documents[name]["source"] = {"body": "?"}
    else:
        octets = bytearray(base64.b64decode(documents[name]["source"]["body"]))
        octets[len(octets) // 2] ^= 1
        documents[name]["source"] = {"body": base64.b64encode(bytes(octets)).decode()}


@pytest.mark.parametrize("how", ["lost", "not text", "one bit"])
def test_a_damaged_snapshot_is_not_taken(memory: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The one before is. With none whole there is a sentence, and nothing in the folder; after the next snapshot the
    node joins."""
    with model(memory, monkeypatch, "ab", log_tail=20) as found:
        older, newer = with_two(found)
        damage(found, newer, how)
        c = found.join("c")
        same(found)
        entry = next(entry for entry in c.audit() if entry.action == "store.joined")
        assert entry.detail["after_entry"] == older.number
        damage(found, older, how)
        d = found.start("d")
        for _ in range(2):
            with pytest.raises(Damaged, match="log_entries"):
                d.tail.turn()
        assert not d.journal.place.opened and not any(d.find(kind) for kind in ("alert", "case", "incident"))
        work(found, "a", 11, 100)
        found.turn("a", "b", "c")
        work(found, "a", 11, 200)
        for _ in range(3):
            found.turn("a", "b", "c")
        d.tail.turn()
        same(found)


def test_the_log_from_its_beginning_where_that_is_kept(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no snapshot whole a node reads all of the log, as long as that is there."""
    with model(memory, monkeypatch, "ab", log_tail=1_000) as found:
        loaded(found)
        for _ in range(3):
            found.turn()
        for taken in kept(found.nodes["a"]):
            damage(found, taken, "lost")
        found.join("c")
        same(found)
        assert not any(entry.action == "store.joined" for entry in found.nodes["c"].audit())


def test_what_the_cluster_refused_comes_along(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents that the cluster does not take are in the snapshot, also of a leader that has not sent them itself, and
    whoever leads tries them again."""
    with model(memory, monkeypatch, "ab") as found:
        bad = build.opened("a4")[0].id
        found.cluster.refuses = {bad}
        loaded(found)
        found.turn()
        assert [one["id"] for one in found.nodes["a"].database and _dead(found.nodes["a"])] == [bad]
        found.kill("a")
        found.wait(22)
        for round_ in range(3):
            work(found, "b", 11, 100 + round_ * 11)
            found.turn()
            found.turn()
        assert found.nodes["b"].cluster()["log"]["snapshot"]["number"] > 60
        found.join("c")
        same(found)
        assert bad in {case["id"] for case in found.nodes["c"].find("case")}
        found.kill("b")
        found.cluster.refuses = set()
        found.wait(22)
        assert found.leader is found.nodes["c"] and bad in found.cluster.indices["model-case"]


def test_a_leader_that_is_killed_before_it_tells(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cluster refused from it is sent again by the next, who learns it for itself: nothing is missing from a
    snapshot because nobody knew."""
    with model(memory, monkeypatch, "ab") as found:
        bad = build.opened("a0")[0].id
        found.cluster.refuses = {bad}
        work(found, "a", 1)
        a = found.nodes["a"]
        while a.shipper.turn():
            pass
        assert [one["id"] for one in _dead(a)] == [bad]
        for _ in range(3):
            a.present.turn()
            found.nodes["b"].tail.turn()
            found.nodes["b"].present.turn()
        found.kill("a")
        found.wait(22)
        assert [one["id"] for one in _dead(found.nodes["b"])] == [bad]
        for round_ in range(3):
            work(found, "b", 11, 11 * round_)
            found.turn()
        found.turn()
        found.join("c")
        same(found)


def test_a_snapshot_waits_for_the_documents(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named only once the cluster has every document up to its entry: a node that reads it finds them all."""
    with model(memory, monkeypatch, "ab") as found:
        a = found.nodes["a"]
        for round_ in range(3):
            work(found, "a", 11, 11 * round_)
            a.cutter.turn()
        assert kept(a) == [] and a.cluster()["log"]["snapshot"] is None and a.cluster()["log"]["segments"] > 2
        while a.shipper.turn():
            pass
        a.cutter.turn()
        (taken,) = kept(a)
        assert taken.number == a.cluster()["log"]["snapshot"]["number"] > 10
        found.join("c")
        found.turn()
        same(found)


def _dead(store: NodeStore) -> list[dict[str, object]]:
    from csirt.stores.elastic import outbox

    with store.database.reading() as connection:
        return outbox.dead_letters(connection)


def test_the_log_is_cut_while_a_node_joins(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any of its requests: it begins again with the next snapshot, and has everything; so does one that was killed
    there, if the leader has heard of it."""
    number = 0
    while True:
        number += 1
        with model(memory / str(number), monkeypatch, "ab") as found:
            loaded(found)
            found.turn()
            c = found.start("c")
            asleep: list[int] = []

            def hook(now: int, place: str, found: Model = found, asleep: list[int] = asleep, at: int = number) -> None:
                if now == at and place == "before" and not asleep:
                    asleep.append(now)
                    if at % 3:  # it has not heard of the new node
                        found.nodes["a"].nodes.meet = lambda client, index: None
                    for round_ in range(3):
                        work(found, "a", 11, 100 + round_ * 11)
                        found.turn("a", "b")
                        found.turn("a", "b")
                    if at % 3 == 0:
                        raise KeyboardInterrupt

            found.clients["c"].hook = hook
            try:
                c.tail.turn()
            except KeyboardInterrupt:
                found.kill("c")
                found.join("c")
            except Cut:  # it had joined, and not been heard of yet
                assert c.journal.place.opened and number % 3
                break
            found.turn()
            same(found)
            if not asleep:
                break
    assert number > 8


def test_rows_of_any_size(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is in parts of a bounded size, however large a state is."""
    import os

    from csirt.stores.base import Commit

    monkeypatch.setattr(snapshot, "PART", 10_000)
    large = os.urandom(64_000)
    with model(memory, monkeypatch, "ab") as found:
        found.nodes["a"].commit(Commit(states={"sector:x": large}))
        loaded(found)
        found.turn()
        newest = kept(found.nodes["a"])[-1]
        parts = [found.cluster.indices[newest.index][f"{newest.id}:{n}"] for n in range(len(newest.digests))]
        assert len(parts) > 6 and all(len(base64.b64decode(one["source"]["body"])) <= 10_000 for one in parts)
        assert found.join("c").state("sector:x") == large
