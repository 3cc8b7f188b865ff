"""The log is cut by the node that leads, in steps that each leave it whole:

1. A new segment: an index of a random name is made, then an entry names it; what comes after goes there.
2. A snapshot after some entry of the new segment. Once the cluster also has every document up to that entry, the
   snapshot is named in `meta`, then an entry tells of it.
3. An entry says from which segment on the log is kept: that of the snapshot's entry or of the last one that some node
   still needs, less `log_tail`. Entries that folders stand at are always kept.
4. Indices of segments that the folder, and so the log, does not name are deleted.

A node that is killed in between leaves an index that nobody names, a snapshot that nobody names, or an index that is no
longer named: whoever leads next goes on (step 4 deletes the first and the last, the second goes with its segment).

A holder of before that wakes up does no harm. Its entries of step 1 to 3 are refused: the next holder began with an
entry. Naming a snapshot is refused where another was named since it looked; where none was, its own is as right as any.
What step 4 deletes is decided so: list the indices, *then* read the log to its end, then see that this node still leads
by the log. Then nobody else led between this node's beginning and that entry, so an index of the list that the log does
not name was made by this node or one before it, and can never be named any more. However late the deletion is done, it
takes only such an index. Which nodes are waited for is decided in step 3, by an entry.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import apsw

from csirt.config import ElasticCluster, duration, size
from csirt.errors import CsirtError
from csirt.stores.elastic import connect
from csirt.stores.elastic.shared import folder, segments, snapshot
from csirt.stores.elastic.shared.entry import Entry
from csirt.stores.elastic.shared.journal import Deposed, Journal
from csirt.stores.elastic.shared.log import Documents
from csirt.stores.elastic.shared.nodes import Nodes
from csirt.stores.elastic.shared.snapshot import Taken
from csirt.stores.embedded.catalogue.database import Database

LOG = logging.getLogger("csirt.stores.elastic")
LOOK = 5.0  # seconds between two looks; the next one comes at once where a segment is full


class Cutter:
    """`turn`: go on with what is to be done, where this node leads."""

    def __init__(self, database: Database, meta: Documents, journal: Journal, nodes: Nodes, node: str) -> None:
        self._database, self._meta, self._journal, self._nodes, self._node = database, meta, journal, nodes, node
        self._config: ElasticCluster = meta.config
        self._waits: Taken | None = None  # a snapshot that is written and not named
        self._made: list[str] = []  # its documents, and those of one that came to nothing
        self._swept: tuple[int, int] | None = None  # under which term, from which entry on
        self.since: int | None = None  # since when the log is not cut though it should be

    @property
    def due(self) -> bool:
        """Whether the last segment has as many entries as one should have."""
        place = self._journal.place
        return place.applied - place.segment.first + 1 >= self._config.log_entries

    def turn(self) -> None:
        """Once. Raises Unreachable."""
        try:
            with self._journal.leading() as leads:
                if leads:
                    self._turn()
                else:
                    self._waits = None
        except Deposed:
            self._waits = None
        except BaseException:
            self.since = self.since or self._meta.now()
            raise
        else:
            self.since = None

    def _turn(self) -> None:
        self._tell()
        if self._waits is None:
            self._take()
        if self._waits is not None:
            self._name(self._waits)
        self._roll()
        self._let_go()
        self._sweep()

    def _tell(self) -> None:
        """Let every folder know which documents the cluster did not take."""

        def make(connection: apsw.Connection) -> Entry | None:
            untold = folder.untold(connection)
            return Entry(node=self._node, refused=untold) if untold else None

        if self._seen(folder.untold):
            self._journal.write(make)

    def _roll(self) -> None:
        """Begin a segment when the last one is large enough."""
        place = self._journal.place
        _, octets = self._seen(segments.listed)[-1]
        if not self.due and octets < size(self._config.log_size):
            return
        name = self._journal.log.begin(place.log, place.applied)
        self._journal.write(lambda _: Entry(node=self._node, segment=name))

    def _take(self) -> None:
        """Write a snapshot, one for each segment but the first; never of the entry before its beginning, which could
        then not be let go."""
        place, newest = self._journal.place, self._seen(segments.snapshot)
        first = place.segment.first
        if first == 1 or place.applied < first or (newest is not None and newest.number >= first):
            return
        kept, _ = snapshot.named(self._meta, place.log)
        if kept and kept[-1].number >= first:  # of a holder before, who could not tell of it
            self._told(kept[-1])
            return
        piece = self._journal.log.at(place.segment.name)
        for name in self._made:
            piece.forget(name)
        self._made = []
        with self._database.reading() as connection:
            self._waits = snapshot.take(connection, self._journal.log, self._node, self._meta.now(), self._made)

    def _name(self, taken: Taken) -> None:
        """Name the snapshot that waits, once the cluster has every document up to its entry."""
        if self._seen(folder.settled_until) < taken.number:
            return
        log = self._journal.place.log
        kept, at = snapshot.named(self._meta, log)
        self._journal.compare()
        if not self._journal.leads:
            return
        self._waits = None  # named, or another was quicker
        if snapshot.name(self._meta, log, taken, [one for one in kept if self._there(one)], at):
            self._made = []
            self._told(taken)

    def _told(self, taken: Taken) -> None:
        said = [taken.number, taken.time, taken.octets]
        self._journal.write(lambda _: Entry(node=self._node, snapshot=said))
        LOG.info("a snapshot of the cluster's log after entry %d was taken (%d octets)", taken.number, taken.octets)

    def _there(self, taken: Taken) -> bool:
        """Whether a snapshot of before could still be used."""
        with self._database.reading() as connection:
            return bool(segments.holding(connection, taken.number).name)

    def _let_go(self) -> None:
        """Say which segments are no longer needed."""
        newest, kept = self._seen(segments.snapshot), [one for one, _ in self._seen(segments.listed)]
        if newest is None or len(kept) == 1:
            return
        self._nodes.meet(self._meta.client(), self._meta.index)
        waited = self._nodes.waited(duration(self._config.forget_after)).values()
        least = min([newest.number, *(number for number in waited if number + 1 >= kept[0].first)])
        until = least - self._config.log_tail  # this entry stays
        first = kept[0].first
        for one in kept[1:]:
            first = one.first if one.first <= until else first
        if first > kept[0].first:
            self._journal.write(lambda _: Entry(node=self._node, kept_from=first))
            LOG.info("the cluster's log is kept from entry %d on", first)

    def _sweep(self) -> None:
        """Delete the indices that the log does not name; see above for the order of the steps."""
        log, kept = self._journal.place.log, [one for one, _ in self._seen(segments.listed)]
        now = self._journal.place.term, kept[0].first
        if self._swept == now:
            return
        there = self._journal.log.names(log)
        self._journal.catch_up()
        named = {one.name for one, _ in self._seen(segments.listed)}
        if not self._journal.leads:
            return
        for name in there:
            if name not in named:
                self._journal.log.drop(name)
        self._swept = now

    def _seen(self, ask: Callable[[apsw.Connection], Any]) -> Any:
        with self._database.reading() as connection:
            return ask(connection)

    def explain(self, error: Exception) -> str:
        """A failure of a turn as a sentence."""
        return error.message if isinstance(error, CsirtError) else connect.explain(error, self._config).message
