"""An empty folder gets what nodes share: the documents that the cluster has, and a snapshot of the rest.

The documents may be newer than the snapshot, some more than others. That does no harm: every entry after the snapshot
is applied then, and leaves of each document what the last one says; nothing of the folder is used for a change before
it has come to the end of the log. A folder that was filled in part is emptied first: nothing in it is its own.

While it reads, the node's document says from which entry on it needs the log; the leader waits for it as for any node.
Should the log be cut all the same (the leader had not heard of it yet), it begins again with the next snapshot.
"""

from __future__ import annotations

import logging
import tempfile
from typing import Any

from csirt.errors import Conflict, CsirtError
from csirt.model.audit import AuditEntry
from csirt.stores.elastic import connect, load
from csirt.stores.elastic.reader import Reader
from csirt.stores.elastic.shared import folder, nodes, segments, snapshot
from csirt.stores.elastic.shared.journal import Journal
from csirt.stores.elastic.shared.log import CUT, Cut, Documents
from csirt.stores.elastic.shared.snapshot import Damaged, Taken
from csirt.stores.embedded.catalogue import chain
from csirt.stores.embedded.catalogue.database import Database

LOG = logging.getLogger("csirt.stores.elastic")
TURNS = 3  # times that the log may be cut while a folder is filled
JOINED = "store.joined"  # the action of the audit entry that says what the chain of the folder does not tell


def begin(database: Database, meta: Documents, journal: Journal, shared: dict[str, Any], node: str) -> None:
    """Fill a folder that has no entry yet, where there is a snapshot of the log; else it reads all of it. Raises
    Conflict when it holds documents of its own, Damaged when neither can be had, Unreachable."""
    for _ in range(TURNS):
        kept, _ = snapshot.named(meta, shared["log"])
        if not kept:
            return
        _check(database, shared["node"])
        try:
            if not _filled(database, meta, journal, kept, node):
                _from_the_beginning(database, journal, shared)
            journal.catch_up()
        except Cut:
            empty(database, journal)
            continue
        journal.astray = False
        return
    raise Damaged(
        "no snapshot of the cluster's log is whole, and what was before it is no longer kept: try again when the node "
        "that leads has taken the next one, after [stores.elasticsearch] log_entries entries (`csirt status` there "
        "says when the last was taken)"
    )


def _check(database: Database, first: str) -> None:
    with database.reading() as connection:
        if folder.has_documents(connection) and not folder.loading(connection):
            raise Conflict(has_its_own(first))


def has_its_own(first: str) -> str:
    """What is wrong with a folder that cannot join."""
    return (
        f"this folder has alerts and cases of its own, and the cluster's log was begun by {first}: let this node begin "
        "with an empty folder; what this one holds can be read with --store (`csirt store recover --dry-run` says what "
        "the cluster lacks of it)"
    )


def empty(database: Database, journal: Journal) -> None:
    """Take out of a folder what nodes share: it is to be filled."""
    with database.transaction("joining the cluster's log") as connection:
        folder.begin_loading(connection, journal.place.log)
    journal.refresh()


def _from_the_beginning(database: Database, journal: Journal, shared: dict[str, Any]) -> None:
    """Let the folder read all of the log. Raises Cut when that is no longer there."""
    if not journal.log.token(1, shared["segment"]):
        raise Cut(CUT)
    with database.transaction("joining the cluster's log") as connection:
        folder.begin_loading(connection, shared["log"])
        folder.end_loading(connection)
        segments.begin(connection, shared["segment"])
    journal.refresh()


def _filled(database: Database, meta: Documents, journal: Journal, kept: list[Taken], node: str) -> bool:
    """Fill the folder from the newest snapshot that is whole and whose entry is still in the log."""
    for taken in reversed(kept):
        try:
            if journal.log.token(taken.number, taken.holding(taken.number)) != taken.token:
                raise Damaged(f"the cluster's log no longer has entry {taken.number}, of which it has a snapshot")
            nodes.announce(meta, node, taken.number)
            _fill(database, meta, journal, taken)
        except Cut:
            LOG.info("the cluster's log is no longer kept from entry %d on, of which it has a snapshot", taken.number)
            continue
        except Damaged as error:
            LOG.warning("%s; looking for the one before", error.message)
            continue
        return True
    return False


def _fill(database: Database, meta: Documents, journal: Journal, taken: Taken) -> None:
    with tempfile.TemporaryFile(dir=database.path.parent) as file:
        snapshot.fetch(journal.log.at(taken.index), taken, file)
        file.seek(0)
        empty(database, journal)
        _documents(database, meta)
        with database.transaction("joining the cluster's log") as connection:
            snapshot.load(connection, snapshot.read(file), taken)
            chain.append(connection, [_note(taken, meta.now())])
    journal.refresh()


def _documents(database: Database, meta: Documents) -> None:
    """All documents that the cluster has, a page at a time, so that the daemon's own commits need not wait long."""
    client = meta.client()
    try:
        Reader(client, meta.config).refresh()
        for kind in folder.SHARED_KINDS:
            for page in load.texts(client, meta.config.prefix, kind):
                with database.transaction("joining the cluster's log") as connection:
                    load.put(connection, kind, [text for text, _ in page])
    except Exception as error:
        if isinstance(error, CsirtError) or not connect.of_cluster(error):
            raise
        raise connect.explain(error, meta.config) from error


def _note(taken: Taken, now: int) -> AuditEntry:
    """The chain of this folder tells of the log from here on; what was before, those of the other nodes do."""
    detail: dict[str, Any] = {"after_entry": taken.number, "snapshot_of": taken.node}
    return AuditEntry(time=now, actor="system", category="operation", action=JOINED, detail=detail)
