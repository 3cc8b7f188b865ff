"""Several nodes, one log: every folder holds the same, a change is made once or refused, and a kill loses nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from csirt.errors import Conflict, Unreachable
from csirt.stores.base import Commit
from csirt.stores.elastic.shared.entry import Entry
from csirt.stores.elastic.shared.log import Piece
from csirt.stores.elastic.shared.store import NodeStore
from tests.elastic import desk as clusters
from tests.elastic.shared import desk
from tests.stores import build

pytestmark = pytest.mark.timeout(300)


def opened(name: str) -> Commit:
    """An incident with its alert and case."""
    case, events = build.opened(name)
    return Commit(
        alerts=[build.alert(name)],
        incidents=[build.incident(name, case=case.id)],
        cases=[case],
        case_events=events,
        notifications=[build.notification(name)],
        audit=[build.entry(subject=name)],
    )


def test_every_folder_gets_the_same(place: tuple[str, str], tmp_path: Path) -> None:
    """What one node commits the other has, numbers included; each number is given once; a third that joins later has
    it all."""
    with desk.nodes(tmp_path, *place, "ab") as (a, b):
        a.commit(opened("one"))
        b.commit(opened("two"))  # it had not seen the first
        desk.turn(a, b)
        assert desk.documents(a) == desk.documents(b) and len(desk.documents(a)) >= 6
        numbers = sorted(case["number"] for case in a.find("case"))
        assert len(set(numbers)) == 2 and numbers == sorted(case["number"] for case in b.find("case"))
        assert a.verify_audit().first_bad is None and b.verify_audit().first_bad is None
        c = desk.node(tmp_path, *place, "c", a.clock)  # type: ignore[arg-type]
        try:
            c.tail.turn()
            assert desk.documents(c) == desk.documents(a)
        finally:
            c.close()


def test_two_analysts_at_once(place: tuple[str, str], tmp_path: Path) -> None:
    """Two people change one case on two nodes from the same version: one is refused and nothing is lost."""
    with desk.nodes(tmp_path, *place, "ab") as (a, b):
        a.commit(opened("one"))
        desk.turn(a, b)
        first, second = (noted(store, text) for store, text in ((a, "mine"), (b, "yours")))
        a.commit(first)
        with pytest.raises(Conflict):
            b.commit(second)
        b.commit(noted(b, "yours"))
        desk.turn(a, b)
        for store in (a, b):
            case = store.find("case")[0]
            assert [event["data"]["text"] for event in store.case_events(case["id"])[1:]] == ["mine", "yours"]
        assert desk.documents(a) == desk.documents(b)


def noted(store: NodeStore, text: str) -> Commit:
    """A note on the only case."""
    case, event = desk.noted(store.find("case")[0], store.case_events(store.find("case")[0]["id"]), text)
    return Commit(cases=[case], case_events=[event])


def test_an_acknowledgement_is_not_overwritten(place: tuple[str, str], tmp_path: Path) -> None:
    """A document without a version, read before another node changed it, cannot be written over that change: neither
    when the change was seen since the reading nor when it was not."""
    with desk.nodes(tmp_path, *place, "ab") as (a, b):
        a.commit(opened("one"))
        desk.turn(a, b)
        for seen in (True, False):
            read = a.find("notification")[0]
            other = desk.renewed(b.find("notification")[0], acked_by=f"kari {seen}")
            b.commit(Commit(notifications=[other]))
            if seen:
                a.journal.catch_up()
            stale = desk.renewed(read, state="sent")
            with pytest.raises(Conflict):
                a.commit(Commit(notifications=[stale]))
            a.commit(Commit(notifications=[desk.renewed(a.find("notification")[0], state="sent")]))
            desk.turn(a, b)
            assert b.find("notification")[0]["acked_by"] == f"kari {seen}"
            assert b.find("notification")[0]["state"] == "sent"


class Killed(BaseException):
    """As if the process had ended here."""


def test_a_kill_between_log_and_folder(place: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry is in the log and the folder has not got it: the node finds it when it is started again, and nothing is
    made twice; neither when the answer was lost on its way."""
    with desk.nodes(tmp_path, *place, "ab") as (a, b):

        def killed(found: list[Entry]) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(b.journal, "_put", killed)
            with pytest.raises(Killed):
                b.commit(opened("one"))
        assert b.find("case") == [] and b.find("alert") == []
        b.close()
        b = desk.node(tmp_path, *place, "b", a.clock)  # type: ignore[arg-type]
        try:
            desk.turn(a, b)
            assert desk.documents(a) == desk.documents(b) and len(b.find("case")) == 1
            real = Piece.put
            lost: list[str] = []

            def loses(self: Piece, name: str, *rest: object) -> object:
                done = real(self, name, *rest)  # type: ignore[arg-type]
                if not lost:
                    lost.append(name)
                    raise Unreachable("lost on its way")
                return done

            with monkeypatch.context() as patch:
                patch.setattr(Piece, "put", loses)
                b.commit(opened("two"))
            desk.turn(a, b)
            assert lost and desk.documents(a) == desk.documents(b) and len(b.find("case")) == 2
            assert len(list(b.audit())) == len(list(a.audit())) == 2
        finally:
            b.close()


def test_a_folder_with_cases_begins_the_log(place: tuple[str, str], tmp_path: Path) -> None:
    """The folder of a single daemon brings its cases along; another folder with cases of its own is refused, and so is
    a daemon without a node's name."""
    from csirt.clock import Frozen
    from csirt.stores.elastic.store import open_elastic

    clock = Frozen(build.START)
    for name in "ab":
        with open_elastic(tmp_path / name, clock=clock, config=clusters.settings(*place)) as store:
            store.commit(opened(name))
            store.commit(Commit(hits=build.hits([build.START]), states={"windows": b"{}", "decoder:x": b"1"}))
            if name == "a":
                store.shipper.settle(30, patient=True)
    with desk.nodes(tmp_path, *place, "a") as (a,):
        assert len(a.find("case")) == 1 and len(a.pending(build.START)) == 1
        b = desk.node(tmp_path, *place, "b", clock)
        with pytest.raises(Conflict, match="cases of its own"):
            b.tail.turn()
        b.close()
        c = desk.node(tmp_path, *place, "c", clock)
        try:
            c.tail.turn()
            assert desk.documents(c) == [line for line in desk.documents(a) if b'"kind":"audit"' not in line]
            assert c.state("windows") == b"{}" and c.state("decoder:x") is None
            assert [blob.id for blob in c.pending(build.START)] == [blob.id for blob in a.pending(build.START)]
        finally:
            c.close()
    with open_elastic(tmp_path / "d", clock=clock, config=clusters.settings(*place)) as alone:
        alone.commit(opened("d"))
        with pytest.raises((Conflict, Unreachable), match="another store"):
            alone.shipper.settle(20)


@pytest.mark.parametrize("seed", range(3))
def test_any_interleaving_gives_every_folder_the_same(place: tuple[str, str], tmp_path: Path, seed: int) -> None:
    """Commits, turns and restarts in any order: the folders agree, nothing is lost, and the cluster has it all."""
    rng = random.Random(seed)
    with desk.nodes(tmp_path, *place, "ab") as stores:
        made = 0
        for number in range(40):
            which = rng.randrange(2)
            act = rng.choice(["open", "open", "note", "turn", "restart", "hits"])
            if act == "open":
                stores[which].commit(opened(f"{seed}-{number}"))
                made += 1
            elif act == "note" and (cases := stores[which].find("case")):
                store, case = stores[which], rng.choice(cases)
                record, event = desk.noted(case, store.case_events(case["id"]), str(number))
                try:
                    store.commit(Commit(cases=[record], case_events=[event]))
                except Conflict:
                    store.journal.catch_up()
            elif act == "hits":
                stores[which].commit(Commit(hits=build.hits([build.START + number])))
            elif act == "turn":
                desk.turn(stores[which])
            elif act == "restart":
                stores[which].close()
                stores[which] = desk.node(tmp_path, *place, "ab"[which], stores[0].clock)  # type: ignore[arg-type]
                stores[which].tail.turn()
        desk.turn(*stores)
        desk.turn(*stores)
        a, b = stores
        assert desk.documents(a) == desk.documents(b)
        assert len(a.find("case")) == made == len({case["number"] for case in a.find("case")})
        assert [blob.id for blob in a.pending(1 << 62)] == [blob.id for blob in b.pending(1 << 62)]
        leader = next(store for store in stores if store.journal.leads)
        found = clusters.reader(leader)
        assert found.count("case") == made
        assert {case["id"]: case["version"] for case in found.find("case")} == {
            case["id"]: case["version"] for case in a.find("case")
        }
