"""Threads that read while another commits."""

from __future__ import annotations

import threading

from csirt.stores.base import Commit
from tests.stores import build
from tests.stores.contract.reading import Reopen, rows_of


class Concurrency:
    """They see whole commits."""

    def test_readers_see_whole_commits(self, reopen: Reopen) -> None:
        """Threads that read while another commits see each commit entirely or not at all."""
        store = reopen()
        done = threading.Event()
        torn: list[str] = []

        def read() -> None:
            while not done.is_set():
                rows = rows_of(store, dataset="mail")
                if rows % 5:
                    torn.append(f"{rows} rows")
                if len(store.find("alert")) % 2:
                    torn.append("half the alerts")

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for n in range(40):
            store.commit(
                Commit(
                    batches=[build.mails(5, first=n * 5)],
                    alerts=[build.alert(f"{n}-a"), build.alert(f"{n}-b")],
                )
            )
            if n % 10 == 0:
                store.maintain()
        done.set()
        for thread in threads:
            thread.join()
        assert torn == []
        assert rows_of(store) == 200
