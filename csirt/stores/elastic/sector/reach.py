"""How far the cluster holds the events of a store folder."""

from __future__ import annotations

import threading

from csirt.stores.elastic import outbox
from csirt.stores.elastic.events import notes
from csirt.stores.embedded.catalogue.database import Database


class Reach:
    """Thread-safe. `mark`: the cluster has every event of the folder up to that event time (microseconds) but for what
    comes late; None while that is not known."""

    def __init__(self, database: Database) -> None:
        self._database, self._lock = database, threading.Lock()
        self._asked: tuple[int, int] | None = None  # an event time, and the folder's counter when it was closed
        self.mark: int | None = None

    def look(self, mark: int | None) -> int | None:
        """`mark`: the event time up to which everything is committed now. What was noted before it was read holds those
        events: once that was sent the cluster has them."""
        with self._lock, self._database.reading() as connection:
            steps = outbox.steps(connection)
            if self._asked is None and mark is not None:
                self._asked = mark, steps
            if self._asked is not None and not notes.waiting(connection, self._asked[1])["events"]:
                reached = self._asked[0]
                self.mark = reached if self.mark is None else max(self.mark, reached)
                self._asked = None
        return self.mark
