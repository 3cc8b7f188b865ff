"""One commit inside one transaction: every refusal is checked before anything of it is written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import apsw
import orjson

from csirt.clock import SECOND
from csirt.errors import Conflict
from csirt.model.chunk import Position
from csirt.stores.embedded.catalogue import chain, documents
from csirt.stores.embedded.lake import parts

if TYPE_CHECKING:
    import pyarrow as pa

    from csirt.model.records import Case, Run
    from csirt.stores.base import Commit

PREFIX = {"case": "C", "run": "R"}


def apply(connection: apsw.Connection, change: Commit, written: list[parts.Part], hits: Hits | None, now: int) -> None:
    """Write a commit. Raises Conflict when a hand-over or a case version is stale."""
    _hand_over(connection, change, now)
    _consume(connection, change.consumed)
    for part in written:
        parts.insert(connection, part)
    for key, value in change.states.items():
        if value is None:
            connection.execute("DELETE FROM state WHERE key = ?", (key,))
        else:
            connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))
    if hits is not None:
        connection.execute(
            "INSERT INTO hits (least, greatest, rows, data) VALUES (?, ?, ?, ?)",
            (hits.least, hits.greatest, hits.rows, hits.data),
        )
    connection.executemany(
        "INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        list(change.counts.items()),
    )
    _documents(connection, change, now)
    chain.append(connection, change.audit)


class Hits:
    """Hits made ready outside the transaction."""

    __slots__ = ("data", "greatest", "least", "rows")

    def __init__(self, table: pa.Table) -> None:
        import pyarrow.compute as pc

        from csirt.stores.embedded.lake.encode import to_ipc

        bounds = pc.min_max(table.column("time")).as_py()
        self.least, self.greatest = int(bounds["min"]), int(bounds["max"])
        self.rows = int(table.num_rows)
        self.data = to_ipc(table)


def _hand_over(connection: apsw.Connection, change: Commit, now: int) -> None:
    position = change.position
    if position is None:
        return
    check_hand_over(connection, change)
    connection.execute(
        """INSERT INTO position VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (source, fingerprint) DO UPDATE SET
           offset = excluded.offset, done = excluded.done, extra = excluded.extra, updated = excluded.updated""",
        (
            position.source,
            position.fingerprint,
            position.offset,
            position.done,
            orjson.dumps(position.extra, option=orjson.OPT_SORT_KEYS).decode(),
            now,
        ),
    )


def check_hand_over(connection: apsw.Connection, change: Commit) -> None:
    """Refuse a chunk that does not start where the last commit of its input ended, or that was already complete."""
    position = change.position
    if position is None:
        return
    have = find_position(connection, position.source, position.fingerprint)
    offset = have.offset if have else 0
    if offset != change.previous or position.offset < change.previous:
        raise Conflict(
            f"hand-over of {position.source} refused: committed up to {offset}, the chunk covers {change.previous} to "
            f"{position.offset}",
            committed=offset,
            start=change.previous,
        )


def find_position(connection: apsw.Connection, source: str, fingerprint: str) -> Position | None:
    """The committed position of an input."""
    row = connection.execute(
        "SELECT source, fingerprint, offset, done, extra FROM position WHERE source = ? AND fingerprint = ?",
        (source, fingerprint),
    ).fetchone()
    return as_position(row) if row else None


def as_position(row: tuple[Any, ...]) -> Position:
    """A row of the position table."""
    return Position(row[0], row[1], int(row[2]), bool(row[3]), orjson.loads(row[4]))


def _consume(connection: apsw.Connection, consumed: list[int]) -> None:
    for number in consumed:
        connection.execute("DELETE FROM hits WHERE id = ?", (number,))
        if not connection.changes():
            raise Conflict(f"the hits {number} were already used by another step")


def _documents(connection: apsw.Connection, change: Commit, now: int) -> None:
    for alert in change.alerts:
        _put(connection, "alert", alert.model_dump(), now)
    for incident in change.incidents:
        _put(connection, "incident", incident.model_dump(), now)
    _cases(connection, change, now)
    for run in change.runs:
        document = run.model_dump()
        document["number"] = _number(connection, "run", run, now)
        document["state_since"] = document["state_since"] or now
        _put(connection, "run", document, now)
    for receipt in change.receipts:
        documents.put(connection, documents.KINDS["receipt"], receipt.model_dump())
    for notification in change.notifications:
        _put(connection, "notification", notification.model_dump(), now)


def _cases(connection: apsw.Connection, change: Commit, now: int) -> None:
    fresh: dict[str, int] = {}
    for event in change.case_events:
        fresh[event.case] = fresh.get(event.case, 0) + 1
    for case in change.cases:
        stored = documents.raw(connection, documents.KINDS["case"], case.id)
        version = int(stored["version"]) if stored else 0
        if version != case.version - fresh.get(case.id, 0):
            raise Conflict(
                f"case {stored['number'] if stored else case.id} was changed meanwhile: it has version {version}, the "
                f"change starts from {case.version - fresh.get(case.id, 0)}; read it again",
                case=case.id,
                stored=version,
                yours=case.version,
            )
    for event in change.case_events:
        try:
            connection.execute(
                "INSERT INTO case_event VALUES (?, ?, ?)", (event.case, event.seq, documents.text(event.model_dump()))
            )
        except apsw.ConstraintError as error:
            raise Conflict(f"case {event.case} already has an event {event.seq}; read it again") from error
    for case in change.cases:
        document = case.model_dump()
        document["number"] = _number(connection, "case", case, now)
        _put(connection, "case", document, now)


def _put(connection: apsw.Connection, name: str, document: dict[str, Any], now: int) -> None:
    """Write a document with the times that only the store knows: first and last commit of it."""
    kind = documents.KINDS[name]
    row = connection.execute(f"SELECT created FROM {kind.table} WHERE id = ?", (document["id"],)).fetchone()  # noqa: S608
    document["created"] = row[0] if row else document["created"] or now
    if "updated" in document and not (name == "case" and document["updated"]):
        document["updated"] = now
    documents.put(connection, kind, document)


def _number(connection: apsw.Connection, name: str, record: Case | Run, now: int) -> str:
    """The sayable number: the stored one, or the next of this year."""
    table = documents.KINDS[name].table
    row = connection.execute(f"SELECT number FROM {table} WHERE id = ?", (record.id,)).fetchone()  # noqa: S608
    if row and row[0]:
        return str(row[0])
    year = datetime.fromtimestamp(now // SECOND, UTC).year
    connection.execute(
        "INSERT INTO number VALUES (?, ?, 1) ON CONFLICT (kind, year) DO UPDATE SET last = last + 1", (name, year)
    )
    last = connection.execute("SELECT last FROM number WHERE kind = ? AND year = ?", (name, year)).get
    return f"{PREFIX[name]}-{year}-{last:04d}"
