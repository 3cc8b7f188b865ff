"""The canonical dump: what a store holds, in one form that path, batch size, restarts and kind of store do not change.

JSON lines sorted bytewise by (kind, id), keys sorted, no spaces. Left out: wall-clock fields, sayable numbers, case
versions (they count steps), how far a notification's delivery came, the audit's chain, paths, when events were
received. Audit: the changes the pipeline itself made, each distinct one once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import apsw
import orjson

from csirt import ids
from csirt.errors import Usage
from csirt.model.records import WALL_CLOCK
from csirt.stores.embedded.catalogue import documents
from csirt.stores.embedded.catalogue.chain import canonical, content_id
from csirt.stores.embedded.lake.ordered import event_lines

if TYPE_CHECKING:
    from csirt.stores.embedded.store import EmbeddedStore

DUMP_KINDS = ("alert", "audit", "case", "event", "incident", "notification", "position", "receipt", "run")
_LEFT_OUT: dict[str, frozenset[str]] = {
    "case": frozenset({"version"}),
    "notification": frozenset({"state", "acked_by", "due", "recipient", "channel"}),
}


def dump(store: EmbeddedStore, kinds: list[str] | None = None) -> Iterator[bytes]:
    """Lines with their line ends, from one snapshot. Raises Usage for an unknown kind."""
    for kind in kinds or ():
        if kind not in DUMP_KINDS:
            raise Usage(f"no kind {kind!r} in a dump; kinds: {', '.join(DUMP_KINDS)}")
    return _lines(store, sorted(set(kinds or DUMP_KINDS)))


def _lines(store: EmbeddedStore, kinds: list[str]) -> Iterator[bytes]:
    with store.keeper.lease(), store.database.reading() as connection:
        for kind in kinds:
            if kind == "event":
                yield from event_lines(store.lake, connection)
            elif kind == "audit":
                yield from _audit(connection)
            elif kind == "position":
                yield from _positions(connection)
            else:
                yield from _documents(connection, documents.KINDS[kind])


def line(kind: str, id: str, fields: dict[str, Any]) -> bytes:
    """One line of the dump."""
    return canonical({**fields, "kind": kind, "id": id}) + b"\n"


def stripped(value: Any) -> Any:
    """The value without wall-clock fields, at any depth."""
    if isinstance(value, dict):
        return {key: stripped(item) for key, item in value.items() if key not in WALL_CLOCK}
    if isinstance(value, list):
        return [stripped(item) for item in value]
    return value


def _documents(connection: apsw.Connection, kind: documents.Kind) -> Iterator[bytes]:
    hidden = _LEFT_OUT.get(kind.name, frozenset())
    for (text,) in connection.execute(f"SELECT doc FROM {kind.table} ORDER BY id"):  # noqa: S608
        document = {key: value for key, value in stripped(orjson.loads(text)).items() if key not in hidden}
        if document.get("artifact"):
            document["artifact"] = PurePath(document["artifact"]).name
        yield line(kind.name, document.pop("id"), document)


def _audit(connection: apsw.Connection) -> Iterator[bytes]:
    from csirt.model.audit import AuditEntry

    seen: dict[str, bytes] = {}
    query = "SELECT doc FROM audit WHERE category = 'change' AND actor = 'system' ORDER BY seq"
    for (text,) in connection.execute(query):
        document = stripped(orjson.loads(text))
        for name in ("seq", "time", "previous", "hash", "id"):
            document.pop(name, None)
        id = content_id(AuditEntry(time=0, **document))
        seen[id] = line("audit", id, document)
    for id in sorted(seen):
        yield seen[id]


def _positions(connection: apsw.Connection) -> Iterator[bytes]:
    # `done` is left out: it says whether the input was expected to grow, not what was read of it.
    rows = connection.execute("SELECT source, fingerprint, offset FROM position")
    found = sorted((ids.digest(source, print_), offset) for source, print_, offset in rows)
    for id, offset in found:
        yield line("position", id, {"offset": offset})
