"""The log is cut, and nothing else is: whoever is killed, sleeps or comes too late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import elasticsearch as es
import pytest

from csirt.errors import CsirtError, Unreachable
from csirt.stores.base import Commit
from tests.elastic.shared.model import Indices, Model, loaded, model, same, work
from tests.stores import build

pytestmark = pytest.mark.timeout(300)


def test_the_log_does_not_grow(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many entries, few kept: a node that joins then gets everything from a snapshot, and a killed one catches up."""
    with model(memory, monkeypatch, "ab") as found:
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
        work(found, "c", 1)
        found.turn()
        same(found)


def test_a_full_segment_is_followed_at_once(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry that fills a segment wakes the thread that cuts, of the node that leads and no other, whoever wrote
    it: how large a segment becomes does not hang on how many entries come between two looks."""
    with model(memory, monkeypatch, "ab") as found:
        found.turn()
        woken: list[str] = []
        for name, store in found.nodes.items():
            monkeypatch.setattr(store._cutting, "wake", lambda name=name: woken.append(name))
        leader = found.leader
        other = next(name for name in found.nodes if name != leader.node)
        while not leader.cutter.due:
            assert woken == []
            found.nodes[other].commit(Commit(states={"sector:full": b"%d" % leader.journal.place.applied}))
            leader.tail.turn()
        assert woken == [leader.node]


class Killed(BaseException):
    """As if the process had ended here."""


def calls_of_a_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many requests the leader makes in turns in which the log is cut."""
    with model(folder, monkeypatch, "ab") as found:
        loaded(found)
        before, first = found.clients["a"].calls, found.nodes["a"].cluster()["log"]["first"]
        found.turn()
        found.turn()
        assert found.nodes["a"].cluster()["log"]["first"] > first
        return found.clients["a"].calls - before


def when_asked(found: Model, node: str, number: int, when: str, act: Callable[[], None]) -> None:
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
    assert len(found.cluster.segments()) == found.leader.cluster()["log"]["segments"] <= 3


def test_a_kill_at_any_request(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL after any request of a cut: the log is whole, whether the same node goes on or the other."""
    most = calls_of_a_cut(memory / "count", monkeypatch)
    assert most > 20
    for number in range(1, most + 1):
        with model(memory / str(number), monkeypatch, "ab") as found:
            loaded(found)
            when_asked(found, "a", number, "after", ends)  # for the cluster the same as before the next
            with pytest.raises(Killed):
                for _ in range(3):
                    found.turn()
            found.kill("a")
            if number % 2:
                found.join("a")
            goes_on(found)


def test_a_leader_that_sleeps_at_any_request(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wakes up when another has led, cut the log and deleted from it, and goes on with what it was about to do: it
    deletes nothing of what is kept, and what it says is refused."""
    most = calls_of_a_cut(memory / "count", monkeypatch)
    for number in range(1, most + 1):
        with model(memory / str(number), monkeypatch, "ab") as found:
            loaded(found)

            def others(found: Model = found) -> None:
                found.clients["a"].hook = lambda now, place: None
                found.wait(22, "b")
                for round_ in range(3):
                    work(found, "b", 5, 100 + 5 * round_)
                    found.turn("b")
                    found.turn("b")

            when_asked(found, "a", number, "before", others)
            for _ in range(2):
                for act in (found.nodes["a"].present.turn, found.nodes["a"].tail.turn, found.nodes["a"].cutter.turn):
                    with suppress(CsirtError):
                        act()
            found.turn()
            found.turn()
            same(found)
            found.join("c")
            same(found)
            found.wait(20)
            assert len(found.cluster.segments()) == found.leader.cluster()["log"]["segments"]


def test_what_another_is_about_to_name_is_not_deleted(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder of before goes on with its sweep at the moment when the next has made an index and not named it yet."""
    with model(memory, monkeypatch, "ab") as found:
        loaded(found)
        found.turn()
        found.turn()
        a, b = found.nodes["a"], found.nodes["b"]
        asleep, wakes = threading.Event(), threading.Event()
        lists = a.journal.log.names

        def sleeps(log: str) -> list[str]:
            asleep.set()
            assert wakes.wait(60)
            return lists(log)

        def sweeps() -> None:
            a.cutter._swept = None
            with a.journal.leading():
                a.cutter._sweep()

        monkeypatch.setattr(a.journal.log, "names", sleeps)
        sweeper = threading.Thread(target=sweeps)
        sweeper.start()
        assert asleep.wait(60)
        found.wait(22, "b")
        work(found, "b", 11, 100)
        begins = b.journal.log.begin

        def made(log: str, number: int) -> str:
            name = begins(log, number)
            wakes.set()
            sweeper.join(60)
            return name

        monkeypatch.setattr(b.journal.log, "begin", made)
        found.turn("b")
        assert wakes.is_set() and not sweeper.is_alive()
        found.turn()
        found.join("c")
        same(found)


def test_indices_made_in_vain_do_not_pile_up(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that makes an index and does not say so in time is asked again and again: one is left at most, and none
    when it answers."""
    with model(memory, monkeypatch, "ab") as found:
        loaded(found)
        a = found.nodes["a"]
        make = Indices.create

        def late(self: Indices, **how: object) -> object:
            make(self, **how)
            raise es.ConnectionTimeout("too late")

        before = len(found.cluster.segments())
        with monkeypatch.context() as patch:
            patch.setattr(Indices, "create", late)
            for _ in range(5):
                with pytest.raises(Unreachable):
                    a.cutter.turn()
            assert len(found.cluster.segments()) == before + 1
            assert a.cutter.since is not None
        found.turn()
        found.turn()
        assert len(found.cluster.segments()) == a.cluster()["log"]["segments"]
        assert a.cluster()["log"]["uncut_s"] == 0
        same(found)
