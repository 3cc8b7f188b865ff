"""Checks of a whole store: every promise of the catalogue is tried against what is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import apsw
import orjson
import pyarrow as pa
from pydantic import BaseModel, ValidationError

from csirt.errors import CsirtError
from csirt.model import ecs
from csirt.model.hits import HITS, conform
from csirt.model.records import WALL_CLOCK, Alert, Case, CaseEvent, Incident, Notification, Receipt, Run
from csirt.stores.embedded.catalogue import chain, documents
from csirt.stores.embedded.lake import parts, read
from csirt.stores.embedded.lake.describe import describe
from csirt.stores.embedded.lake.encode import from_ipc
from csirt.stores.embedded.lake.files import checksum, checksum_of

if TYPE_CHECKING:
    from csirt.stores.embedded.store import EmbeddedStore

Finding = dict[str, str]
Fold = Callable[[list[CaseEvent], Case], Case]
MODELS: dict[str, type[BaseModel]] = {
    "alert": Alert,
    "incident": Incident,
    "case": Case,
    "run": Run,
    "receipt": Receipt,
    "notification": Notification,
}


def fsck(store: EmbeddedStore, *, checksums: bool = True, fold: Fold | None = None) -> list[Finding]:
    """`[{check, subject, message}]`, empty when all is well. `checksums` false leaves out reading every event file
    wholly; existence, size and row counts are always checked. `fold` makes a case of its events and the stored case:
    with it, every case is compared with what its events say."""
    findings: list[Finding] = []
    with store.keeper.lease(), store.database.reading() as connection:
        checks: tuple[Iterator[Finding], ...] = (
            _sqlite(connection),
            _parts(store, connection, checksums),
            _orphans(store),
            _hits(connection),
            _documents(connection),
            _cases(connection, fold),
            _audit(connection),
        )
        for check in checks:
            try:
                findings += check
            except (apsw.CorruptError, apsw.IOError) as error:
                findings.append(_finding("catalogue", "catalogue.sqlite", f"{error}; restore a backup"))
    return findings


def _finding(check: str, subject: object, message: object) -> Finding:
    return {"check": check, "subject": str(subject), "message": str(message)}


def _sqlite(connection: apsw.Connection) -> Iterator[Finding]:
    for (answer,) in connection.execute("PRAGMA integrity_check(100)"):
        if answer != "ok":
            yield _finding("catalogue", "catalogue.sqlite", answer)


def _parts(store: EmbeddedStore, connection: apsw.Connection, checksums: bool) -> Iterator[Finding]:
    known: set[int] = set()
    for part in parts.select(connection):
        known.add(part.id)
        subject = part.path or f"part {part.id} of {part.dataset}"
        message = _bytes_of(store, part, checksums) or _rows_of(store, connection, part, checksums)
        if message:
            yield _finding("events", subject, message)
    for (number,) in connection.execute("SELECT DISTINCT part FROM part_segment UNION SELECT part FROM part_data"):
        if number not in known:
            yield _finding("events", f"part {number}", "the catalogue keeps details of a part it does not name")


def _bytes_of(store: EmbeddedStore, part: parts.Part, checksums: bool) -> str:
    """What is wrong with a part's bytes; empty when nothing is."""
    if part.path is None:
        same = part.data is not None and len(part.data) == part.size and checksum(part.data) == part.checksum
        return "" if same else "the rows kept in the catalogue are damaged"
    path = store.lake / part.path
    try:
        if path.stat().st_size != part.size:
            return f"the file has {path.stat().st_size} bytes, the catalogue says {part.size}"
        if checksums and checksum_of(path) != part.checksum:
            return "the file's checksum is wrong: it was damaged or changed; bring it back from a backup"
    except OSError as error:
        return f"the file cannot be read ({error.strerror}); bring it back from a backup"
    return ""


def _rows_of(store: EmbeddedStore, connection: apsw.Connection, part: parts.Part, deep: bool) -> str:
    """What is wrong with a part's rows: their number, and with `deep` their segments, ordinals and times."""
    spans = parts.spans_of(connection, part.id)
    if sum(span.rows for span in spans) != part.rows:
        return "the catalogue's segments do not add up to the part's rows"
    try:
        if not deep:
            rows = read.row_count(store.lake, part)
            return "" if rows == part.rows else f"{rows} rows, the catalogue says {part.rows}"
        found = list(read.everything(store.lake, part, {*read.IDENTITY, ecs.DUE}))
    except (CsirtError, OSError, pa.ArrowException, ValueError) as error:
        return f"the rows cannot be read ({error})"
    seen = describe(part.dataset, pa.concat_tables(found), part.received) if found else None
    if seen is None or (seen.rows, seen.least, seen.greatest) != (part.rows, part.least, part.greatest):
        return "number or times of the rows are not what the catalogue says"
    if sorted(seen.spans, key=lambda span: span.segment) != spans:
        return "segments or ordinals of the rows are not what the catalogue says"
    return ""


def _orphans(store: EmbeddedStore) -> Iterator[Finding]:
    for path in store.keeper.strays():
        yield _finding("orphan", path, "no catalogue row names this file; the next start removes it")


def _hits(connection: apsw.Connection) -> Iterator[Finding]:
    for number, least, greatest, rows, data in connection.execute("SELECT id, least, greatest, rows, data FROM hits"):
        try:
            table = conform(from_ipc(data))
        except (OSError, pa.ArrowException, ValueError) as error:
            yield _finding("hits", number, f"cannot be read ({error})")
            continue
        times = table.column("time").to_pylist() if table.schema.equals(HITS) else []
        if len(times) != rows or not times or (min(times), max(times)) != (least, greatest):
            yield _finding("hits", number, "columns, number or times are not what the catalogue says")


def _documents(connection: apsw.Connection) -> Iterator[Finding]:
    for name, kind in documents.KINDS.items():
        columns = ", ".join(f'"{column}"' for column in kind.columns)
        for *values, text in connection.execute(f"SELECT {columns}, doc FROM {kind.table} ORDER BY id"):  # noqa: S608
            try:
                document = orjson.loads(text)
                MODELS[name].model_validate(document)
            except (ValueError, ValidationError) as error:
                yield _finding(name, values[0], f"not a valid document: {str(error).splitlines()[0]}")
                continue
            if documents.column_values(kind, document) != values:
                yield _finding(name, values[0], "the searched columns differ from the document")
    yield from _links(connection)


def _links(connection: apsw.Connection) -> Iterator[Finding]:
    """Alerts that incidents name, and incidents that cases name, must be there."""
    query = """SELECT o.id, j.value FROM {outer} AS o, json_each(o.doc, '$.{field}') AS j
               WHERE NOT EXISTS (SELECT 1 FROM {inner} AS i WHERE i.id = j.value)"""
    for outer, name, inner in (("incidents", "alerts", "alerts"), ("cases", "incidents", "incidents")):
        for id, missing in connection.execute(query.format(outer=outer, field=name, inner=inner)):
            yield _finding(outer.rstrip("s"), id, f"names {missing} under {name}, which is not there")


def _cases(connection: apsw.Connection, fold: Fold | None) -> Iterator[Finding]:
    """Every case equals the fold of its events, wall-clock fields apart."""
    if fold is None:
        return
    for id, text in connection.execute("SELECT id, doc FROM cases ORDER BY id"):
        query = 'SELECT doc FROM case_event WHERE "case" = ? ORDER BY seq'
        stored = orjson.loads(text)
        try:
            events = [CaseEvent.model_validate_json(doc) for (doc,) in connection.execute(query, (id,))]
            folded = fold(events, Case.model_validate(stored)).model_dump()
        except Exception as error:
            yield _finding("case", id, f"its events cannot be folded ({type(error).__name__})")
            continue
        differ = sorted(key for key in stored if key not in WALL_CLOCK and stored[key] != folded.get(key))
        if differ:
            yield _finding("case", id, f"differs from the fold of its events: {', '.join(differ)}")


def _audit(connection: apsw.Connection) -> Iterator[Finding]:
    verdict = chain.verify(connection)
    if verdict.first_bad is not None:
        yield _finding("audit", verdict.first_bad, verdict.reason)
