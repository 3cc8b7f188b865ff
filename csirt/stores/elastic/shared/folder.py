"""What a node's folder keeps beside its catalogue, and how an entry of the log changes the folder.

`shared_log`: how much of which log the folder has, and who leads. `unsent_hits`: hits of this node that are not in the
log yet. `node_mark`: how far each node's event time is. The table `hits` holds what is in the log and not yet used,
with the same ids on every node.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import apsw
import orjson

from csirt.model.audit import AuditEntry
from csirt.stores.elastic import layout, outbox
from csirt.stores.elastic.shared import segments
from csirt.stores.elastic.shared.entry import Blob, Entry, Segment, is_shared
from csirt.stores.embedded.catalogue import chain, documents

_TABLES = """
CREATE TABLE IF NOT EXISTS shared_log (
  one INTEGER PRIMARY KEY CHECK (one = 1), log TEXT NOT NULL, opened INTEGER NOT NULL, applied INTEGER NOT NULL,
  token TEXT NOT NULL, term INTEGER NOT NULL, holder TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS unsent_hits (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, least INTEGER NOT NULL, greatest INTEGER NOT NULL,
  rows INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS node_mark (
  node TEXT PRIMARY KEY, mark INTEGER NOT NULL, active INTEGER NOT NULL) WITHOUT ROWID;
"""
OWN_KINDS = ("audit", "position")  # kinds that each node sends by itself
SHARED_KINDS = tuple(kind for kind in layout.KINDS if kind not in OWN_KINDS)
_SHARED_TABLES = ("incident_entity", "incident_alias", "case_event", "number", "hits", "node_mark", *segments.TABLES)
_TOLD = "audit_log"  # in `meta`: up to which entry the chain tells of the log already
_ANEW = "log_anew"  # in `meta`: the cluster is another, or lost everything
_LOADING = "log_loading"  # in `meta`: what the folder holds is part of what a snapshot goes with
_FORGET_OUTBOX = "DELETE FROM outbox WHERE kind IN (SELECT value FROM json_each(?))"
STEP = 32  # bits of a document's version below the number of its entry


@dataclass(frozen=True, slots=True)
class Place:
    """How far a folder is in which log: `applied` entries, the last of them `token`; `opened`: the log is complete from
    its beginning. `holder` leads since `term`. The next entry goes to `segment`."""

    log: str = ""
    opened: bool = False
    applied: int = 0
    token: str = ""
    term: int = 0
    holder: str = ""
    segment: Segment = field(default_factory=Segment)


def join(connection: apsw.Connection) -> None:
    """Make the tables, in the caller's transaction."""
    connection.execute(_TABLES)
    segments.join(connection)
    connection.execute("INSERT OR IGNORE INTO shared_log VALUES (1, '', 0, 0, '', 0, '')")


def place(connection: apsw.Connection) -> Place:
    """How far the folder is."""
    row: Any = connection.execute("SELECT log, opened, applied, token, term, holder FROM shared_log").fetchone()
    log, opened, applied, token, term, holder = row
    return Place(log, bool(opened), applied, token, term, holder, segments.last(connection))


def follow(connection: apsw.Connection, log: str) -> None:
    """Follow this log from its beginning, in the caller's transaction."""
    connection.execute("UPDATE shared_log SET log = ?", (log,))


def loading(connection: apsw.Connection) -> bool:
    """Whether the folder is being filled with what a snapshot goes with."""
    return bool(connection.execute("SELECT count(*) FROM meta WHERE key = ?", (_LOADING,)).get)


def begin_loading(connection: apsw.Connection, log: str) -> None:
    """Empty the folder of what nodes share, to fill it, in the caller's transaction."""
    begin_again(connection, log, _told(connection))
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, '')", (_LOADING,))


def end_loading(connection: apsw.Connection) -> None:
    """What the folder holds is what its entries say, in the caller's transaction."""
    connection.execute("DELETE FROM meta WHERE key = ?", (_LOADING,))


def loaded(connection: apsw.Connection, at: Place) -> None:
    """The folder is as after that entry, and the cluster has all of it, in the caller's transaction."""
    end_loading(connection)
    connection.execute(_FORGET_OUTBOX, (documents.json_list(SHARED_KINDS),))
    connection.execute("UPDATE cluster SET steps = max(steps, ?)", (at.applied << STEP,))
    connection.execute(
        "UPDATE shared_log SET log = ?, opened = 1, applied = ?, token = ?, term = ?, holder = ?",
        (at.log, at.applied, at.token, at.term, at.holder),
    )


def begin_again(connection: apsw.Connection, log: str, told: int) -> None:
    """Forget everything that nodes share, to follow that log from its beginning, in the caller's transaction. `told`:
    up to which of its entries this node's audit chain tells of them already."""
    for table in (*(kind.table for kind in documents.KINDS.values()), *_SHARED_TABLES):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
    connection.executemany("DELETE FROM state WHERE key = ?", [(key,) for key in states(connection)])
    # The cluster keeps what it has: nothing is deleted there, and versions are counted as every node counts them.
    connection.execute(_FORGET_OUTBOX, (documents.json_list(SHARED_KINDS),))
    connection.execute("UPDATE cluster SET steps = ?", (outbox.FIRST_STEP,))
    connection.execute(
        "UPDATE shared_log SET log = ?, opened = 0, applied = 0, token = '', term = 0, holder = ''", (log,)
    )
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_TOLD, str(told)))


def bring_again(connection: apsw.Connection) -> None:
    """Keep what nodes share, and let it be what a log begins with; the cluster lacks everything. In the caller's
    transaction."""
    for table in ("node_mark", *segments.TABLES, "outbox", "dead_letter"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
    connection.execute("UPDATE cluster SET steps = ?", (outbox.FIRST_STEP,))
    outbox.add_all(connection, OWN_KINDS)
    connection.execute("UPDATE shared_log SET log = '', opened = 0, applied = 0, token = '', term = 0, holder = ''")
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, '0'), (?, '')", (_TOLD, _ANEW))


def begun_anew(connection: apsw.Connection) -> bool:
    """Whether the cluster lacks also what of the lake it had been sent."""
    return bool(connection.execute("SELECT count(*) FROM meta WHERE key = ?", (_ANEW,)).get)


def noted_anew(connection: apsw.Connection) -> None:
    """What of the lake it lacks is noted, in the caller's transaction."""
    connection.execute("DELETE FROM meta WHERE key = ?", (_ANEW,))


def has_documents(connection: apsw.Connection) -> bool:
    """Whether the folder holds anything that nodes share."""
    tables = [kind.table for kind in documents.KINDS.values()] + ["hits"]
    return any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in tables)  # noqa: S608


def add_hits(connection: apsw.Connection, least: int, greatest: int, rows: int, data: bytes) -> None:
    """Hits of this node that wait for the log."""
    connection.execute(
        "INSERT INTO unsent_hits (name, least, greatest, rows, data) VALUES (?, ?, ?, ?, ?)",
        (os.urandom(8).hex(), least, greatest, rows, data),
    )


def unsent(connection: apsw.Connection, octets: int) -> tuple[list[Blob], bool]:
    """The hits that have waited longest, of about so many octets, and whether these are all."""
    found: list[Blob] = []
    size = 0
    rows = connection.execute("SELECT name, least, greatest, rows, data FROM unsent_hits ORDER BY id")
    for name, least, greatest, count, data in rows:
        if found and size + len(data) > octets:
            return found, False
        found.append(Blob(name=name, least=least, greatest=greatest, rows=count, data=bytes(data)))
        size += len(data)
    return found, True


def count_unsent(connection: apsw.Connection) -> int:
    """How many blobs of hits wait for the log."""
    return int(connection.execute("SELECT count(*) FROM unsent_hits").get)


def marks(connection: apsw.Connection) -> dict[str, tuple[int, bool]]:
    """By node, how far its event time is and whether more is expected of it."""
    rows = connection.execute("SELECT node, mark, active FROM node_mark ORDER BY node")
    return {node: (mark, bool(active)) for node, mark, active in rows}


def apply(connection: apsw.Connection, entry: Entry, node: str) -> None:
    """Let the folder of `node` have an entry, in the caller's transaction.

    The outbox counts on from the entry's number, so a document has the same version in the cluster whoever sends it."""
    connection.execute("UPDATE cluster SET steps = max(steps, ?)", (entry.number << STEP,))
    for kind, texts in entry.documents.items():
        found = [orjson.loads(text) for text in texts]
        documents.put(connection, documents.KINDS[kind], found)
        if kind in ("case", "run"):
            documents.count_numbers(connection, kind, found)
    _add_events(connection, entry.events)
    _forget(connection, entry.gone)
    for key, value in entry.states.items():
        if value is None:
            connection.execute("DELETE FROM state WHERE key = ?", (key,))
        else:
            connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))
    _apply_hits(connection, entry)
    segments.apply(connection, entry)
    _add_audit(connection, entry, node)
    connection.execute(
        "UPDATE shared_log SET applied = ?, token = ?, opened = max(opened, ?)",
        (entry.number, entry.token, entry.opens),
    )
    if entry.holder:
        connection.execute("UPDATE shared_log SET term = ?, holder = ?", (entry.term, entry.holder))


def _add_events(connection: apsw.Connection, texts: list[str]) -> None:
    for text in texts:
        event = orjson.loads(text)
        connection.execute(
            'INSERT INTO case_event VALUES (?, ?, ?) ON CONFLICT ("case", seq) DO UPDATE SET doc = excluded.doc',
            (event["case"], event["seq"], text),
        )


def _apply_hits(connection: apsw.Connection, entry: Entry) -> None:
    connection.executemany("DELETE FROM hits WHERE id = ?", [(number,) for number in entry.consumed])
    for place_, blob in enumerate(entry.hits):
        connection.execute(
            "INSERT OR REPLACE INTO hits (id, least, greatest, rows, data) VALUES (?, ?, ?, ?, ?)",
            ((entry.number << 20) + place_, blob.least, blob.greatest, blob.rows, blob.data),
        )
        if blob.name:
            connection.execute("DELETE FROM unsent_hits WHERE name = ?", (blob.name,))
    if entry.mark is not None:
        connection.execute(
            """INSERT INTO node_mark VALUES (?, ?, ?) ON CONFLICT (node) DO UPDATE SET
               mark = max(mark, excluded.mark), active = excluded.active""",
            (entry.node, entry.mark, entry.active),
        )


def tell_on(connection: apsw.Connection, told: str, now: int) -> None:
    """Begin this node's chain after the last entry that the cluster has of a node of this name, whose folder is gone:
    an entry with a number that is there already would be taken for it. In the caller's transaction."""
    link = chain.Head(int(orjson.loads(told)["seq"]), chain.hash_of(told.encode()))
    chain.begin_at(connection, link)
    detail = {"audit_base": str(link)}
    entry = AuditEntry(time=now, actor="system", category="operation", action=chain.RECOVERED, detail=detail)
    chain.append(connection, [entry])


def _add_audit(connection: apsw.Connection, entry: Entry, node: str) -> None:
    """Every node's chain tells what was done on any; the cluster has each entry from the node it was made on."""
    if not entry.audit or entry.number <= _told(connection):
        return
    first = chain.head(connection).seq + 1
    chain.append(connection, [AuditEntry(**{**fields, "seq": 0, "previous": "", "hash": ""}) for fields in entry.audit])
    if entry.node != node:
        names = documents.json_list(f"{first + index:012d}" for index in range(len(entry.audit)))
        connection.execute(
            "DELETE FROM outbox WHERE kind = 'audit' AND id IN (SELECT value FROM json_each(?))", (names,)
        )


def _told(connection: apsw.Connection) -> int:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_TOLD,)).fetchone()
    return int(row[0]) if row else 0


def _forget(connection: apsw.Connection, gone: dict[str, list[str]]) -> None:
    for kind, names in gone.items():
        if kind == "incident":
            documents.drop_incidents(connection, names)
            continue
        bindings = [(name,) for name in names]
        table = documents.KINDS[kind].table
        connection.executemany(f"DELETE FROM {table} WHERE id = ?", bindings)  # noqa: S608
        if kind == "case":
            connection.executemany('DELETE FROM case_event WHERE "case" = ?', bindings)


def sent(connection: apsw.Connection, until: int) -> None:
    """The holder has sent all documents of the entries up to this one, in the caller's transaction."""
    connection.execute(
        "DELETE FROM outbox WHERE kind IN (SELECT value FROM json_each(?)) AND last < ?",
        (documents.json_list(SHARED_KINDS), (until + 1) << STEP),
    )


def sent_until(connection: apsw.Connection) -> int:
    """The last entry of which the cluster has all documents, as far as this folder knows."""
    row: Any = connection.execute(
        "SELECT min(first) FROM outbox WHERE kind IN (SELECT value FROM json_each(?))",
        (documents.json_list(SHARED_KINDS),),
    ).fetchone()
    applied = place(connection).applied
    return applied if row[0] is None else min(applied, (int(row[0]) >> STEP) - 1)


def settled_until(connection: apsw.Connection) -> int:
    """The last entry of which the cluster has all documents that it takes, and the log tells of the others: what no
    other node need send."""
    row: Any = connection.execute(
        """SELECT min(version) FROM dead_letter AS d WHERE kind IN (SELECT value FROM json_each(?))
           AND NOT EXISTS (SELECT 1 FROM log_refused AS r WHERE r.kind = d.kind AND r.id = d.id)""",
        (documents.json_list(SHARED_KINDS),),
    ).fetchone()
    sent = sent_until(connection)
    return sent if row[0] is None else min(sent, (int(row[0]) >> STEP) - 1)


def untold(connection: apsw.Connection) -> list[list[str]]:
    """The documents that the cluster did not take and the log does not tell of yet, as (kind, id)."""
    rows = connection.execute(
        """SELECT kind, id FROM dead_letter WHERE kind IN (SELECT value FROM json_each(?))
           EXCEPT SELECT kind, id FROM log_refused""",
        (documents.json_list(SHARED_KINDS),),
    )
    return [[str(kind), str(id)] for kind, id in rows]


def send_refused(connection: apsw.Connection) -> None:
    """Let the documents be sent again that the cluster did not take from a holder before, in the caller's transaction:
    it takes them now, or this node lists them."""
    for kind, name in segments.refused(connection):
        outbox.again(connection, kind, name)


def states(connection: apsw.Connection) -> dict[str, bytes | None]:
    """The states that all nodes share."""
    rows = connection.execute("SELECT key, value FROM state ORDER BY key")
    return {key: bytes(value) for key, value in rows if is_shared(key)}
