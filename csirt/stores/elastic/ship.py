"""Sends what the cluster lacks, oldest first, beside the daemon's work: documents, then the positions whose commits the
cluster has whole, then the note of who wrote."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from csirt.clock import SYSTEM, Clock
from csirt.config import ElasticCluster
from csirt.errors import CsirtError, Unreachable
from csirt.stores.elastic import connect, layout, outbox, parcels
from csirt.stores.elastic.bulk import Bulk
from csirt.stores.elastic.events import follow, notes
from csirt.stores.elastic.fresh import LARGE, Fresh, Parcel
from csirt.stores.elastic.head import Head
from csirt.stores.embedded.catalogue.database import Database

if TYPE_CHECKING:
    import apsw
    from elasticsearch import Elasticsearch

    from csirt.stores.elastic.events.follow import Follower

LOG = logging.getLogger("csirt.stores.elastic")
ROWS, OCTETS = 10_000, 16 * 1024 * 1024  # of one round
LONGEST = 64 * 1024 * 1024  # octets of one round to which commits that come meanwhile are added
TOGETHER = 0.3  # seconds that changes may gather before they are sent
FIRST, MOST = 0.5, 15.0  # seconds between two tries while the cluster is away
LOOK = 15.0  # seconds between two looks for minutes that have come to rest


class Shipper:
    """One thread. `trouble`: why the cluster does not get what waits, empty when it does."""

    def __init__(
        self, database: Database, config: ElasticCluster, clock: Clock, follower: Follower, fresh: Fresh
    ) -> None:
        self.trouble = ""
        self._fresh = fresh
        self._database, self._config, self._clock = database, config, clock
        self._follower, self._now = follower, False  # _now: somebody waits
        self._taken: list[Parcel] = []  # out of `fresh`, and not sent yet
        self._sent: list[Parcel] = []  # the cluster has them, the folder does not know yet
        self._stop, self._wake, self._hurry = threading.Event(), threading.Event(), threading.Event()
        self._turned = threading.Condition()
        self._turns = 0
        self._client: Elasticsearch | None = None
        self._bulk: Bulk | None = None
        self._head: Head | None = None
        self._named: tuple[str, str, set[str]] | None = None  # the store, this writer, who may have written before
        self._thread = threading.Thread(target=self._run, name="elastic", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    @property
    def client(self) -> Elasticsearch:
        """The client, for readers. Raises CsirtError for a configuration that will not do."""
        if self._client is None:
            self._client = connect.client(self._config)
        return self._client

    def waiting(self, until: int | None = None) -> int:
        """How many documents the cluster lacks of those that this process sends; `until`: of the changes up to that
        step."""
        with self._database.reading() as connection:
            return outbox.waiting(connection, until, self._kinds())

    def _kinds(self) -> Iterable[str]:
        """What this process sends."""
        return layout.KINDS

    def _lacks(self, until: int) -> bool:
        with self._database.reading() as connection:
            return outbox.lacks(connection, until, self._kinds())

    def settle(self, seconds: float, *, patient: bool = False) -> None:
        """Wait until the cluster has everything that is committed now, trying at once. Raises Unreachable when it does
        not get it in that time, or, unless `patient`, when a try has failed."""
        deadline = SYSTEM.monotonic() + seconds
        with self._database.reading() as connection:
            now = outbox.steps(connection)
        turn = self._turns + 1  # one may be under way that knew nothing of the last commit
        try:
            while self._lacks(now):
                if self._stop.is_set():
                    raise Unreachable("the store is closing")
                late = SYSTEM.monotonic() > deadline
                if late or (not patient and self.trouble and self._turns > turn):
                    raise Unreachable(
                        self.trouble or f"the cluster still lacks {self.waiting(now)} documents; try again"
                    )
                self._now = True
                self._hurry.set()
                self._wake.set()
                with self._turned:
                    seen = self._turns
                    self._turned.wait_for(lambda seen=seen: self._turns > seen, 0.2)  # type: ignore[misc]
        finally:
            self._now = False

    def close(self, seconds: float) -> None:
        """Send what can be sent in that time, then end; what is left waits in the folder."""
        if self._thread.is_alive():
            if not self.trouble:
                try:
                    self.settle(seconds)
                except CsirtError as error:
                    LOG.warning("%s; it waits in the store folder", error.message)
            self._stop.set()
            self._wake.set()
            self._thread.join(seconds)
        if self._bulk is not None:
            self._bulk.close()
        if self._client is not None:
            self._client.close()

    def _run(self) -> None:
        pause = FIRST
        while not self._stop.is_set():
            try:
                more = self.turn()
                pause = FIRST
            except Exception as error:
                self._failed(error)
                more = False
                self._finished()
                self._rest(pause)
                pause = min(pause * 2, MOST)
                continue
            if self.trouble:
                LOG.info("the cluster takes documents again")
                self.trouble = ""
            self._finished()
            if not more:
                self._wake.wait(LOOK)
                self._wake.clear()
                if not self._hurry.is_set() and self._fresh.octets < LARGE:
                    self._stop.wait(TOGETHER)
                self._hurry.clear()

    def _rest(self, seconds: float) -> None:
        """A pause that ends early when somebody waits for the cluster."""
        self._hurry.wait(seconds)
        self._hurry.clear()
        self._stop.wait(0.05)

    def _finished(self) -> None:
        with self._turned:
            self._turns += 1
            self._turned.notify_all()

    def _failed(self, error: Exception) -> None:
        """Begin anew with the cluster: it may be another one when it comes back."""
        if self._stop.is_set():
            return
        known = isinstance(error, CsirtError) or connect.of_cluster(error)
        said = connect.failed(error, self._config).message
        if said != self.trouble:
            LOG.warning("%s", said, exc_info=None if known else error)
        self.trouble = said
        self._head = None
        self._follower.forget()

    def turn(self) -> bool:
        """One round; whether there is more to send."""
        if self._bulk is None:
            self._bulk = Bulk(self.client, self._config, self._stop)
        if self._head is None:
            self._head = self._claimed()
        self._acknowledge()  # what a round that failed had sent
        self._taken = self._fresh.take(OCTETS)  # of commits that the snapshot has
        try:
            return self._round(self._head, self._bulk)
        finally:
            self._fresh.give_back(self._taken)
            self._taken = []

    def _round(self, head: Head, bulk: Bulk) -> bool:
        with self._database.reading() as connection:
            rows, rest = notes.waiting_events(connection, follow.ROWS)
            made = self._there(connection, self._taken)
            left = max(OCTETS - sum(one.octets for one in made), OCTETS // 4)
            documents, positions = outbox.window(connection, ROWS, left, rest, self._kinds(), made)
        ends = self._send(bulk, documents, made if documents else self._coming(made))
        if rows:
            self._follower.send_events(bulk, rows)
        ends += self._send(bulk, positions)
        minutes = self._due_minutes()
        if minutes:
            self._follower.send_minutes(bulk, minutes)
        ends += [one.step for one in rows] + [one.last for one in minutes]
        if ends:
            head.write(max(ends))
        self._follower.retire(self.client)
        return bool(ends)

    def _coming(self, made: Sequence[Parcel]) -> Iterator[Parcel]:
        """These, and those of commits that come meanwhile, unless somebody waits: while a commit is written nobody can
        note what the cluster has, and it would be idle until then."""
        octets = 0
        while made:
            yield from made
            octets += sum(one.octets for one in made)
            if octets >= LONGEST or self._now:
                return
            taken = self._fresh.take(LARGE)
            self._taken += taken
            with self._database.reading() as connection:
                made = self._there(connection, taken)

    def _there(self, connection: apsw.Connection, taken: Sequence[Parcel]) -> list[Parcel]:
        """Those of them that are to be sent; the rest is not needed."""
        made = parcels.there(connection, taken)
        for one in set(taken) - set(made):
            self._done(one)
        return made

    def _done(self, parcel: Parcel) -> None:
        self._taken.remove(parcel)
        self._fresh.done([parcel])

    def _arrived(self, parcel: Parcel) -> None:
        self._done(parcel)
        self._sent.append(parcel)

    def _due_minutes(self) -> list[notes.MinuteNote]:
        """Minutes whose sums are sent now: those that have come to rest, or all when somebody waits for them."""
        now = self._clock.now()
        with self._database.reading() as connection:
            if self._now:
                return notes.waiting_minutes(connection, now, now, follow.MINUTES)
            return notes.waiting_minutes(connection, now - follow.QUIET, now - follow.OLD, follow.MINUTES)

    def _claimed(self) -> Head:
        connect.probe(self.client, self._config)
        if not self._named:
            with self._database.transaction("opening the cluster") as connection:
                self._named = outbox.begin(connection)
        store, writer, known = self._named
        head = Head(self.client, self._config.prefix, store, known, writer)
        head.claim(self._everything)
        with self._database.transaction("opening the cluster") as connection:
            outbox.confirm(connection)
        return head

    def _everything(self) -> None:
        """The indices are new, or were lost: all that the folder holds is to be sent."""
        with self._database.transaction("sending everything") as connection:
            outbox.add_all(connection)
        self._follower.everything()

    def _send(self, bulk: Bulk, documents: list[outbox.Waiting], made: Iterable[Parcel] = ()) -> list[int]:
        """Send them; the last step of each."""
        refused = bulk.send(documents, made, self._arrived)
        for one in refused:
            LOG.error(
                "the cluster refuses %s %s: %s; `csirt store dead-letters` lists it", one.kind, one.key, one.reason
            )
        sent = [*self._sent, *self._taken]  # what was refused in part came no other way
        self._acknowledge(documents, refused)
        return [one.last for one in documents] + [one.steps[1] for one in sent]

    def _acknowledge(self, documents: Sequence[outbox.Waiting] = (), refused: Sequence[outbox.Refused] = ()) -> None:
        """Note what the cluster has, and what it refused."""
        besides = [*self._sent, *self._taken]
        if not (documents or besides):
            return
        with self._database.transaction("noting what the cluster has") as connection:
            names = [one.name for one in documents]
            outbox.acknowledge(connection, names, list(refused), self._clock.now(), besides)
        self._sent.clear()
        for one in list(self._taken):
            self._done(one)
