"""The log is cut, and nothing else is: whoever is killed, sleeps or comes too late."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from csirt.errors import CsirtError
from csirt.stores.base import Commit
from tests.elastic.shared import desk
from tests.elastic.shared.model import Model, model
from tests.elastic.shared.test_log import opened
from tests.stores import build

pytestmark = pytest.mark.timeout(300)


def work(found: Model, node: str, count: int, first: int = 0) -> None:
    """So many entries."""
    for number in range(first, first + count):
        found.nodes[node].commit(opened(f"{node}{number}"))


def same(found: Model) -> None:
    """All folders hold the same of what nodes share."""
    documents = [
        [line for line in desk.documents(store) if b'"kind":"audit"' not in line] for store in found.nodes.values()
    ]
    pending = [[blob.id for blob in store.pending(1 << 62)] for store in found.nodes.values()]
    states = [store.state("windows") for store in found.nodes.values()]
    assert all(one == documents[0] for one in documents) and all(one == pending[0] for one in pending)
    assert all(one == states[0] for one in states)
    assert all(len(tokens) == 1 for tokens in found.cluster.accepted.values())


def test_the_log_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many entries, few kept: a node that joins then gets everything from a snapshot, and a killed one catches up."""
    with model(tmp_path, monkeypatch, "ab") as found:
        for round_ in range(8):
            work(found, "ab"[round_ % 2], 8, round_ * 8)
            found.nodes["a"].commit(Commit(hits=build.hits([build.START + round_]), states={"windows": b"%d" % round_}))
            found.turn()
        found.turn()
        found.turn()
        log = found.nodes["a"].cluster()["log"]
        assert log["first"] > 40 and log["entries"] < 40 and log["segments"] <= 3
        assert len(found.cluster.segments()) == log["segments"]
        found.join("c")
        same(found)
        assert len(found.nodes["c"].find("case")) == 64
        found.nodes["c"].commit(opened("more"))
        found.turn()
        same(found)


class Killed(BaseException):
    """As if the process had ended here."""


def loaded(found: Model) -> None:
    """As much as makes the next turns begin a segment, take a snapshot and let go of segments before it."""
    for round_ in range(3):
        work(found, "a", 11, round_ * 11)
        found.nodes["a"].commit(Commit(hits=build.hits([build.START + round_]), states={"windows": b"%d" % round_}))
        if round_ < 2:
            found.turn()
            found.turn()


def calls_of_a_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many requests the leader makes in turns in which the log is cut."""
    with model(folder, monkeypatch, "ab") as found:
        loaded(found)
        before, first = found.clients["a"].calls, found.nodes["a"].cluster()["log"]["first"]
        found.turn()
        found.turn()
        assert found.nodes["a"].cluster()["log"]["first"] > first
        return found.clients["a"].calls - before


def at(found: Model, node: str, number: int, when: str, act: Callable[[], None]) -> None:
    """Do something when a node has made so many requests more."""
    end = found.clients[node].calls + number

    def hook(now: int, place: str) -> None:
        if (now, place) == (end, when):
            act()

    found.clients[node].hook = hook


def ends() -> None:
    """A kill."""
    raise Killed


def goes_on(found: Model) -> None:
    """Then all is well: whoever leads cuts the log, a third node joins, and nothing is there that nobody names."""
    found.wait(22)
    work(found, found.leader.node, 12, 100)
    for _ in range(4):
        found.turn()
    for name in "abc":
        if name not in found.nodes:
            found.join(name)
    found.turn()
    same(found)
    assert len(found.nodes["c"].find("case")) == 33 + 12
    assert len(found.cluster.segments()) == found.leader.cluster()["log"]["segments"] <= 3


def test_a_kill_at_any_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL before or after any request of a cut: the log is whole, whether the same node goes on or the other."""
    most = calls_of_a_cut(tmp_path / "count", monkeypatch)
    assert most > 20
    for number in range(1, most + 1):
        for when in ("before", "after"):
            with model(tmp_path / f"{when}{number}", monkeypatch, "ab") as found:
                loaded(found)
                at(found, "a", number, when, ends)
                with pytest.raises(Killed):
                    for _ in range(3):
                        found.turn()
                found.kill("a")
                if (number + len(when)) % 2:
                    found.join("a")
                goes_on(found)


def test_a_leader_that_sleeps_at_any_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wakes up when another has led, cut the log and deleted from it, and goes on with what it was about to do: it
    deletes nothing of what is kept, and what it says is refused."""
    most = calls_of_a_cut(tmp_path / "count", monkeypatch)
    for number in range(1, most + 1):
        with model(tmp_path / str(number), monkeypatch, "ab") as found:
            loaded(found)

            def others(found: Model = found) -> None:
                found.clients["a"].hook = lambda now, place: None
                found.wait(22, "b")
                for _ in range(3):
                    work(found, "b", 4, 100 + 4 * len(found.nodes["b"].find("case")))
                    found.turn("b")
                    found.turn("b")

            at(found, "a", number, "before", others)
            for _ in range(2):
                for act in (found.nodes["a"].present.turn, found.nodes["a"].tail.turn, found.nodes["a"].cutter.turn):
                    with suppress(CsirtError):
                        act()
            found.turn()
            found.turn()
            same(found)
            found.join("c")
            same(found)
            assert len(found.nodes["c"].find("case")) == 33 + 12
            found.wait(20)
            assert len(found.cluster.segments()) == found.leader.cluster()["log"]["segments"]
