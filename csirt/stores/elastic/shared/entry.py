"""One entry of the log: everything a step changes for all nodes, as the catalogue will hold it.

Document texts are those of the folder that made the entry, numbers and times included, so that applying it gives every
folder the same documents.
"""

from __future__ import annotations

import base64
import os
import zlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import apsw
import orjson

from csirt.errors import CsirtError
from csirt.stores.base import Commit
from csirt.stores.embedded.catalogue import apply, documents

if TYPE_CHECKING:
    from csirt.model.records import Record

MOST = 1 << 30  # octets of an entry, unpacked: more is not ours
SHARED_STATES = ("windows", "watermark", "notify", "sector")  # and what begins with `windows:` or `sector:`


@dataclass(slots=True, kw_only=True)
class Blob:
    """Some hits. `name`: of those that wait in the folder of the node that found them."""

    name: str
    least: int
    greatest: int
    rows: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the log, an index of its own: its name, and the number of its first entry."""

    first: int = 1
    name: str = ""


@dataclass(slots=True, kw_only=True)
class Entry:
    """`after`: the token of the entry before. `mark`: up to which event time all hits of the node are in the log once
    this entry is; `active`: whether more is expected there. `holder` with `term`: who leads from here on. `opens`: what
    the first node brought along is complete. `gone`: documents that were kept long enough.

    `segment`: where the entries after this one are. `snapshot`: number, time and size of one that was taken.
    `kept_from`: the segments before the one that begins with this entry are no longer kept. `refused`: documents, as
    (kind, id), that the cluster did not take. `size`: octets of the entry in the log, not part of it."""

    node: str
    token: str = field(default_factory=lambda: os.urandom(8).hex())
    number: int = 0
    after: str = ""
    documents: dict[str, list[str]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    audit: list[dict[str, Any]] = field(default_factory=list)
    states: dict[str, bytes | None] = field(default_factory=dict)
    consumed: list[int] = field(default_factory=list)
    hits: list[Blob] = field(default_factory=list)
    mark: int | None = None
    active: bool = True
    term: int = 0
    holder: str = ""
    opens: bool = False
    gone: dict[str, list[str]] = field(default_factory=dict)
    segment: str = ""
    snapshot: list[int] = field(default_factory=list)
    kept_from: int = 0
    refused: list[list[str]] = field(default_factory=list)
    size: int = 0

    def pack(self) -> bytes:
        """The entry in few octets."""
        fields = asdict(self)
        del fields["size"]
        fields["states"] = {key: None if value is None else text(value) for key, value in self.states.items()}
        fields["hits"] = [{**asdict(blob), "data": text(blob.data)} for blob in self.hits]
        return zlib.compress(orjson.dumps(fields), 3)

    @classmethod
    def unpack(cls, data: bytes) -> Entry:
        """What `pack` made. Raises CsirtError for what it did not make."""
        try:
            stream = zlib.decompressobj()
            raw = stream.decompress(data, MOST)
            fields = orjson.loads(raw)
            fields["states"] = {
                key: None if value is None else octets(value) for key, value in fields["states"].items()
            }
            fields["hits"] = [Blob(**{**blob, "data": octets(blob["data"])}) for blob in fields["hits"]]
            return cls(**fields, size=len(data))
        except (zlib.error, ValueError, TypeError, KeyError) as error:
            raise CsirtError(
                f"an entry of the cluster's log cannot be read ({type(error).__name__}): a newer csirt wrote it, or it "
                "is damaged; run the same version on all nodes"
            ) from error

    def names(self) -> set[tuple[str, str]]:
        """The documents and states that it writes, as (kind, id) and ("state", key)."""
        found = {(kind, orjson.loads(text)["id"]) for kind in WATCHED for text in self.documents.get(kind, ())}
        return found | {("state", key) for key in self.states}


# Documents that carry no version of their own: what was read of them must still hold when they are written.
WATCHED = ("run", "receipt", "notification")


def text(data: bytes) -> str:
    """Octets as JSON can hold them."""
    return base64.b64encode(data).decode()


def octets(text: str) -> bytes:
    """What `text` made. Raises ValueError for what it did not make."""
    return base64.b64decode(text, validate=True)


def is_shared(key: str) -> bool:
    """Whether a state belongs to all nodes."""
    return key in SHARED_STATES or key.startswith(("windows:", "sector:"))


def shared(change: Commit) -> Commit | None:
    """The part of a change that all nodes share; None when there is none."""
    part = Commit(
        states={key: value for key, value in change.states.items() if is_shared(key)},
        consumed=change.consumed,
        alerts=change.alerts,
        incidents=change.incidents,
        case_events=change.case_events,
        cases=change.cases,
        runs=change.runs,
        receipts=change.receipts,
        notifications=change.notifications,
        audit=change.audit,
    )
    brings = part.states or part.consumed or part.case_events or any(records for _, records in records_of(part))
    if not brings:
        return None
    part.hits = change.hits if not (change.batches or change.fresh) else None
    return part


def local(change: Commit) -> Commit | None:
    """The part of a change with a shared one that is this node's own; None when there is none."""
    own = {key: value for key, value in change.states.items() if not is_shared(key)}
    events = change.batches or change.fresh or change.settled is not None
    if not (events or change.position is not None or own or change.counts):
        return None
    return Commit(
        batches=change.batches,
        fresh=change.fresh,
        settled=change.settled,
        position=change.position,
        previous=change.previous,
        states=own,
        hits=change.hits if change.batches or change.fresh else None,
        counts=change.counts,
        ready=change.ready,
        noted=change.noted,
    )


def records_of(change: Commit) -> list[tuple[str, list[Any]]]:
    """The documents of a change by kind."""
    return [
        ("alert", change.alerts),
        ("incident", change.incidents),
        ("case", change.cases),
        ("run", change.runs),
        ("receipt", change.receipts),
        ("notification", change.notifications),
    ]


def named(change: Commit) -> set[tuple[str, str]]:
    """As `Entry.names`, of a change."""
    found = {(kind, record.id) for kind, records in records_of(change) if kind in WATCHED for record in records}
    return found | {("state", key) for key in change.states}


def made(connection: apsw.Connection, change: Commit, node: str, now: int) -> Entry:
    """Try a change in the caller's transaction, which is then rolled back: the entry that does the same everywhere.
    Gives cases and runs their numbers. Raises Conflict as a commit does."""
    hits = apply.Hits(change.hits) if change.hits is not None and change.hits.num_rows else None
    numbers = apply.apply(connection, change, [], None, now)
    for case in change.cases:
        case.number = numbers[case.id]
    for run in change.runs:
        run.number = numbers[run.id]
    return Entry(
        node=node,
        documents={kind: _texts(connection, kind, records) for kind, records in records_of(change) if records},
        events=[documents.text(event.model_dump()) for event in change.case_events],
        audit=[asdict(entry) for entry in change.audit],
        states=dict(change.states),
        consumed=list(change.consumed),
        hits=[Blob(name="", least=hits.least, greatest=hits.greatest, rows=hits.rows, data=hits.data)] if hits else [],
    )


def _texts(connection: apsw.Connection, kind: str, records: list[Record]) -> list[str]:
    names = list(dict.fromkeys(record.id for record in records))  # type: ignore[attr-defined]
    found: dict[str, Any] = {}
    for start in range(0, len(names), 1_000):
        found |= documents.stored(connection, documents.KINDS[kind], "doc", names[start : start + 1_000])
    return [found[name] for name in names]
