"""The canonical dump: what a store holds, in one form that path, batch size, restarts and kind of store do not change.

JSON lines sorted bytewise by (kind, id), keys sorted, no spaces. Left out: wall-clock fields, sayable numbers, case
versions (they count steps), how far a notification's delivery came, the audit's chain, paths, when events were
received. Audit: the changes the pipeline itself made, each distinct one once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from csirt import ids
from csirt.errors import Usage
from csirt.model.records import WALL_CLOCK
from csirt.stores.embedded.catalogue import documents
from csirt.stores.embedded.catalogue.chain import canonical, content_id
from csirt.stores.embedded.lake.ordered import event_lines

if TYPE_CHECKING:
    from csirt.stores.embedded.catalogue.database import Database
    from csirt.stores.embedded.lake.keep import Keeper


class Folder(Protocol):
    """What is read of a store."""

    database: Database
    lake: Path
    keeper: Keeper


DUMP_KINDS = ("alert", "audit", "case", "event", "incident", "notification", "position", "receipt", "run")
_LEFT_OUT: dict[str, frozenset[str]] = {
    "case": frozenset({"version"}),
    "notification": frozenset({"state", "acked_by", "due", "recipient", "channel"}),
}


def dump(store: Folder, kinds: list[str] | None = None) -> Iterator[bytes]:
    """Lines with their line ends, from one snapshot. Raises Usage for an unknown kind."""
    return _lines(store, chosen(kinds))


def chosen(kinds: list[str] | None) -> list[str]:
    """The kinds of a dump in order. Raises Usage for an unknown one."""
    for kind in kinds or ():
        if kind not in DUMP_KINDS:
            raise Usage(f"no kind {kind!r} in a dump; kinds: {', '.join(DUMP_KINDS)}")
    return sorted(set(kinds or DUMP_KINDS))


def _lines(store: Folder, kinds: list[str]) -> Iterator[bytes]:
    with store.keeper.lease(), store.database.reading() as connection:
        for kind in kinds:
            if kind == "event":
                yield from event_lines(store.lake, connection)
            elif kind == "audit":
                query = "SELECT doc FROM audit WHERE category = 'change' AND actor = 'system' ORDER BY seq"
                yield from audit(orjson.loads(text) for (text,) in connection.execute(query))
            elif kind == "position":
                yield from positions(connection.execute("SELECT source, fingerprint, offset FROM position"))
            else:
                query = f"SELECT doc FROM {documents.KINDS[kind].table} ORDER BY id"  # noqa: S608
                for (text,) in connection.execute(query):
                    yield document(kind, orjson.loads(text))


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


def document(kind: str, fields: dict[str, Any]) -> bytes:
    """The line of an alert, incident, case, run, receipt or notification."""
    hidden = _LEFT_OUT.get(kind, frozenset())
    kept = {key: value for key, value in stripped(fields).items() if key not in hidden}
    if kept.get("artifact"):
        kept["artifact"] = PurePath(kept["artifact"]).name
    return line(kind, kept.pop("id"), kept)


def audit(entries: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The lines of the changes the pipeline itself made, in any order."""
    from csirt.model.audit import AuditEntry

    seen: dict[str, bytes] = {}
    for entry in entries:
        fields = stripped(entry)
        for name in ("seq", "time", "previous", "hash", "id"):
            fields.pop(name, None)
        id = content_id(AuditEntry(time=0, **fields))
        seen[id] = line("audit", id, fields)
    for id in sorted(seen):
        yield seen[id]


def positions(rows: Iterable[Any]) -> Iterator[bytes]:
    """The lines of (source, fingerprint, offset), in any order."""
    # `done` is left out: it says whether the input was expected to grow, not what was read of it.
    found = sorted((ids.digest(source, print_), offset) for source, print_, offset in rows)
    for id, offset in found:
        yield line("position", id, {"offset": offset})
