"""What a node sends besides the log: its own audit and positions, and, while it leads, the documents of all."""

from __future__ import annotations

from collections.abc import Iterable

from csirt.clock import Clock
from csirt.config import ElasticCluster
from csirt.errors import Unreachable
from csirt.stores.elastic import connect, layout
from csirt.stores.elastic.events.follow import Follower
from csirt.stores.elastic.fresh import Fresh
from csirt.stores.elastic.head import Head
from csirt.stores.elastic.shared import folder
from csirt.stores.elastic.shared.folder import OWN_KINDS
from csirt.stores.elastic.shared.journal import Journal
from csirt.stores.elastic.ship import Shipper
from csirt.stores.embedded.catalogue.database import Database


class _Nobody(Head):
    """Of several writers none is the last: versions decide."""

    def __init__(self) -> None: ...

    def write(self, step: int) -> None:
        """Nothing."""


class NodeShipper(Shipper):
    """A shipper that knows who leads."""

    def __init__(
        self,
        database: Database,
        config: ElasticCluster,
        clock: Clock,
        follower: Follower,
        fresh: Fresh,
        journal: Journal,
    ) -> None:
        super().__init__(database, config, clock, follower, fresh)
        self._journal = journal

    def _claimed(self) -> Head:
        connect.probe(self.client, self._config)
        if not self._journal.place.opened:
            raise Unreachable("this node has not joined the cluster's log yet")
        with self._database.reading() as connection:
            anew = folder.begun_anew(connection)
        if anew:
            self._follower.everything()
            with self._database.transaction("sending everything") as connection:
                folder.noted_anew(connection)
        return _Nobody()

    def _kinds(self) -> Iterable[str]:
        return layout.KINDS if self._journal.leads else OWN_KINDS
