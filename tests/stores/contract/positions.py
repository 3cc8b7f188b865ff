"""Positions, states and counters: what a program that starts again goes on from."""

from __future__ import annotations

import threading

import pytest

from csirt.errors import Conflict
from csirt.model.chunk import Position
from csirt.stores.base import Commit
from tests.stores import build
from tests.stores.contract.reading import Reopen, rows_of


class Positions:
    """A commit moves them together, or not at all."""

    def test_position_moves_with_the_commit(self, reopen: Reopen) -> None:
        """A commit moves the input's position, which is there after a restart."""
        store = reopen()
        assert store.position("s", "f") is None
        store.commit(Commit(position=Position("s", "f", 100, extra={"events": 3}), previous=0))
        store = reopen()
        assert store.position("s", "f") == Position("s", "f", 100, extra={"events": 3})
        store.commit(Commit(position=Position("s", "f", 200, done=True), previous=100))
        assert store.position("s", "f") == Position("s", "f", 200, done=True)
        assert store.positions() == [Position("s", "f", 200, done=True)]
        assert store.find_input("f") == Position("s", "f", 200, done=True)
        assert store.find_input("g") is None

    def test_hand_over_from_another_offset_is_refused(self, reopen: Reopen) -> None:
        """A chunk that does not start where the last commit ended changes nothing at all."""
        store = reopen()
        store.commit(Commit(position=Position("s", "f", 100), previous=0))
        for previous in (0, 50, 101):
            change = Commit(
                batches=[build.flows(10), build.flows(3_000, name="two")],
                position=Position("s", "f", 300),
                previous=previous,
                states={"decoder:s": b"new"},
                counts={"decode.in": 1},
                alerts=[build.alert("a")],
                audit=[build.entry()],
            )
            with pytest.raises(Conflict):
                store.commit(change)
        store = reopen()
        assert store.position("s", "f") == Position("s", "f", 100)
        assert rows_of(store) == 0
        assert store.state("decoder:s") is None
        assert store.counts() == {}
        assert store.find("alert") == []
        assert list(store.audit()) == []

    def test_changes_are_prepared_side_by_side_and_committed_one_by_one(self, reopen: Reopen) -> None:
        """Nothing of a prepared change is seen before its commit; two threads prepare at once; of two changes for the
        same stretch one is refused, and nothing of it stays; a discarded one leaves nothing either."""
        store = reopen()

        def change(name: str, source: str) -> Commit:
            batches = [build.flows(10, name=name), build.flows(3_000, name=name + "-many")]
            return Commit(batches=batches, position=Position(source, "f", 300), counts={"n": 1})

        changes = [change("a", "s"), change("b", "t"), change("c", "s"), change("d", "u")]
        threads = [threading.Thread(target=store.prepare, args=(item,)) for item in changes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rows_of(store) == 0 and store.positions() == []
        store.commit(changes[0])
        store.commit(changes[1])
        with pytest.raises(Conflict):
            store.commit(changes[2])
        store.discard(changes[3])
        assert (rows_of(store), store.counts()) == (2 * 3_010, {"n": 2})
        store = reopen()
        assert rows_of(store) == 2 * 3_010

    def test_states_are_replaced_and_removed(self, reopen: Reopen) -> None:
        """A state is the last committed bytes; None removes it."""
        store = reopen()
        store.commit(Commit(states={"windows": b"\x00\xff", "watermark": b"1"}))
        store.commit(Commit(states={"watermark": b"2", "windows": None}))
        store = reopen()
        assert store.state("watermark") == b"2"
        assert store.state("windows") is None

    def test_counters_accumulate(self, reopen: Reopen) -> None:
        """Counters of all commits add up over restarts."""
        store = reopen()
        store.commit(Commit(counts={"decode.in": 5, "decode.dropped.short": 1}))
        store = reopen()
        store.commit(Commit(counts={"decode.in": 7}))
        assert store.counts() == {"decode.in": 12, "decode.dropped.short": 1}
