"""How a folder comes to follow the cluster's log: the first node brings what it has, the others begin with nothing.

Where the indices are new (another prefix, or lost and made again), the first node to come begins a log with what its
folder holds; the others' folders belong to another log then (`csirt store recover`)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import apsw

from csirt.errors import Conflict, Unreachable
from csirt.stores.elastic import connect, head, layout
from csirt.stores.elastic.shared import folder, segments, start
from csirt.stores.elastic.shared.entry import Blob, Entry
from csirt.stores.elastic.shared.journal import Journal
from csirt.stores.elastic.shared.log import Cut, Documents
from csirt.stores.embedded.catalogue import chain, documents
from csirt.stores.embedded.catalogue.database import Database

LOG = logging.getLogger("csirt.stores.elastic")
NAME = "shared"
MANY = 500  # documents of one entry


def join(database: Database, meta: Documents, journal: Journal, node: str) -> None:
    """Follow the log of these indices; begin it where there is none. Raises Conflict for a folder that cannot,
    Unreachable while the first node is not done."""
    found = meta.get(NAME)
    if journal.place.opened:
        if found is not None or not _empty(meta):
            _same(found[0] if found is not None else {}, journal)
            return
        with database.transaction("beginning the cluster's log") as connection:
            folder.bring_again(connection)
        journal.begin_again()
        LOG.warning("the cluster's indices hold nothing: this node begins a log with what its folder holds")
    shared = found[0] if found is not None else _begin(database, meta, journal, node)
    if "segment" not in shared:
        raise Conflict(
            "the cluster's log was begun by an older csirt; give all nodes a new [stores.elasticsearch] prefix"
        )
    if not journal.place.log:
        _choose(database, meta, journal, shared, node, meta.now())
    elif journal.place.log != shared["log"]:
        raise Conflict(_OTHER)
    _read(database, meta, journal, shared, node)
    if not journal.place.opened:
        if shared["node"] != node:
            raise Unreachable(f"the node {shared['node']} has begun to share its store and is not done; see to it")
        _bring(database, journal, node)


def _read(database: Database, meta: Documents, journal: Journal, shared: dict[str, Any], node: str) -> None:
    """The log so far: from a snapshot, or from its beginning; what was begun and is no longer kept, anew."""
    if not journal.place.segment.name:
        with database.transaction("joining the cluster's log") as connection:
            segments.begin(connection, shared["segment"])
        journal.refresh()
    try:
        if journal.place.applied:
            journal.catch_up()
            return
    except Cut:
        start.empty(database, journal)
        journal.astray = False
    start.begin(database, meta, journal, shared, node)
    journal.catch_up()


_OTHER = (
    "the cluster's log is not the one this folder follows: the indices were made anew, or restored; give the nodes a "
    "new [stores.elasticsearch] prefix, and new folders to all but one; where the cluster's log is the one to go on "
    "with, stop this daemon and run `csirt store recover --dry-run`"
)


def _empty(meta: Documents) -> bool:
    """Whether the indices hold nothing that nodes share: they are new."""
    client, aliases = meta.client(), [layout.alias(meta.config.prefix, kind) for kind in folder.SHARED_KINDS]
    try:
        client.indices.refresh(index=aliases)
        return not int(client.count(index=aliases)["count"])
    except Exception as error:
        if not connect.of_cluster(error):
            raise
        raise connect.explain(error, meta.config) from error


def _same(shared: dict[str, Any], journal: Journal) -> None:
    if shared.get("log") != journal.place.log:
        raise Conflict(_OTHER)
    journal.compare()


def _begin(database: Database, meta: Documents, journal: Journal, node: str) -> dict[str, Any]:
    """Make these the indices of a log."""
    note = meta.get(head.ID)
    with database.reading() as connection:
        store: Any = connection.execute("SELECT store FROM cluster").get
    if note is not None and note[0]["store"] != store:
        raise Conflict(
            f"the indices {meta.index.removesuffix('meta')}* hold another store's documents; begin with that store's "
            "folder, or choose another [stores.elasticsearch] prefix"
        )
    log = os.urandom(16).hex()
    # A daemon without a node's name finds another store here.
    meta.put(head.ID, {"store": log, "writer": "nodes", "step": 0}, note[1] if note is not None else None)
    body = {"log": log, "node": node, "segment": journal.log.begin(log, 0)}
    if meta.put(NAME, body, None) is None:
        found = meta.get(NAME)
        assert found is not None
        return found[0]
    return body


def _choose(database: Database, meta: Documents, journal: Journal, shared: dict[str, Any], node: str, now: int) -> None:
    told = meta.told(node)
    with database.transaction("joining the cluster's log") as connection:
        if folder.has_documents(connection) and shared["node"] != node:
            raise Conflict(start.has_its_own(shared["node"]))
        folder.follow(connection, shared["log"])
        if told and not chain.head(connection).seq:
            folder.tell_on(connection, told, now)
    journal.refresh()


def _bring(database: Database, journal: Journal, node: str) -> None:
    """Everything the folder of the first node holds, in entries of bounded size. Begun anew when it was interrupted."""
    with database.reading() as connection:
        texts = list(_chunks(connection))
    for kind, found in texts:
        entry = Entry(node=node, events=found) if kind == "case_event" else Entry(node=node, documents={kind: found})
        journal.write(lambda _, entry=entry: entry)  # type: ignore[misc]
    journal.write(lambda connection: _rest(connection, node))


def _chunks(connection: apsw.Connection) -> Iterator[tuple[str, list[str]]]:
    queries = {name: f"SELECT doc FROM {kind.table} ORDER BY id" for name, kind in documents.KINDS.items()}  # noqa: S608
    queries["case_event"] = 'SELECT doc FROM case_event ORDER BY "case", seq'
    for name, query in queries.items():
        rows = [str(text) for (text,) in connection.execute(query)]
        for place in range(0, len(rows), MANY):
            yield name, rows[place : place + MANY]


def _rest(connection: apsw.Connection, node: str) -> Entry:
    """The states, and the hits that wait: from now on they are the log's."""
    rows: list[Any] = connection.execute("SELECT id, least, greatest, rows, data FROM hits ORDER BY id").fetchall()
    return Entry(
        node=node,
        states=folder.states(connection),
        consumed=[row[0] for row in rows],
        hits=[Blob(name="", least=row[1], greatest=row[2], rows=row[3], data=bytes(row[4])) for row in rows],
        opens=True,
    )
