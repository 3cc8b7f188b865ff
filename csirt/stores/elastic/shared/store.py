"""The store of one of several nodes: its events, its positions and its hits in its folder, everything else in the log.

Reads are the folder's. A change of what all share waits for the cluster and is refused while that is away (exit 6);
what is this node's own never is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from csirt import config as settings
from csirt.clock import SYSTEM, Clock
from csirt.errors import Conflict, CsirtError, Unreachable
from csirt.stores.base import Commit
from csirt.stores.elastic import layout
from csirt.stores.elastic.dump import PATIENCE
from csirt.stores.elastic.shared import entry as entries
from csirt.stores.elastic.shared import folder, segments
from csirt.stores.elastic.shared.cut import Cutter
from csirt.stores.elastic.shared.entry import Entry
from csirt.stores.elastic.shared.follow import Present, Tail, loops
from csirt.stores.elastic.shared.journal import Journal
from csirt.stores.elastic.shared.lease import Lease
from csirt.stores.elastic.shared.log import Documents, Log
from csirt.stores.elastic.shared.nodes import Nodes
from csirt.stores.elastic.shared.ship import NodeShipper
from csirt.stores.elastic.ship import Shipper
from csirt.stores.elastic.store import CLOSING, ElasticStore
from csirt.stores.embedded.catalogue import apply
from csirt.stores.embedded.lake import parts
from csirt.stores.embedded.owner import OwnerLock
from csirt.stores.embedded.store import open_embedded

BRIEF = 4.0  # seconds for an answer about the lease: it is renewed every two


def open_node(
    directory: Path,
    *,
    clock: Clock,
    config: settings.Stores,
    retention: settings.Retention | None = None,
    threads: bool = True,
) -> NodeStore:
    """Open and own a node's folder. As `open_embedded`; the cluster may be away. `threads` false: whoever opened it
    takes the turns."""
    made: Any = partial(NodeStore, threads=threads)
    found = open_embedded(directory, clock=clock, config=config, retention=retention, made=made)
    assert isinstance(found, NodeStore)
    return found


class NodeStore(ElasticStore):
    """The embedded store of one node, and the log that it shares with others."""

    def __init__(
        self,
        directory: Path,
        lock: OwnerLock,
        clock: Clock,
        config: settings.Stores,
        retention: settings.Retention | None,
        *,
        read_only: bool,
        threads: bool = True,
    ) -> None:
        self.node = config.elasticsearch.node
        self._mark: int | None = None  # as far as this node's event time is
        super().__init__(directory, lock, clock, config, retention, read_only=read_only)
        self._following, self._present, self._cutting = loops(
            self.tail, self.present, self.cutter, config.elasticsearch, clock
        )
        if threads:
            for one in (self._following, self._present, self._cutting):
                one.start()

    def _join(self, connection: apsw.Connection) -> None:
        super()._join(connection)
        folder.join(connection)

    def _made_shipper(self) -> Shipper:
        section, clock = self.config.elasticsearch, self.clock
        patience = settings.duration(section.absent_after) / 1e6

        def client() -> Any:
            return self.shipper.client

        meta = Documents(client, section, layout.META, clock)
        brief = Documents(client, section, layout.META, clock, BRIEF)
        self.lease = Lease(brief, self.node, clock)
        self.nodes = Nodes(brief, self.node, clock, patience)
        log = Log(client, section, clock)
        self.journal = Journal(self.database, log, self.lease, self.node, self.reserve.help, self._added)
        self.tail = Tail(self.database, meta, self.journal, self.lease, self.node, clock)
        self.present = Present(self.database, self.journal, self.lease, self.nodes, self._reached)
        self.cutter = Cutter(self.database, meta, self.journal, self.nodes, self.node)
        return NodeShipper(self.database, section, clock, self.follower, self.fresh, self.journal)

    def _added(self) -> None:
        self.shipper.wake()
        if self.journal.leads and self.cutter.due:
            self._cutting.wake()

    # writing

    def commit(self, change: Commit) -> None:
        """What is this node's own is committed in its folder; what all share is added to the log first. The pipeline
        never mixes the two: of a change that does, the shared part comes first. Raises Unreachable while the cluster is
        away: then nothing was changed, unless a request was on its way."""
        part = entries.shared(change)
        if part is None:
            super().commit(change)
        else:
            self._early_refusal(change)
            self._share(part)
            own = entries.local(change)
            if own is not None:
                super().commit(own)
        self._following.wake()

    def _share(self, part: Commit) -> None:
        if not self.journal.place.opened:
            reason = self._following.trouble or "this node has not joined the cluster's log yet; try again"
            raise Unreachable(f"{reason}: what all nodes share cannot be changed before")
        try:
            self.journal.commit(part, self.clock.now())
        except Unreachable as error:
            raise type(error)(
                f"{error.message}: what all nodes share cannot be changed until it is back (reading works); then look "
                "whether this change has arrived"
            ) from error

    def _apply(
        self, connection: apsw.Connection, change: Commit, written: list[parts.Part], hits: apply.Hits | None, now: int
    ) -> dict[str, str]:
        numbers = super()._apply(connection, change, written, None, now)
        if hits is not None:
            folder.add_hits(connection, hits.least, hits.greatest, hits.rows, hits.data)
        return numbers

    # reading: what was read of documents without a version must still hold when they are written

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        """One document by id; aliases of merged incidents resolve."""
        if kind in entries.WATCHED:
            self.journal.changes.read(self.journal.place.applied, [(kind, id)])
        return super().get(kind, id)

    def find(self, kind: str, where: dict[str, Any] | None = None, **how: Any) -> list[dict[str, Any]]:
        """As the embedded store's."""
        applied = self.journal.place.applied
        found = super().find(kind, where, **how)
        if kind in entries.WATCHED:
            self.journal.changes.read(applied, [(kind, item["id"]) for item in found])
        return found

    def state(self, key: str) -> bytes | None:
        """A committed state."""
        if entries.is_shared(key):
            self.journal.changes.read(self.journal.place.applied, [("state", key)])
        return super().state(key)

    def dump(self, kinds: list[str] | None = None) -> Iterator[bytes]:
        """The canonical dump: events from this node's lake, everything else from the cluster, which must have it all,
        whichever node sends it. Raises Unreachable when it has not."""
        if kinds != ["event"] and not self.journal.leads:
            self._wait_for_the_leader()
        return super().dump(kinds)

    def _wait_for_the_leader(self) -> None:
        applied, deadline = self.journal.place.applied, SYSTEM.monotonic() + PATIENCE
        while True:
            with self.database.reading() as connection:
                if folder.sent_until(connection) >= applied:
                    return
            if SYSTEM.monotonic() > deadline:
                raise Unreachable(
                    f"the node that leads ({self.journal.place.holder}) has not sent everything yet; try again"
                )
            SYSTEM.sleep(0.2)

    def forget(self, find: Callable[[apsw.Connection], dict[str, list[str]]]) -> dict[str, list[str]]:
        """What was kept long enough by the clock of the node that leads; an entry says so to all. Nothing on the
        others, or while the cluster is away."""
        gone: dict[str, list[str]] = {}

        def make(connection: apsw.Connection) -> Entry | None:
            gone.clear()
            gone.update(find(connection))
            return Entry(node=self.node, gone=gone) if any(gone.values()) else None

        try:
            with self.journal.leading() as leads:
                if leads:
                    self.journal.write(make)
        except (Unreachable, Conflict) as error:
            logging.getLogger("csirt.stores.elastic").info("no case is deleted now: %s", error.message)
            gone.clear()
        return gone

    # leading

    @contextmanager
    def leading(self) -> Iterator[bool]:
        """Whether this node may act on what all share; see the store's contract."""
        with self.journal.leading() as leads:
            yield leads

    def runs(self, rules: str) -> None:
        """Which rules this node runs, as a digest: the others compare it with theirs."""
        self.nodes.rules = rules

    def report(self, mark: int, *, active: bool) -> None:
        """All hits of this node up to this event time are committed; `active`: more input is expected."""
        self._mark = mark
        self.tail.report(mark, active)

    def _reached(self) -> int | None:
        return self.reach.look(self._mark)

    def searchable(self, mark: int | None) -> int | None:
        """As the store with one folder: that of the slowest node, of those that `horizon` waits for or that still have
        something to send."""
        horizon = self.horizon()
        with self.database.reading() as connection:
            marks = folder.marks(connection)
        for name, (said, active) in marks.items():
            if horizon is None or self.nodes.absent(name):
                continue
            there = self._reached() if name == self.node else self.nodes.reach(name)
            if there is None:
                return None
            if active or there < said:
                horizon = min(horizon, there)
        return horizon

    def horizon(self) -> int | None:
        """The event time up to which the hits of all nodes are in the folder: that of the slowest node from which more
        is expected, else of the furthest; one that is not heard of for long holds nothing back. None when no node has
        said how far it is."""
        with self.database.reading() as connection:
            marks = folder.marks(connection)
        present = [(mark, active) for name, (mark, active) in marks.items() if not self.nodes.absent(name)]
        waited = [mark for mark, active in present if active]
        return min(waited) if waited else max((mark for mark, _ in present), default=None)

    def cluster(self) -> dict[str, Any]:
        """As the store with one folder; and `node`, `leader`, `term`, `applied`, `unsent_hits`, `nodes`."""
        place = self.journal.place
        with self.database.reading() as connection:
            marks, unsent = folder.marks(connection), folder.count_unsent(connection)
        heard = {item["node"]: item for item in self.nodes.listed()}
        own = {"node": self.node, "applied": place.applied, "heard_s": 0.0, "rules": self.nodes.rules}
        unheard = {"applied": 0, "heard_s": None, "rules": ""}
        names = sorted({*heard, *marks, self.node})
        return {
            **super().cluster(),
            "trouble": self._following.trouble or self._present.trouble or self.shipper.trouble,
            "node": self.node,
            "leader": place.holder,
            "leads": self.journal.leads,
            "term": place.term,
            "applied": place.applied,
            "unsent_hits": unsent,
            "log": self._log(),
            "nodes": [
                {
                    **(own if name == self.node else heard.get(name, {"node": name, **unheard})),
                    "mark": marks[name][0] if name in marks else None,
                    "active": marks[name][1] if name in marks else False,
                    "absent": self.nodes.absent(name),
                }
                for name in names
            ],
        }

    def _log(self) -> dict[str, Any]:
        """What is kept of the log: `{first, entries, octets, segments, snapshot, held_by, uncut_s, trouble}`."""
        with self.database.reading() as connection:
            kept, newest = segments.listed(connection), segments.snapshot(connection)
            applied = folder.place(connection).applied
        first = kept[0][0].first if kept else 1
        waited = self.nodes.waited(settings.duration(self.config.elasticsearch.forget_after)) if newest else {}
        return {
            "first": first,
            "entries": applied - first + 1,
            "octets": sum(octets for _, octets in kept),
            "segments": len(kept),
            "snapshot": {"number": newest.number, "time": newest.time, "octets": newest.octets} if newest else None,
            "held_by": sorted(
                name for name in waited if newest and self._holds(name, waited[name], newest.number, first)
            ),
            "uncut_s": round((self.clock.now() - since) / 1e6, 1) if (since := self.cutter.since) else 0.0,
            "trouble": self._cutting.trouble,
        }

    def _holds(self, node: str, applied: int, newest: int, first: int) -> bool:
        """Whether the log is longer than it need be because of a node that is away."""
        return self.journal.leads and self.nodes.absent(node) and first <= applied + 1 and applied < newest

    def close(self) -> None:
        """Hand over what can be handed over at once, then release everything."""
        self._cutting.close(CLOSING)
        self._present.close(CLOSING)
        self._following.close(CLOSING)
        try:
            if self.journal.place.opened and not self._following.trouble:
                self.tail.turn()
                self.lease.release()
        except CsirtError as error:
            self._say(error)
        super().close()

    @staticmethod
    def _say(error: CsirtError) -> None:
        logging.getLogger("csirt.stores.elastic").warning("%s; it waits in the store folder", error.message)
