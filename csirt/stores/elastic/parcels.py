"""Of documents that the cluster does not have: those that are at hand as they go to it (`fresh.py`), in one row for
each parcel of them and not in a row of the outbox each.

A parcel's row is deleted when the cluster has all of it. It means nothing to another process, which does not have what
is sent: whoever opens the folder gives each of its documents a row of its own first (`unpack`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import apsw
import orjson

from csirt.stores.embedded.catalogue import documents

if TYPE_CHECKING:
    from csirt.stores.elastic.fresh import Parcel

_TABLE = """
CREATE TABLE IF NOT EXISTS outbox_parcel (
  number INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, names TEXT NOT NULL);
"""
_NONE = 1 << 62


def join(connection: apsw.Connection) -> None:
    """Make the table, in the caller's transaction."""
    connection.execute(_TABLE)


def note(connection: apsw.Connection, made: Iterable[Parcel]) -> None:
    """These are to be sent, in the transaction that changes their documents."""
    connection.executemany(
        "INSERT INTO outbox_parcel VALUES (?, ?, ?, ?)",
        [(one.number, *one.steps, orjson.dumps(one.runs).decode()) for one in made],
    )


def there(connection: apsw.Connection, taken: Sequence[Parcel]) -> list[Parcel]:
    """Those that were committed and are not acknowledged."""
    numbers = {number for (number,) in connection.execute("SELECT number FROM outbox_parcel")} if taken else set()
    return [one for one in taken if one.number in numbers]


def first(connection: apsw.Connection, besides: Iterable[Parcel] = ()) -> int:
    """The first step of all but these; beyond every step when there is no other."""
    query = "SELECT min(first) FROM outbox_parcel WHERE number NOT IN (SELECT value FROM json_each(?))"
    found: Any = connection.execute(query, (documents.json_list(one.number for one in besides),)).get
    return _NONE if found is None else int(found)


def acknowledge(connection: apsw.Connection, sent: Iterable[Parcel]) -> None:
    """The cluster has these, in the caller's transaction."""
    connection.executemany("DELETE FROM outbox_parcel WHERE number = ?", [(one.number,) for one in sent])


def waiting(connection: apsw.Connection, until: int) -> int:
    """How many documents the cluster lacks of parcels that begin at or before that step, besides those that have rows
    of their own from then."""
    query = """SELECT count(*) FROM (
                 SELECT DISTINCT run.value ->> 0 AS kind, one.value AS id
                   FROM outbox_parcel AS parcel, json_each(parcel.names) AS run, json_each(run.value, '$[1]') AS one
                   WHERE parcel.first <= ?1) AS named
               WHERE NOT EXISTS (
                 SELECT 1 FROM outbox WHERE kind = named.kind AND id = named.id AND first <= ?1)"""
    return int(connection.execute(query, (until,)).get)


def unpack(connection: apsw.Connection) -> None:
    """Give every document of every parcel a row in the outbox, in the caller's transaction."""
    rows: list[Any] = connection.execute("SELECT first, names FROM outbox_parcel ORDER BY number").fetchall()
    for start, names in rows:
        keys = ((kind, key) for kind, several in orjson.loads(names) for key in several)
        connection.executemany(
            """INSERT INTO outbox VALUES (?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET
               first = min(first, excluded.first), last = max(last, excluded.last)""",
            [(kind, key, step, step) for step, (kind, key) in enumerate(keys, start)],
        )
    forget(connection)


def forget(connection: apsw.Connection) -> None:
    """Nothing of any parcel is lacking, or all of it is noted in another way, in the caller's transaction."""
    connection.execute("DELETE FROM outbox_parcel")
