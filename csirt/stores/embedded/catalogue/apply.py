"""One commit inside one transaction: every refusal is checked before anything of it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import apsw
import orjson

from csirt.clock import SECOND
from csirt.errors import Conflict
from csirt.model.chunk import Position
from csirt.stores.embedded.catalogue import chain, documents
from csirt.stores.embedded.lake import parts

if TYPE_CHECKING:
    import pyarrow as pa

    from csirt.model.records import Case, CaseEvent, Record, Run
    from csirt.stores.base import Commit

R = TypeVar("R")
PREFIX = {"case": "C", "run": "R"}
TOGETHER = 100  # documents


def apply(
    connection: apsw.Connection,
    change: Commit,
    written: list[parts.Part],
    hits: Hits | None,
    now: int,
    noting: AbstractContextManager[documents.Told | None] | None = None,
) -> dict[str, str]:
    """Write a commit; the numbers of its cases and runs, by id. Raises Conflict when a hand-over or a case version is
    stale. `noting`: entered while documents and case events are written, hears of each."""
    check_hand_over(connection, change)
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
    with noting or nullcontext() as told:
        numbers = _documents(connection, change, now, told)
    chain.append(connection, change.audit)
    _hand_over(connection, change, now)  # last: a cluster that follows gets it after all the rest
    return numbers


class Hits:
    """Hits made ready outside the transaction."""

    __slots__ = ("data", "greatest", "least", "rows")

    def __init__(self, table: pa.Table) -> None:
        import pyarrow.compute as pc

        from csirt.stores.embedded.lake.encode import to_ipc

        bounds = pc.min_max(table.column("time")).as_py()
        self.least, self.greatest = int(bounds["min"]), int(bounds["max"])
        self.rows = int(table.num_rows)
        self.data = to_ipc(table, "lz4")  # soon consumed


def _hand_over(connection: apsw.Connection, change: Commit, now: int) -> None:
    position = change.position
    if position is None:
        return
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


def _documents(
    connection: apsw.Connection, change: Commit, now: int, told: documents.Told | None = None
) -> dict[str, str]:
    _write(connection, "alert", change.alerts, now, told)
    _write(connection, "incident", change.incidents, now, told)
    _case_events(connection, change, told)
    numbers = _numbers(connection, "case", change.cases, now)
    _write(connection, "case", change.cases, now, told, numbers)
    numbers |= _numbers(connection, "run", change.runs, now)
    _write(connection, "run", change.runs, now, told, numbers)
    for batch in _batches(change.receipts):
        documents.put(connection, documents.KINDS["receipt"], [receipt.plain() for receipt in batch], told)
    _write(connection, "notification", change.notifications, now, told)
    return numbers


def _case_events(connection: apsw.Connection, change: Commit, told: documents.Told | None) -> None:
    """Check the cases' versions, then write what happened to them."""
    fresh = Counter(event.case for event in change.case_events)
    kind = documents.KINDS["case"]
    versions = documents.stored(connection, kind, "version", [case.id for case in change.cases])
    for case in change.cases:
        version = int(versions.get(case.id, 0))
        if version != case.version - fresh[case.id]:
            stored = documents.raw(connection, kind, case.id)
            raise Conflict(
                f"case {stored['number'] if stored else case.id} was changed meanwhile: it has version {version}, the "
                f"change starts from {case.version - fresh[case.id]}; read it again",
                case=case.id,
                stored=version,
                yours=case.version,
            )
    for batch in _batches(change.case_events):
        found = [event.plain() for event in batch]
        texts = list(map(documents.text, found))
        if told is not None:
            told("case_event", [documents.event_key(event.case, event.seq) for event in batch], found, texts)
        _add_events(connection, batch, texts)


def _add_events(connection: apsw.Connection, events: Sequence[CaseEvent], texts: Sequence[str]) -> None:
    event = None

    def rows() -> Iterator[tuple[str, int, str]]:
        nonlocal event
        for event, written in zip(events, texts, strict=True):
            yield event.case, event.seq, written

    try:
        connection.executemany("INSERT INTO case_event VALUES (?, ?, ?)", rows())
    except apsw.ConstraintError as error:
        assert event is not None
        raise Conflict(f"case {event.case} already has an event {event.seq}; read it again") from error


def _write(
    connection: apsw.Connection,
    name: str,
    records: Sequence[Record],
    now: int,
    told: documents.Told | None,
    numbers: Mapping[str, str] | None = None,
) -> None:
    """Write documents with what only the store knows: number, and the times of first and last commit."""
    kind = documents.KINDS[name]
    writer = documents.Writer(connection, kind, told)
    for batch in _batches(records):
        found = [record.plain() for record in batch]
        if numbers is not None:
            for document in found:
                document["number"] = numbers[document["id"]]
        if "updated" in kind.fields:
            _touch(name, found, now)
        for document in found:
            document["created"] = document["created"] or now
        if not writer.add(found):
            created = documents.stored(connection, kind, "created", [document["id"] for document in found])
            for document in found:
                document["created"] = created.get(document["id"], document["created"])
            writer.put(found)
    writer.end()


def _touch(name: str, found: list[dict[str, Any]], now: int) -> None:
    for document in found:
        if not (name == "case" and document["updated"]):
            document["updated"] = now
        if "state_since" in document:
            document["state_since"] = document["state_since"] or now


def _batches(records: Sequence[R]) -> Iterator[Sequence[R]]:
    """So many at once that a question asked once for all of them costs little, and so few that they stay in the
    processor's cache from the first thing that is done with them to the last."""
    return (records[start : start + TOGETHER] for start in range(0, len(records), TOGETHER))


def _numbers(connection: apsw.Connection, name: str, records: Sequence[Case | Run], now: int) -> dict[str, str]:
    """The sayable number of each: the stored one, or the next of this year."""
    found: dict[str, str] = {}
    for batch in _batches(records):
        found |= documents.stored(connection, documents.KINDS[name], "number", [record.id for record in batch])
    year = datetime.fromtimestamp(now // SECOND, UTC).year
    row = connection.execute("SELECT last FROM number WHERE kind = ? AND year = ?", (name, year)).fetchone()
    before = last = int(row[0]) if row else 0
    for record in records:
        if not found.get(record.id):
            last += 1
            found[record.id] = f"{PREFIX[name]}-{year}-{last:04d}"
    if last != before:
        connection.execute("INSERT OR REPLACE INTO number VALUES (?, ?, ?)", (name, year, last))
    return found
