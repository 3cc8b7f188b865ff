"""Fresh rows, which are seen at once and wait to be settled."""

from __future__ import annotations

import pytest

from csirt.errors import Conflict
from csirt.model import ecs
from csirt.stores.base import Commit, Settled
from tests.stores import build
from tests.stores.contract.reading import Reopen, names_of, rows_of


class Fresh:
    """Each row is there once at any moment, and settled once."""

    def test_fresh_rows_are_seen_at_once_and_wait(self, reopen: Reopen) -> None:
        """Rows that wait to be settled are read like any others, without the time they are due at, small and large."""
        store = reopen()
        store.commit(Commit(fresh=[build.fresh(10)]))
        store.commit(Commit(fresh=[build.fresh(3_000, name="two", first=100)], batches=[build.flows(5, name="three")]))
        store = reopen()
        assert rows_of(store) == rows_of(store, dataset="flow") == 3_015
        assert all(ecs.DUE not in batch.table.column_names for batch in store.events())
        assert names_of(store, ids=names_of(store)[:7]) == names_of(store)[:7]
        with store.waiting() as found:
            assert [(part.dataset, part.rows, part.least) for part in found] == [
                ("flow", 10, build.START),
                ("flow", 3_000, build.START + 100_000),
            ]
            assert found[0].load(None).drop_columns(ecs.DUE).equals(build.flows(10).table)
            assert found[1].load({"source.port"}).column(ecs.DUE).null_count == 0
        with store.waiting(build.START + 50_000) as found:
            assert [part.rows for part in found] == [10]

    def test_a_settled_row_is_seen_once_at_any_moment(self, reopen: Reopen) -> None:
        """Settled rows take the place of the fresh ones in the same commit, in part or in whole."""
        store = reopen()
        for size in (100, 3_000):
            name = f"of{size}"
            store.commit(Commit(fresh=[build.fresh(size, name=name, delay=7)]))
            whole = names_of(store)
            with store.waiting() as found:
                part = found[0].id
            for begin, end in ((0, 40), (40, size)):
                until = build.START + (end - 1) * 1_000 + 7
                done = Commit(batches=[build.flows(end - begin, name=name, first=begin)])
                done.settled = Settled(until, {part: end - begin})
                done.states["settled"] = str(until).encode()
                store.commit(done)
                assert names_of(store) == whole
                with store.waiting() as found:
                    assert sum(item.rows for item in found) == size - end
                    assert sum(item.load({"source.port"}).num_rows for item in found) == size - end
                store = reopen()
                assert names_of(store) == whole
        store.maintain()
        assert len(names_of(reopen())) == 3_100

    def test_rows_are_settled_once(self, reopen: Reopen) -> None:
        """A step over rows that another step has settled is refused as a whole."""
        store = reopen()
        store.commit(Commit(fresh=[build.fresh(10)]))
        with store.waiting() as found:
            part = found[0].id
        until = build.START + 4_000
        store.commit(Commit(batches=[build.flows(5)], settled=Settled(until, {part: 5})))
        for late, rows in ((until, 1), (until - 1, 1), (until + 5_000, 6)):
            with pytest.raises(Conflict):
                store.commit(Commit(batches=[build.flows(3_000, name="no")], settled=Settled(late, {part: rows})))
        assert rows_of(store) == 10
        store.commit(Commit(batches=[build.flows(5, first=5)], settled=Settled(until + 5_000, {part: 5})))
        with pytest.raises(Conflict):
            store.commit(Commit(batches=[build.flows(1)], settled=Settled(until + 9_000, {part: 1})))
        assert rows_of(store) == 10

    def test_the_dump_does_not_tell_fresh_rows_from_settled_ones(self, reopen: Reopen) -> None:
        """What waits is in the dump as what was settled is."""
        store = reopen()
        store.commit(Commit(fresh=[build.fresh(3_000), build.fresh(20, name="two")]))
        before = list(store.dump(["event"]))
        with store.waiting() as found:
            until, rows = max(part.greatest for part in found), {part.id: part.rows for part in found}
        change = Commit(batches=[build.flows(3_000), build.flows(20, name="two")], settled=Settled(until, rows))
        store.commit(change)
        assert list(store.dump(["event"])) == before and len(before) == 3_020
