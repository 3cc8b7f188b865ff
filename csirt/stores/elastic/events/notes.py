"""What of the lake the cluster still lacks, noted in the transaction that puts it there; no copy of any row.

An event note names the rows of one commit by their ids. Once the cluster has them it stays, so that all of it can be
sent again; the notes of an hour become one. A minute note says that the rows of a minute that the lake took in an hour
have changed: such rows never change their hour and leave the lake only with all of it, so the sums of both can be made
again from the lake at any time, and replace what the cluster has of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    from csirt.model.batch import Array

_TABLES = """
CREATE TABLE IF NOT EXISTS event_note (
  step INTEGER PRIMARY KEY, hour INTEGER NOT NULL, rows INTEGER NOT NULL, ids BLOB NOT NULL, waiting INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS event_note_waiting ON event_note (step) WHERE waiting;
CREATE TABLE IF NOT EXISTS minute_note (
  hour INTEGER NOT NULL, minute INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, began INTEGER NOT NULL,
  touched INTEGER NOT NULL, PRIMARY KEY (hour, minute)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cluster_count (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class EventNote:
    """Some rows, packed by `chosen.pack`."""

    step: int
    rows: int
    ids: bytes


@dataclass(frozen=True, slots=True)
class MinuteNote:
    """A minute (microseconds) of event time whose rows, taken in an hour (microseconds), have changed."""

    hour: int
    minute: int
    last: int


def join(connection: apsw.Connection) -> None:
    """Make the tables, in the caller's transaction."""
    connection.execute(_TABLES)


def step(connection: apsw.Connection) -> int:
    """The next step of the folder's counter, in the caller's transaction."""
    connection.execute("UPDATE cluster SET steps = steps + 1")
    return int(connection.execute("SELECT steps FROM cluster").get)


def note_events(connection: apsw.Connection, hour: int, rows: int, ids: bytes) -> None:
    """These rows are to be sent, in the caller's transaction."""
    connection.execute("INSERT INTO event_note VALUES (?, ?, ?, ?, 1)", (step(connection), hour, rows, ids))


def note_minutes(connection: apsw.Connection, pairs: list[tuple[int, int]], now: int) -> None:
    """The rows of these (hour, minute) have changed, in the caller's transaction."""
    if pairs:
        at = step(connection)
        connection.executemany(
            """INSERT INTO minute_note VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hour, minute)
               DO UPDATE SET last = excluded.last, touched = excluded.touched""",
            [(hour, minute, at, at, now, now) for hour, minute in pairs],
        )


def waiting_events(connection: apsw.Connection, limit: int) -> tuple[list[EventNote], int]:
    """The oldest notes that wait, of at most about so many rows; and the first step that is left."""
    found: list[EventNote] = []
    query = "SELECT step, rows, ids FROM event_note WHERE waiting ORDER BY step"
    for row in connection.execute(query):
        note = EventNote(*row)
        if found and sum(one.rows for one in found) + note.rows > limit:
            return found, note.step
        found.append(note)
    return found, 1 << 62


def waiting_minutes(connection: apsw.Connection, quiet: int, old: int, limit: int) -> list[MinuteNote]:
    """Minutes of the oldest hour that waits that did not change since `quiet`, or have waited since `old`."""
    rows: list[Any] = connection.execute(
        """SELECT hour, minute, last FROM minute_note WHERE touched <= ? OR began <= ? ORDER BY hour, minute LIMIT ?""",
        (quiet, old, limit),
    ).fetchall()
    return [MinuteNote(*row) for row in rows if row[0] == rows[0][0]]


def sent_events(connection: apsw.Connection, notes: list[EventNote], *, keep: bool) -> None:
    """The cluster has these, in the caller's transaction. `keep`: they can be sent again."""
    query = "UPDATE event_note SET waiting = 0 WHERE step = ?" if keep else "DELETE FROM event_note WHERE step = ?"
    connection.executemany(query, [(one.step,) for one in notes])


def sent_minutes(connection: apsw.Connection, notes: list[MinuteNote], now: int) -> None:
    """The cluster has these as they were, in the caller's transaction."""
    for one in notes:
        given = (one.hour, one.minute)
        connection.execute("DELETE FROM minute_note WHERE hour = ? AND minute = ? AND last = ?", (*given, one.last))
        connection.execute(
            "UPDATE minute_note SET first = max(first, ?), began = ? WHERE hour = ? AND minute = ?",
            (one.last + 1, now, *given),
        )


def send_again(connection: apsw.Connection) -> None:
    """Let every noted row be sent again, in the caller's transaction."""
    connection.execute("UPDATE event_note SET waiting = 1")


def forget(connection: apsw.Connection, before: int) -> None:
    """Notes of hours before that are of no use any more, in the caller's transaction."""
    connection.execute("DELETE FROM event_note WHERE hour < ? AND NOT waiting", (before,))


def joined_hours(connection: apsw.Connection, before: int) -> list[tuple[int, list[EventNote]]]:
    """Hours before that with several notes that were sent."""
    rows: list[Any] = connection.execute(
        """SELECT hour, step, rows, ids FROM event_note WHERE NOT waiting AND hour < ? AND hour IN (
             SELECT hour FROM event_note WHERE NOT waiting GROUP BY hour HAVING count(*) > 1 LIMIT 4)
           ORDER BY hour, step""",
        (before,),
    ).fetchall()
    found: dict[int, list[EventNote]] = {}
    for hour, *rest in rows:
        found.setdefault(hour, []).append(EventNote(*rest))
    return list(found.items())


def join_notes(connection: apsw.Connection, notes: list[EventNote], ids: Array, packed: bytes) -> None:
    """One note takes the place of several, in the caller's transaction."""
    connection.executemany("DELETE FROM event_note WHERE step = ?", [(one.step,) for one in notes[1:]])
    connection.execute(
        "UPDATE event_note SET rows = ?, ids = ? WHERE step = ? AND NOT waiting", (len(ids), packed, notes[0].step)
    )


def waiting(connection: apsw.Connection, until: int | None = None) -> dict[str, int]:
    """How many events and minutes the cluster lacks; `until`: only those noted by that step."""
    bound = (1 << 62) if until is None else until
    events = "SELECT coalesce(sum(rows), 0) FROM event_note WHERE waiting AND step <= ?"
    minutes = "SELECT count(*) FROM minute_note WHERE first <= ?"
    return {
        "events": int(connection.execute(events, (bound,)).get),
        "minutes": int(connection.execute(minutes, (bound,)).get),
    }


def count(connection: apsw.Connection, **numbers: int) -> None:
    """Add to what was counted so far, in the caller's transaction."""
    connection.executemany(
        "INSERT INTO cluster_count VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        [(name, number) for name, number in numbers.items() if number],
    )


def counts(connection: apsw.Connection) -> dict[str, int]:
    """What was counted so far."""
    rows: Any = connection.execute("SELECT name, value FROM cluster_count ORDER BY name")
    return dict(rows)


def again(connection: apsw.Connection, kind: str, key: str) -> None:
    """Note once more what was refused, in the caller's transaction; see `follow.py` for the keys."""
    if kind == "event":
        from csirt.stores.elastic.events import chosen

        note_events(connection, 0, 1, chosen.pack(chosen.of_texts([key])))
    else:
        hour, minute, _ = key.split(":")
        note_minutes(connection, [(int(hour), int(minute))], 0)
