"""The log and the folder together: what this node adds, and what others added, in one order.

A change is first tried in the folder, in a transaction that is rolled back: that gives the entry. The entry is created
in the log as the next number. Only then the folder gets it, as it gets the entries of other nodes, in one transaction
with how far it is in the log. A node that is killed between the two finds its own entry in the log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw

from csirt.errors import Conflict, CsirtError
from csirt.stores.base import Commit
from csirt.stores.elastic.shared import entry as entries
from csirt.stores.elastic.shared import folder, segments
from csirt.stores.elastic.shared.entry import Entry
from csirt.stores.elastic.shared.lease import Lease
from csirt.stores.elastic.shared.log import Cut, Log
from csirt.stores.elastic.shared.seen import Changes
from csirt.stores.embedded.catalogue.database import Database

ROUNDS = 100  # times that others may be quicker before a change gives up

_DIVERGED = (
    "entry {} of the cluster's log is not what this folder has of it: the cluster lost what it had shown; stop this "
    "daemon, and `csirt store recover --dry-run` says what can be done"
)

Help = Callable[[Callable[[], None]], None]
Make = Callable[[apsw.Connection], Entry | None]


class Diverged(CsirtError):
    """The folder holds an entry that is not the log's: the cluster lost what it had shown."""

    code = "diverged"


class Deposed(Conflict):
    """Another node leads."""


class _Tried(Exception):
    def __init__(self, entry: Entry | None) -> None:
        self.entry = entry


class Journal:
    """Thread-safe: one thread at a time adds or follows. `help` does a small write of the folder even when its disk is
    full. `added` is called when the folder got something."""

    def __init__(
        self, database: Database, log: Log, lease: Lease, node: str, help: Help, added: Callable[[], None]
    ) -> None:
        self._database, self.log, self._lease, self._node = database, log, lease, node
        self._help, self._added = help, added
        self.lock = threading.RLock()
        self.astray = False  # the folder and the log went different ways: it may neither lead nor be waited for
        self.changes = Changes()
        self._terms = threading.local()
        with database.reading() as connection:
            self.place = folder.place(connection)

    def refresh(self) -> None:
        """How far the folder is was changed by others than this."""
        with self._database.reading() as connection:
            self.place = folder.place(connection)

    def begin_again(self) -> None:
        """The folder follows no log any more."""
        with self.lock:
            self.changes = Changes()
            self.refresh()

    @property
    def leads(self) -> bool:
        """Whether this node holds the lease and the log says so."""
        lease, place = self._lease, self.place
        return lease.mine and place.opened and (place.holder, place.term) == (self._node, lease.term)

    @contextmanager
    def leading(self) -> Iterator[bool]:
        """Whether this node may act; what this thread adds in the block is refused when it no longer may."""
        leads = self.leads
        self._terms.term = self._lease.term if leads else None
        try:
            yield leads
        finally:
            self._terms.term = None

    def commit(self, change: Commit, now: int) -> Entry | None:
        """Add a change. Raises Conflict when it no longer fits, Unreachable when the cluster is away."""
        names = entries.named(change)

        def make(connection: apsw.Connection) -> Entry:
            self.changes.check(names)
            return entries.made(connection, change, self._node, now)

        with self.lock:
            entry = self.write(make)
            self.changes.read(self.place.applied, names)
        return entry

    def write(self, make: Make) -> Entry | None:
        """Add what `make` finds to say of the folder as it is; it is asked again whenever another node was quicker."""
        with self.lock, self._following():
            for _ in range(ROUNDS):
                self._check_term()
                entry = self._tried(make)
                if entry is None:
                    return None
                entry.number, entry.after = self.place.applied + 1, self.place.token
                if self.log.create(entry, self.place.segment):
                    self._apply([entry])
                    self._check_term()  # it took its time: what was claimed is the next holder's to settle
                    return entry
                self.catch_up()
            raise Conflict("other nodes write all the time; try again")

    def _check_term(self) -> None:
        term = getattr(self._terms, "term", None)
        if term is not None and not (self.leads and self.place.term == term):
            raise Deposed(f"{self.place.holder or 'another node'} leads now, not {self._node}")

    def _tried(self, make: Make) -> Entry | None:
        try:
            with self._database.transaction("trying a change") as connection:
                raise _Tried(make(connection))
        except _Tried as done:
            return done.entry

    def catch_up(self) -> int:
        """Let the folder have what is in the log and it has not; how many entries. Raises Unreachable, Diverged, and
        Cut."""
        count = 0
        with self.lock, self._following():
            while found := self.log.read(self.place.applied + 1, self.place.segment.name):
                self._apply(found)
                count += len(found)
        return count

    def compare(self) -> None:
        """Raises Diverged when the log no longer holds the last entry that this folder has, Cut when it was cut beyond
        that."""
        with self.lock, self._following():
            if not self.place.applied:
                return
            with self._database.reading() as connection:
                segment = segments.holding(connection, self.place.applied)
            if self.log.token(self.place.applied, segment.name) != self.place.token:
                raise Diverged(_DIVERGED.format(self.place.applied))

    @contextmanager
    def _following(self) -> Iterator[None]:
        try:
            yield
        except (Cut, Diverged):
            self.astray = True
            raise

    def _apply(self, found: list[Entry]) -> None:
        token = self.place.token
        for entry in found:
            if entry.after != token:
                raise Diverged(_DIVERGED.format(entry.number))
            token = entry.token
        self._help(lambda: self._put(found))
        for entry in found:
            self.changes.note(entry.number, entry.names())
        self.refresh()
        self._added()

    def _put(self, found: list[Entry]) -> None:
        with self._database.transaction("following the cluster's log") as connection:
            for entry in found:
                folder.apply(connection, entry, self._node)
