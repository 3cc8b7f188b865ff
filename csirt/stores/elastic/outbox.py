"""What the cluster does not have yet: one row for each document that has changed since it was last acknowledged.

Triggers fill it in the transaction that changes the document, so nothing is committed that is not also waiting here,
whoever commits it; they rest while a commit writes its documents, which are then noted all at once (`Noting`): those
that are at hand as parcels (`parcels.py`). The row names the document and holds no copy of it: a long outage costs one
row per changed document. `first` is when the document first changed since its last acknowledgement and `last` when it
last did, in steps of one counter for the folder; `last` is also the version of the document in the cluster.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apsw
import orjson

from csirt.stores.elastic import layout, parcels
from csirt.stores.elastic.events import notes
from csirt.stores.embedded.catalogue import documents

if TYPE_CHECKING:
    from csirt.stores.elastic.fresh import Making, Parcel

_LAST = (1 << 63) - 1
TOGETHER = 500  # documents read with one statement
FIRST_STEP = 1_000  # above the version 1 that the cluster gives to what is only ever created

_TABLES = """
CREATE TABLE IF NOT EXISTS cluster (
  one INTEGER PRIMARY KEY CHECK (one = 1), store TEXT NOT NULL, writer TEXT NOT NULL, before TEXT NOT NULL,
  confirmed INTEGER NOT NULL, steps INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
  kind TEXT NOT NULL, id TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (kind, id))
  WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outbox_by_first ON outbox (first);
CREATE TABLE IF NOT EXISTS dead_letter (
  kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL,
  time INTEGER NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
"""

_CASE_EVENT = "{row}\"case\" || ':' || printf('%09d', {row}seq)"
_AUDIT = "printf('%012d', {row}seq)"
_POSITION = "json_array({row}source, {row}fingerprint)"
# kind -> its table, the document's key, its text
_PLACES: dict[str, tuple[str, str, str]] = {
    **{name: (kind.table, "{row}id", "doc") for name, kind in documents.KINDS.items()},
    "case_event": ("case_event", _CASE_EVENT, "doc"),
    "audit": ("audit", _AUDIT, "doc"),
    "position": (
        "position",
        _POSITION,
        """json_object('source', source, 'fingerprint', fingerprint, 'offset', offset, 'done',
           json(iif(done, 'true', 'false')), 'extra', json(extra))""",
    ),
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """One document that the cluster does not have: `text` is None when it was deleted."""

    kind: str
    key: str
    first: int
    last: int
    text: str | None

    @property
    def name(self) -> tuple[str, str, int]:
        """(kind, key, step): what the cluster has once it took this."""
        return self.kind, self.key, self.last


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that the cluster will not take, and why, without anything that was in it."""

    kind: str
    key: str
    version: int
    status: int
    reason: str


def joined(connection: apsw.Connection) -> bool:
    """Whether the folder keeps account of what a cluster lacks."""
    query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'cluster'"
    return bool(connection.execute(query).get) and bool(connection.execute("SELECT count(*) FROM cluster").get)


def join(connection: apsw.Connection) -> None:
    """Begin to keep account, or go on with it, inside the caller's transaction; everything that a folder holds which
    begins is new to the cluster."""
    connection.execute(_TABLES)
    notes.join(connection)
    parcels.join(connection)
    parcels.unpack(connection)
    if not connection.execute("SELECT count(*) FROM cluster").get:
        name = os.urandom(16).hex()
        connection.execute("INSERT INTO cluster VALUES (1, ?, '', '', 1, ?)", (name, FIRST_STEP))
        add_all(connection)
    for kind, (table, key, _) in _PLACES.items():
        for event, row in (("INSERT", "NEW."), ("UPDATE", "NEW."), ("DELETE", "OLD.")):
            connection.execute(f"DROP TRIGGER IF EXISTS outbox_{kind}_{event.lower()}")  # of an older csirt
            connection.execute(
                f"""CREATE TRIGGER IF NOT EXISTS outbox_of_{kind}_{event.lower()} AFTER {event} ON {table} BEGIN
                      UPDATE cluster SET steps = steps + 1;
                      INSERT INTO outbox SELECT '{kind}', {key.format(row=row)}, steps, steps FROM cluster WHERE true
                        ON CONFLICT (kind, id) DO UPDATE SET last = excluded.last;
                    END"""  # noqa: S608
            )


class Noting:
    """Notes all documents of a commit at once, in its transaction, in their order: a trigger for each costs more than
    the document, and half as much when it does nothing. `made` makes parcels of them as far as there is room."""

    def __init__(self, connection: apsw.Connection, made: Making | None = None) -> None:
        self._connection, self._made = connection, made
        self._step = 0
        self._noted: list[tuple[str, str, int, int]] = []

    def __enter__(self) -> documents.Told:
        self._step = steps(self._connection)
        self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)  # nobody else writes meanwhile
        return self._take

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)
        if kind is not None:
            return  # nothing of the transaction stays
        self._connection.executemany(
            "INSERT INTO outbox VALUES (?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET last = excluded.last",
            self._noted,
        )
        if self._made is not None:
            parcels.note(self._connection, self._made.parcels)
        self._connection.execute("UPDATE cluster SET steps = ?", (self._step,))

    def _take(self, kind: str, keys: Sequence[str], some: Sequence[dict[str, Any]], texts: Sequence[str]) -> None:
        made = self._made(kind, keys, some, texts, self._step + 1) if self._made is not None else 0
        self._noted += [(kind, key, step, step) for step, key in enumerate(keys[made:], self._step + made + 1)]
        self._step += len(keys)


def adopt(connection: apsw.Connection, store: str, writer: str, steps: int) -> None:
    """Go on as that store, last written by that writer, in a folder that was made of what the cluster has: nothing of
    it is new to the cluster. In the caller's transaction."""
    join(connection)
    connection.execute("DELETE FROM outbox")
    parcels.forget(connection)
    connection.execute(
        "UPDATE cluster SET store = ?, writer = ?, before = '', confirmed = 1, steps = ?", (store, writer, steps)
    )


def add_all(connection: apsw.Connection, kinds: Iterable[str] = layout.KINDS) -> None:
    """Let every document of these kinds be sent again, in the caller's transaction, positions last."""
    parcels.unpack(connection)
    for kind, (table, key, _) in _PLACES.items():
        if kind not in kinds:
            continue
        connection.execute(
            f"""INSERT INTO outbox
                SELECT '{kind}', {key.format(row="")}, steps + row_number() OVER (), steps + row_number() OVER ()
                FROM {table}, cluster WHERE true ON CONFLICT (kind, id) DO UPDATE SET last = excluded.last"""  # noqa: S608
        )
        connection.execute("UPDATE cluster SET steps = max(steps, (SELECT coalesce(max(last), 0) FROM outbox))")


def begin(connection: apsw.Connection) -> tuple[str, str, set[str]]:
    """The store's name, this writer's, and whom the cluster may name as the last who wrote: any other is a copy of the
    folder. In the caller's transaction. A new writer is named once the cluster has confirmed the one before."""
    if connection.execute("SELECT confirmed FROM cluster").get:
        name = os.urandom(8).hex()
        connection.execute("UPDATE cluster SET before = writer, writer = ?, confirmed = 0", (name,))
    row: Any = connection.execute("SELECT store, writer, before FROM cluster").fetchone()
    return row[0], row[1], {row[1], row[2]}


def confirm(connection: apsw.Connection) -> None:
    """The cluster names this writer now."""
    connection.execute("UPDATE cluster SET confirmed = 1")


def window(
    connection: apsw.Connection,
    limit: int,
    octets: int,
    before: int = 1 << 62,
    kinds: Iterable[str] = layout.KINDS,
    besides: Sequence[Parcel] = (),
) -> tuple[list[Waiting], list[Waiting]]:
    """The documents of these kinds that have waited longest, at most `limit` and about so many octets; and the
    positions whose commits the cluster has whole once it has those and the parcels that are sent `besides`: of one
    snapshot, so that no later commit holds them back. `before`: of commits before that step, from which on events are
    missing."""
    rows: list[Any] = connection.execute(
        """SELECT kind, id, first, last FROM outbox
           WHERE kind <> 'position' AND kind IN (SELECT value FROM json_each(?)) ORDER BY first LIMIT ?""",
        (documents.json_list(kinds), limit + 1),
    ).fetchall()
    # The cluster forgets soon of what version a document was that it deleted: nothing older may come after that.
    deletable, before = parcels.first(connection), min(before, parcels.first(connection, besides))
    found: list[Waiting] = []
    size = 0
    for start in range(0, len(rows), TOGETHER):
        some = rows[start : start + TOGETHER]
        texts = _texts(connection, some)
        for kind, key, first, last in some:
            if len(found) == limit or size >= octets:
                return found, _positions(connection, min(before, first), limit)
            text = texts.get((kind, key))
            if text is None and last > deletable:
                before = min(before, first)
                continue
            found.append(Waiting(kind, key, first, last, text))
            size += len(text or "")
    return found, _positions(connection, before, limit)


def _texts(connection: apsw.Connection, rows: list[Any]) -> dict[tuple[str, str], str]:
    """The texts of documents, by (kind, key): what is stored by its id at once for each kind, the rest singly."""
    names: dict[str, list[str]] = {}
    found: dict[tuple[str, str], str] = {}
    for kind, key, *_ in rows:
        if kind in documents.KINDS:
            names.setdefault(kind, []).append(key)
        elif (text := text_of(connection, kind, key)) is not None:
            found[kind, key] = text
    for kind, keys in names.items():
        stored = documents.stored(connection, documents.KINDS[kind], "doc", keys)
        found.update(((kind, key), text) for key, text in stored.items())
    return found


def _positions(connection: apsw.Connection, rest: int, limit: int) -> list[Waiting]:
    rows: list[Any] = connection.execute(
        "SELECT id, first, last FROM outbox WHERE kind = 'position' AND last < ? ORDER BY last LIMIT ?", (rest, limit)
    ).fetchall()
    return [Waiting("position", key, first, last, text_of(connection, "position", key)) for key, first, last in rows]


def text_of(connection: apsw.Connection, kind: str, key: str) -> str | None:
    """The text of a document, None when it is not there."""
    table, _, text = _PLACES[kind]
    condition, bindings = _by_key(kind, key)
    row = connection.execute(f"SELECT {text} FROM {table} WHERE {condition}", bindings).fetchone()  # noqa: S608
    return str(row[0]) if row else None


def _by_key(kind: str, key: str) -> tuple[str, tuple[Any, ...]]:
    if kind == "case_event":
        case, _, seq = key.rpartition(":")
        return '"case" = ? AND seq = ?', (case, int(seq))
    if kind == "audit":
        return "seq = ?", (int(key),)
    if kind == "position":
        return "source = ? AND fingerprint = ?", tuple(orjson.loads(key))
    return "id = ?", (key,)


def acknowledge(
    connection: apsw.Connection,
    sent: Sequence[tuple[str, str, int]],
    refused: list[Refused],
    now: int,
    besides: Sequence[Parcel] = (),
) -> None:
    """Take away what the cluster has, by (kind, key, step) and parcels, and note what it refused, in the caller's
    transaction. What changed while it was sent waits on, from then."""
    before = connection.total_changes()
    connection.executemany("DELETE FROM outbox WHERE kind = ? AND id = ? AND last = ?", sent)
    if connection.total_changes() - before < len(sent):
        connection.executemany("UPDATE outbox SET first = max(first, ?3 + 1) WHERE kind = ?1 AND id = ?2", sent)
    parcels.acknowledge(connection, besides)
    if connection.execute("SELECT EXISTS (SELECT 1 FROM dead_letter)").get:
        sent = [*sent, *(name for parcel in besides for name in parcel.names)]
        bad = {(item.kind, item.key) for item in refused}
        connection.executemany(
            "DELETE FROM dead_letter WHERE kind = ? AND id = ?",
            [(kind, key) for kind, key, _ in sent if (kind, key) not in bad],
        )
    _list(connection, refused, now)


def put_aside(connection: apsw.Connection, kind: str, refused: list[Refused], now: int) -> None:
    """List what of a kind without an outbox was refused, in the caller's transaction."""
    _list(connection, [item for item in refused if item.kind == kind], now)


def _list(connection: apsw.Connection, refused: list[Refused], now: int) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO dead_letter VALUES (?, ?, ?, ?, ?, ?)",
        [(item.kind, item.key, item.version, item.status, item.reason, now) for item in refused],
    )


def waiting(connection: apsw.Connection, until: int | None = None, kinds: Iterable[str] = layout.KINDS) -> int:
    """How many documents of these kinds, events and sums of them the cluster lacks; `until`: only those that wait since
    that step or longer."""
    lake = sum(notes.waiting(connection, until).values())
    query = "SELECT count(*) FROM outbox WHERE first <= ? AND kind IN (SELECT value FROM json_each(?))"
    until = _LAST if until is None else until
    found = int(connection.execute(query, (until, documents.json_list(kinds))).get)
    return found + parcels.waiting(connection, until) + lake  # what is in both waits once


def lacks(connection: apsw.Connection, until: int, kinds: Iterable[str] = layout.KINDS) -> bool:
    """Whether `waiting` would find any, without counting them."""
    query = """SELECT EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_by_first
                 WHERE first <= ? AND kind IN (SELECT value FROM json_each(?)))"""
    there = bool(connection.execute(query, (until, documents.json_list(kinds))).get)
    return there or parcels.first(connection) <= until or any(notes.waiting(connection, until).values())


def steps(connection: apsw.Connection) -> int:
    """The last step: every change so far is at or before it."""
    return int(connection.execute("SELECT steps FROM cluster").get)


def dead_letters(connection: apsw.Connection, limit: int | None = None) -> list[dict[str, Any]]:
    """What the cluster refused, oldest first."""
    rows = connection.execute(
        "SELECT kind, id, version, status, reason, time FROM dead_letter ORDER BY time, kind, id LIMIT ?",
        (-1 if limit is None else limit,),
    )
    names = ("kind", "id", "version", "status", "reason", "time")
    return [dict(zip(names, row, strict=True)) for row in rows]


def count_dead(connection: apsw.Connection) -> int:
    """How many documents the cluster refused."""
    return int(connection.execute("SELECT count(*) FROM dead_letter").get)


def retry(connection: apsw.Connection) -> int:
    """Let what was refused be sent again, in the caller's transaction; how many."""
    found = connection.execute("SELECT kind, id FROM dead_letter").fetchall()
    for kind, key in found:
        if kind not in _PLACES:
            notes.again(connection, str(kind), str(key))
            connection.execute("DELETE FROM dead_letter WHERE kind = ? AND id = ?", (kind, key))
            continue
        again(connection, str(kind), str(key))
    return len(found)


def again(connection: apsw.Connection, kind: str, key: str) -> None:
    """Let a document be sent again, in the caller's transaction."""
    connection.execute("UPDATE cluster SET steps = steps + 1")
    connection.execute(
        """INSERT INTO outbox SELECT ?, ?, steps, steps FROM cluster WHERE true
           ON CONFLICT (kind, id) DO UPDATE SET last = excluded.last""",
        (kind, key),
    )
