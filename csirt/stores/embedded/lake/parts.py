"""Parts: some rows of one dataset, in a Parquet file or, while they are few, inside the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import apsw

from csirt.errors import Conflict

_SHIFT = 1 << 63  # unsigned ordinals are stored less 2^63


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of one segment in a part: least and greatest ordinal (unsigned)."""

    segment: str
    least: int
    greatest: int
    rows: int


@dataclass(slots=True)
class Fresh:
    """When the rows of a part are due to be settled, how many still wait, and up to when they were settled."""

    least: int
    greatest: int
    waiting: int
    settled: int | None = None

    @property
    def next(self) -> int:
        """Before this no row is due that still waits."""
        return self.least if self.settled is None else max(self.least, self.settled + 1)


@dataclass(slots=True)
class Part:
    """`path`: inside the lake, None for rows kept in the catalogue (`data`). `size`: in bytes. `least`,
    `greatest`: event time, None when a row has none. `received`: when the store took the oldest of the rows.
    `tier`: how often the rows have been merged. `fresh`: of rows that wait to be settled."""

    dataset: str
    received: int
    rows: int
    least: int | None
    greatest: int | None
    size: int = 0
    checksum: str = ""
    tier: int = 0
    path: str | None = None
    data: bytes | None = None
    id: int = 0
    spans: list[Span] = field(default_factory=list)
    fresh: Fresh | None = None

    @property
    def seen(self) -> int:
        """How many of its rows are not in another part by now."""
        return self.rows if self.fresh is None else self.fresh.waiting


def insert(connection: apsw.Connection, part: Part) -> int:
    """Name a part in the catalogue, inside the caller's transaction; returns its number."""
    connection.execute(
        """INSERT INTO part (dataset, received, path, rows, bytes, least, greatest, checksum, tier)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            part.dataset,
            part.received,
            part.path,
            part.rows,
            part.size,
            part.least,
            part.greatest,
            part.checksum,
            part.tier,
        ),
    )
    part.id = connection.last_insert_rowid()
    if part.data is not None:
        connection.execute("INSERT INTO part_data VALUES (?, ?)", (part.id, part.data))
    connection.executemany(
        "INSERT INTO part_segment VALUES (?, ?, ?, ?, ?)",
        [(s.segment, part.id, s.least - _SHIFT, s.greatest - _SHIFT, s.rows) for s in part.spans],
    )
    if part.fresh is not None:
        due = part.fresh
        connection.execute(
            "INSERT INTO fresh VALUES (?, ?, ?, ?, ?)", (part.id, due.least, due.greatest, due.settled, due.waiting)
        )
    return part.id


def remove(connection: apsw.Connection, numbers: Iterable[int]) -> int:
    """Take parts out of the catalogue, inside the caller's transaction; returns how many were there."""
    gone = 0
    for number in numbers:
        connection.execute("DELETE FROM part WHERE id = ?", (number,))
        gone += connection.changes()
        connection.execute("DELETE FROM part_data WHERE part = ?", (number,))
        connection.execute("DELETE FROM part_segment WHERE part = ?", (number,))
        connection.execute("DELETE FROM fresh WHERE part = ?", (number,))
    return gone


def settle(connection: apsw.Connection, until: int, rows: Mapping[int, int]) -> list[str]:
    """Some rows of each fresh part, those due at or before `until`, are in other parts from now on; the paths of the
    parts that have none left, which are taken out. Raises Conflict for a part that is not as it was read."""
    paths: list[str] = []
    for number, settled in rows.items():
        connection.execute(
            """UPDATE fresh SET settled = ?, waiting = waiting - ?
               WHERE part = ? AND waiting >= ? AND (settled IS NULL OR settled < ?)""",
            (until, settled, number, settled, until),
        )
        if not connection.changes():
            raise Conflict(f"the rows of part {number} were settled by another step, or are gone")
        row = connection.execute(
            "SELECT path FROM part JOIN fresh ON part = id WHERE id = ? AND waiting = 0", (number,)
        ).fetchone()
        if row is not None:
            remove(connection, [number])
            paths += [row[0]] if row[0] else []
    return paths


_COLUMNS = (
    "p.dataset, p.received, p.rows, p.least, p.greatest, p.bytes, p.checksum, p.tier, p.path, d.data, p.id, "
    "f.least, f.greatest, f.waiting, f.settled"
)


def select(
    connection: apsw.Connection,
    *,
    dataset: str | None = None,
    since: int | None = None,
    until: int | None = None,
    ids: list[str] | None = None,
    between: tuple[str, str] | None = None,
    files: bool | None = None,
    fresh: bool | None = None,
    due: int | None = None,
) -> list[Part]:
    """Parts, by dataset and commit, that may hold rows of a dataset, with event time in [since, until), of these event
    ids, or with ids from one to another of the same segment (`between`); `files`: only files, or only rows in the
    catalogue; `fresh`: only rows that wait to be settled, or only others; `due`: only parts with rows due at or before
    it."""
    clauses: list[str] = ["1"]
    bindings: list[object] = []
    if dataset is not None:
        clauses.append("p.dataset = ?")
        bindings.append(dataset)
    if since is not None:
        clauses.append("(p.greatest IS NULL OR p.greatest >= ?)")
        bindings.append(since)
    if until is not None:
        clauses.append("(p.least IS NULL OR p.least < ?)")
        bindings.append(until)
    if files is not None:
        clauses.append("p.path IS NOT NULL" if files else "p.path IS NULL")
    if fresh is not None:
        clauses.append("f.part IS NOT NULL" if fresh else "f.part IS NULL")
    if due is not None:
        clauses.append("max(f.least, coalesce(f.settled + 1, f.least)) <= ?")
        bindings.append(due)
    if ids is not None:
        wanted = _parts_of(connection, ids)
        clauses.append(f"p.id IN ({','.join(map(str, sorted(wanted)))})")
    if between is not None:
        least, greatest = (int(id[16:], 16) - _SHIFT for id in between)
        clauses.append("p.id IN (SELECT part FROM part_segment WHERE segment = ? AND least <= ? AND greatest >= ?)")
        bindings += [between[0][:16], greatest, least]
    query = f"""SELECT {_COLUMNS} FROM part AS p LEFT JOIN part_data AS d ON d.part = p.id
                LEFT JOIN fresh AS f ON f.part = p.id
                WHERE {" AND ".join(clauses)} ORDER BY p.dataset, p.id"""  # noqa: S608
    return [_part(row) for row in connection.execute(query, bindings)]


def _part(row: tuple[Any, ...]) -> Part:
    dataset, received, rows, least, greatest, size, digest, tier, path, data, number, *due = row
    fresh = None if due[0] is None else Fresh(*due)
    return Part(dataset, received, rows, least, greatest, size, digest, tier, path, data, number, fresh=fresh)


def _parts_of(connection: apsw.Connection, ids: list[str]) -> set[int]:
    """Numbers of the parts whose spans hold any of the event ids."""
    found: set[int] = set()
    for id in ids:
        ordinal = parse_id(id)
        if ordinal is None:
            continue
        rows = connection.execute(
            "SELECT part FROM part_segment WHERE segment = ? AND least <= ? AND greatest >= ?",
            (id[:16], ordinal - _SHIFT, ordinal - _SHIFT),
        )
        found.update(number for (number,) in rows)
    return found


def parse_id(id: str) -> int | None:
    """The ordinal of an event id, or None when the text is no event id."""
    if len(id) != 32 or not set(id) <= set("0123456789abcdef"):
        return None
    return int(id[16:], 16)


def spans_of(connection: apsw.Connection, part: int) -> list[Span]:
    """The stored spans of a part."""
    rows = connection.execute(
        "SELECT segment, least, greatest, rows FROM part_segment WHERE part = ? ORDER BY segment", (part,)
    )
    return [Span(segment, least + _SHIFT, greatest + _SHIFT, number) for segment, least, greatest, number in rows]
