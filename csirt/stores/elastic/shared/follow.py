"""The threads of a node: one lets the folder follow the log and adds this node's hits to it, one renews or watches the
lease and says that the node is there, one cuts the log where this node leads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import apsw

from csirt.clock import Clock
from csirt.config import ElasticCluster
from csirt.errors import CsirtError
from csirt.stores.elastic import connect
from csirt.stores.elastic.shared import cut, folder, lease
from csirt.stores.elastic.shared.cut import Cutter
from csirt.stores.elastic.shared.entry import Entry
from csirt.stores.elastic.shared.join import join
from csirt.stores.elastic.shared.journal import Journal
from csirt.stores.elastic.shared.lease import Lease
from csirt.stores.elastic.shared.log import Documents
from csirt.stores.elastic.shared.nodes import Nodes
from csirt.stores.embedded.catalogue.database import Database

LOG = logging.getLogger("csirt.stores.elastic")
LOOK = 0.3  # seconds between two looks at the log; what others did is seen so late at most
REST = 1.0  # after a failure
AGAIN = 30.0  # seconds between two looks whether the indices are still those of this log
OCTETS = 4 * 1024 * 1024  # of hits in one entry


class Loop:
    """A thread that does the same again and again. `trouble`: why it fails, empty when it does not."""

    def __init__(
        self, name: str, work: Callable[[], object], pause: float, explain: Callable[[Exception], str]
    ) -> None:
        self.trouble = ""
        self._work, self._pause, self._explain = work, pause, explain
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Do it at once."""
        self._wake.set()

    def close(self, seconds: float) -> None:
        """End it."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._work()
                if self.trouble:
                    LOG.info("%s goes on", self._thread.name)
                self.trouble = ""
            except Exception as error:
                said = error.message if isinstance(error, CsirtError) else self._explain(error)
                if said != self.trouble:
                    LOG.warning("%s", said, exc_info=None if isinstance(error, CsirtError) else error)
                self.trouble = said
                self._stop.wait(max(self._pause, REST))
            self._wake.wait(self._pause)
            self._wake.clear()


class Tail:
    """`turn`: follow the log, then add what this node has to say. `report`: how far its event time is."""

    def __init__(
        self, database: Database, meta: Documents, journal: Journal, lease_: Lease, node: str, clock: Clock
    ) -> None:
        self._database, self._meta, self._journal, self._lease, self._node = database, meta, journal, lease_, node
        self._clock = clock
        self._joined: float | None = None
        self._mark: tuple[int, bool] | None = None
        self._said: tuple[int, bool] | None = None

    def report(self, mark: int, active: bool) -> None:
        """All hits up to this event time are in the folder."""
        self._mark = mark, active

    def turn(self) -> None:
        """Once. Raises Unreachable, and Conflict when this folder cannot follow."""
        now = self._clock.monotonic()
        if self._joined is None or now - self._joined > AGAIN:
            join(self._database, self._meta, self._journal, self._node)
            self._joined = now
        self._journal.catch_up()
        self._journal.astray = False
        self._lead()
        while self._hits():
            pass

    def _lead(self) -> None:
        """Let the log say who leads: from there on what the holder before claims is refused."""
        place, term = self._journal.place, self._lease.term
        if self._lease.mine and (place.holder, place.term) != (self._node, term):
            self._journal.write(lambda _: Entry(node=self._node, holder=self._node, term=term))
            with self._database.transaction("taking the lead") as connection:
                folder.send_refused(connection)
            LOG.info("this node, %s, leads now (term %d)", self._node, term)

    def _hits(self) -> bool:
        """Add the hits that wait, and how far event time is once these are in the log; whether there are more."""
        mark = self._mark  # before the hits are looked at: it says that they are there
        more = False

        def make(connection: apsw.Connection) -> Entry | None:
            nonlocal more
            blobs, whole = folder.unsent(connection, OCTETS)
            more = not whole
            said = mark if whole and mark != self._said else None
            if said is None and self._node not in folder.marks(connection):
                said = 0, True  # the others wait until it says how far it is
            if not blobs and said is None:
                return None
            return Entry(node=self._node, hits=blobs, mark=said[0] if said else None, active=said[1] if said else True)

        entry = self._journal.write(make)
        if entry is not None and entry.mark is not None:
            self._said = entry.mark, entry.active
        return more


class Present:
    """`turn`: the lease, and the nodes. `reach`: up to which event time the cluster has this node's events."""

    def __init__(
        self, database: Database, journal: Journal, lease_: Lease, nodes: Nodes, reach: Callable[[], int | None]
    ) -> None:
        self._database, self._journal, self._lease, self._nodes = database, journal, lease_, nodes
        self._reach = reach

    def turn(self) -> None:
        """Once. Raises Unreachable, and Conflict when another daemon has this node's name."""
        if not self._journal.place.opened:
            return
        if self._journal.astray:  # others may not wait for this node, nor may it lead
            self._lease.release()
            return
        with self._database.reading() as connection:
            names, sent = set(folder.marks(connection)), folder.settled_until(connection)
        self._nodes.turn(names, self._journal.place.applied, self._reach())
        led, before = self._lease.mine, self._lease.sent
        self._lease.turn(sent if self._journal.leads else 0)
        if led and not self._lease.mine:
            LOG.warning("this node leads no more; %s does", self._lease.holder or "nobody")
        if not self._lease.mine and self._lease.sent > before:
            with self._database.transaction("noting what the cluster has") as connection:
                folder.sent(connection, min(self._lease.sent, self._journal.place.applied))


def loops(
    tail: Tail, present: Present, cutter: Cutter, config: ElasticCluster, clock: Clock
) -> tuple[Loop, Loop, Loop]:
    """The threads, not started."""

    def explain(error: Exception) -> str:
        return connect.explain(error, config).message

    return (
        Loop("log", tail.turn, LOOK, explain),
        Loop("lease", present.turn, lease.RENEW, explain),
        Loop("cut", cutter.turn, cut.LOOK, explain),
    )
