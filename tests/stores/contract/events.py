"""Events: every row is read back, cut as asked, whatever maintenance did to the files."""

from __future__ import annotations

import pyarrow as pa

from csirt.model.batch import event_ids
from csirt.stores.base import Commit, Store
from tests.stores import build
from tests.stores.contract.reading import Reopen, names_of, rows_of


class Events:
    """No row, id or value changes."""

    def test_events_come_back_by_dataset_time_id_and_column(self, reopen: Reopen) -> None:
        """Every row and value of large and small batches is read back, cut as asked."""
        store = reopen()
        flow, mail = build.flows(5_000), build.mails(20)
        store.commit(Commit(batches=[flow, mail]))
        store = reopen()
        (back,) = list(store.events("flow"))
        assert back.table.select(flow.table.column_names).equals(flow.table)
        (back,) = list(store.events("mail"))
        assert back.table.select(mail.table.column_names).equals(mail.table)
        assert rows_of(store) == 5_020
        assert rows_of(store, since=build.START + 1_000_000, until=build.START + 2_000_000) == 1_000
        assert rows_of(store, dataset="flow", until=build.START) == 0
        wanted = event_ids(flow.table).to_pylist()[40:43] + event_ids(mail.table).to_pylist()[3:4]
        assert names_of(store, ids=[*wanted, "f" * 32, "not an id"]) == sorted(wanted)
        (narrow,) = list(store.events("flow", columns=["source.ip", "no.such"]))
        assert set(narrow.table.column_names) == {
            "@timestamp",
            "csirt.segment",
            "csirt.ordinal",
            "source.ip:f",
            "source.ip:hi",
            "source.ip:lo",
        }

    def test_large_ordinals_keep_their_order(self, reopen: Reopen) -> None:
        """Ordinals above 2^63 (rows dissected from packets) are found by id."""
        store = reopen()
        low, high = build.mails(3), build.mails(3, first=1 << 55)
        store.commit(Commit(batches=[low, high]))
        name = event_ids(high.table).to_pylist()[1]
        assert names_of(store, ids=[name]) == [name]
        assert rows_of(store) == 6

    def test_maintaining_changes_no_event(self, reopen: Reopen) -> None:
        """Gathering and merging keep every row, id and value, over a restart as well."""
        store = reopen()
        for n in range(30):
            store.commit(Commit(batches=[build.flows(2_500, first=n * 2_500), build.mails(7, first=n * 7)]))
        before = names_of(store)
        total = sum(pa.compute.sum(b.table.column("network.bytes")).as_py() for b in store.events("flow"))
        for _ in range(5):
            self.pass_time(store)
            store.maintain()
        store = reopen()
        assert names_of(store) == before
        assert total == sum(pa.compute.sum(b.table.column("network.bytes")).as_py() for b in store.events("flow"))

    def pass_time(self, store: Store) -> None:
        """Let enough time pass for gathering and merging; stores with a clock of their own override it."""
