"""Where the entries of the log are: segments, an index each, as the log itself says in what order and from which on.

`log_segment`: those that are kept. `log_snapshot`: the newest snapshot. `log_refused`: documents of all nodes that the
cluster did not take, which nobody finds there: a snapshot brings them along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apsw

from csirt.stores.elastic.shared.entry import Entry, Segment

_TABLES = """
CREATE TABLE IF NOT EXISTS log_segment (first INTEGER PRIMARY KEY, name TEXT NOT NULL, octets INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS log_snapshot (
  one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, time INTEGER NOT NULL, octets INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS log_refused (kind TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
"""
TABLES = ("log_segment", "log_snapshot", "log_refused")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Of the folder after entry `number`."""

    number: int
    time: int
    octets: int


def join(connection: apsw.Connection) -> None:
    """Make the tables, in the caller's transaction."""
    connection.execute(_TABLES)


def begin(connection: apsw.Connection, name: str) -> None:
    """The log begins in that segment, in the caller's transaction."""
    connection.execute("INSERT OR IGNORE INTO log_segment VALUES (1, ?, 0)", (name,))


def listed(connection: apsw.Connection) -> list[tuple[Segment, int]]:
    """The segments that are kept, in order, and the octets of their entries."""
    rows: Any = connection.execute("SELECT first, name, octets FROM log_segment ORDER BY first")
    return [(Segment(first, name), octets) for first, name, octets in rows]


def last(connection: apsw.Connection) -> Segment:
    """Where the next entry goes; without a name while that is not known."""
    row: Any = connection.execute("SELECT first, name FROM log_segment ORDER BY first DESC LIMIT 1").fetchone()
    return Segment(*row) if row else Segment()


def holding(connection: apsw.Connection, number: int) -> Segment:
    """Where that entry is; without a name when it is no longer kept."""
    row: Any = connection.execute(
        "SELECT first, name FROM log_segment WHERE first <= ? ORDER BY first DESC LIMIT 1", (number,)
    ).fetchone()
    return Segment(*row) if row else Segment()


def snapshot(connection: apsw.Connection) -> Snapshot | None:
    """The newest that the log tells of."""
    row: Any = connection.execute("SELECT number, time, octets FROM log_snapshot").fetchone()
    return Snapshot(*row) if row else None


def refused(connection: apsw.Connection) -> list[tuple[str, str]]:
    """The documents of which the log says that the cluster did not take them."""
    return [(str(kind), str(id)) for kind, id in connection.execute("SELECT kind, id FROM log_refused")]


def apply(connection: apsw.Connection, entry: Entry) -> None:
    """What an entry says of the log, in the caller's transaction."""
    connection.execute(
        "UPDATE log_segment SET octets = octets + ? WHERE first = (SELECT max(first) FROM log_segment)", (entry.size,)
    )
    if entry.segment:
        connection.execute("INSERT INTO log_segment VALUES (?, ?, 0)", (entry.number + 1, entry.segment))
    if entry.snapshot:
        connection.execute("INSERT OR REPLACE INTO log_snapshot VALUES (1, ?, ?, ?)", entry.snapshot)
    connection.execute("DELETE FROM log_segment WHERE first < ?", (entry.kept_from,))
    connection.executemany("INSERT OR IGNORE INTO log_refused VALUES (?, ?)", entry.refused)
    gone = [(kind, name) for kind, names in entry.gone.items() for name in names]
    connection.executemany("DELETE FROM log_refused WHERE kind = ? AND id = ?", gone)
