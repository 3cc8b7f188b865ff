"""Hits of rules, which wait for the watermark until a correlation uses them up."""

from __future__ import annotations

import pytest

from csirt.errors import Conflict
from csirt.stores.base import Commit
from tests.stores import build
from tests.stores.contract.reading import Reopen


class Hits:
    """They are given out in time, and used once."""

    def test_hits_wait_for_the_watermark(self, reopen: Reopen) -> None:
        """Hits are given out once their least time is reached, with every value, and go when they are consumed."""
        store = reopen()
        table = build.hits([10, 30])
        store.commit(Commit(hits=table))
        store.commit(Commit(hits=build.hits([20])))
        store.commit(Commit(hits=build.hits([])))
        store = reopen()
        assert store.pending(9) == []
        assert [(blob.least, blob.greatest) for blob in store.pending(15)] == [(10, 30)]
        both = store.pending(20)
        assert [(blob.least, blob.greatest) for blob in both] == [(10, 30), (20, 20)]
        assert both[0].hits.equals(table)
        store.commit(Commit(consumed=[both[0].id], hits=build.hits([30])))
        assert [blob.least for blob in store.pending(100)] == [20, 30]

    def test_the_earliest_hits_without_all_the_others(self, reopen: Reopen) -> None:
        """Asked for so many rows, the store gives what holds the earliest of them and one more, and not everything."""
        store = reopen()
        for times in ([50, 60], [10, 40], [20, 70], [80, 90], [30]):
            store.commit(Commit(hits=build.hits(times)))
        assert [blob.least for blob in store.pending(100, 1)] == [10, 20]
        assert [blob.least for blob in store.pending(100, 3)] == [10, 20, 30]
        assert len(store.pending(100, 8)) == len(store.pending(100)) == 5
        assert [blob.least for blob in store.pending(20, 8)] == [10, 20]

    def test_hits_are_consumed_once(self, reopen: Reopen) -> None:
        """A step that uses up hits another step has used is refused as a whole."""
        store = reopen()
        store.commit(Commit(hits=build.hits([10])))
        blob = store.pending(10)[0]
        store.commit(Commit(consumed=[blob.id]))
        with pytest.raises(Conflict):
            store.commit(Commit(consumed=[blob.id], states={"windows": b"x"}))
        assert store.state("windows") is None
