"""A store folder that an Elasticsearch cluster follows.

The folder is the embedded store with everything in it: a commit is its one transaction, which also notes what the
cluster lacks (`outbox.py`). A thread sends that, oldest first, and the cluster's positions move only after everything
of their commits was acknowledged (decision 4). So commits are atomic without the cluster, work goes on when it is away,
and what it shows early is the newest state of a document, which sending again does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from csirt import config as settings
from csirt.clock import Clock
from csirt.stores.base import Commit
from csirt.stores.elastic import outbox
from csirt.stores.elastic.events import notes
from csirt.stores.elastic.events.follow import Follower
from csirt.stores.elastic.fresh import Fresh
from csirt.stores.elastic.sector.reach import Reach
from csirt.stores.elastic.ship import Shipper
from csirt.stores.embedded.catalogue import apply
from csirt.stores.embedded.lake.parts import Part
from csirt.stores.embedded.owner import OwnerLock
from csirt.stores.embedded.store import EmbeddedStore, open_embedded

CLOSING = 5.0


def open_elastic(
    directory: Path, *, clock: Clock, config: settings.Stores, retention: settings.Retention | None = None
) -> ElasticStore:
    """Open and own a store folder, and begin to send what its cluster lacks. As `open_embedded`; the cluster may be
    away."""
    found = open_embedded(directory, clock=clock, config=config, retention=retention, made=ElasticStore)
    assert isinstance(found, ElasticStore)
    return found


class ElasticStore(EmbeddedStore):
    """The embedded store, and a cluster that has all its documents as soon as it can be reached."""

    def __init__(
        self,
        directory: Path,
        lock: OwnerLock,
        clock: Clock,
        config: settings.Stores,
        retention: settings.Retention | None,
        *,
        read_only: bool,
    ) -> None:
        super().__init__(directory, lock, clock, config, retention, read_only=read_only)
        try:
            with self.database.transaction("joining a cluster") as connection:
                self._join(connection)
            self.follower = Follower(self)
            self.reach = Reach(self.database)
            self.fresh = Fresh(config.elasticsearch)
            self.shipper = self._made_shipper()
        except BaseException:
            super().close()
            raise
        self.shipper.start()

    def _join(self, connection: apsw.Connection) -> None:
        outbox.join(connection)

    def _made_shipper(self) -> Shipper:
        return Shipper(self.database, self.config.elasticsearch, self.clock, self.follower, self.fresh)

    def commit(self, change: Commit) -> None:
        """As the embedded store's; the cluster gets it as soon as it can."""
        self.follower.ready(change)
        change.made = self.fresh.making()
        try:
            super().commit(change)
        finally:
            self.fresh.add(change.made)  # of a commit that was undone the folder has no parcel
            change.made = None
        self.shipper.wake()

    def prepare(self, change: Commit) -> None:
        """As the embedded store's; also what is to be noted of the rows."""
        self.follower.ready(change)
        super().prepare(change)

    def _apply(
        self, connection: apsw.Connection, change: Commit, written: list[Part], hits: apply.Hits | None, now: int
    ) -> dict[str, str]:
        self.follower.note(connection, change, written, now)
        noting = outbox.Noting(connection, change.made)
        return apply.apply(connection, change, written, hits, now, noting)

    def _append_audit(self, entries: list[Any]) -> None:
        super()._append_audit(entries)
        self.shipper.wake()

    def maintain(self) -> None:
        """As the embedded store's; also sends what others changed in the catalogue (retention)."""
        super().maintain()
        self.follower.maintain(self.clock.now())
        self.shipper.wake()

    def dump(self, kinds: list[str] | None = None) -> Iterator[bytes]:
        """The canonical dump: events from the lake, everything else from the cluster, which must have it all. Raises
        Unreachable when it has not."""
        from csirt.stores.elastic.dump import dump

        return dump(self, kinds)

    def cluster(self) -> dict[str, Any]:
        """How the cluster follows: `{urls, prefix, content, events, minutes, waiting, dead_letters,
        trouble}`."""
        with self.database.reading() as connection:
            waiting, dead = outbox.waiting(connection), outbox.count_dead(connection)
            lake, counts = notes.waiting(connection), notes.counts(connection)
        config = self.config.elasticsearch
        return {
            "urls": config.urls,
            "prefix": config.prefix,
            "content": config.content,
            "events": {"waiting": lake["events"], **_counted(counts, "events", "gone", "clipped")},
            "minutes": {"waiting": lake["minutes"], **_counted(counts, "minutes")},
            "waiting": waiting,
            "dead_letters": dead,
            "trouble": self.shipper.trouble,
        }

    def searchable(self, mark: int | None) -> int | None:
        """The event time up to which the cluster has the events of all who share it, but for what comes late; None
        while that is not known. `mark`: up to which this store has everything committed now."""
        return self.reach.look(mark)

    def close(self) -> None:
        """Send what can be sent at once, then release everything."""
        self.shipper.close(CLOSING)
        super().close()


def _counted(counts: dict[str, int], sent: str, *more: str) -> dict[str, int]:
    return {"sent": counts.get(sent, 0), **{name: counts.get(name, 0) for name in more}}
