"""The audit chain: every entry carries the hash of the one before, so that no edit, deletion, insertion or swap goes
unseen; a head sealed elsewhere also shows a tail that was cut off or a chain that was written anew.

hash = BLAKE2b-256 over the entry's JSON (keys sorted, no spaces) with `seq` and `previous`, without `hash`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import apsw
import orjson

from csirt import ids
from csirt.errors import Usage
from csirt.model.audit import AuditEntry

_COLUMNS = ("seq", "time", "actor", "category", "action", "subject")
_PAGE = 2_000
# The actions of entries that confirm where a chain begins: after retention, and in a folder made anew.
RETIRED, RECOVERED = "store.retention", "store.recover"


@dataclass(frozen=True, slots=True)
class Head:
    """The last link: its sequence number (0: none yet) and hash."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


def parse_head(text: str) -> Head:
    """`SEQ:HASH` as `audit seal` prints it. Raises Usage."""
    number, _, digest = text.strip().partition(":")
    if not number.isdigit() or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise Usage(f"{text!r} is not a sealed head: write SEQUENCE:HASH as `csirt audit seal` prints it")
    return Head(int(number), digest)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces; what JSON cannot hold (lone surrogates, huge numbers) as text."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return orjson.dumps(_plain(value), option=orjson.OPT_SORT_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_plain(str(key))): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, bool | float | None) or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def hash_of(document: bytes) -> str:
    """The hash of an entry's canonical JSON."""
    return hashlib.blake2b(document, digest_size=32).hexdigest()


def head(connection: apsw.Connection) -> Head:
    """The chain's last link."""
    row = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return Head(int(row[0]), str(row[1])) if row else base(connection)


def base(connection: apsw.Connection) -> Head:
    """The link before the first one kept: (0, "") unless retention has taken the beginning."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'audit_base'").fetchone()
    return parse_head(row[0]) if row else Head(0, "")


def content_id(entry: AuditEntry) -> str:
    """An entry's id: a digest of what was done, without when, and without its place in the chain."""
    content = {key: getattr(entry, key) for key in ("actor", "on_behalf", "category", "action", "subject", "detail")}
    return ids.digest("audit", canonical(content))


def append(connection: apsw.Connection, entries: list[AuditEntry]) -> Head:
    """Add entries inside the caller's transaction; returns the new head."""
    last = head(connection)
    for entry in entries:
        document = asdict(entry)
        del document["hash"]
        document["seq"], document["previous"] = last.seq + 1, last.hash
        document["id"] = entry.id or content_id(entry)
        raw = canonical(document)
        last = put(connection, orjson.loads(raw), hash_of(raw), raw.decode())
    return last


def put(connection: apsw.Connection, document: dict[str, Any], digest: str, text: str) -> Head:
    """Add a link that is made already, inside the caller's transaction; returns the new head."""
    row = tuple(document[name] for name in _COLUMNS)
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, digest, text))
    last = Head(int(document["seq"]), digest)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('audit_head', ?)", (str(last),))
    return last


def begin_at(connection: apsw.Connection, link: Head) -> None:
    """Let an empty chain begin after this link, inside the caller's transaction; an entry must confirm it."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('audit_base', ?)", (str(link),))


def entries(connection: apsw.Connection, since: int, limit: int | None) -> list[AuditEntry]:
    """Entries after sequence number `since`, in order."""
    rows = connection.execute(
        "SELECT doc, hash FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (since, -1 if limit is None else limit)
    )
    return [AuditEntry(**{**orjson.loads(document), "hash": digest}) for document, digest in rows]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What walking the chain found: `first_bad` is the sequence number of the first broken link, None when whole."""

    entries: int
    first: int
    head: Head
    first_bad: int | None = None
    reason: str = ""


def verify(connection: apsw.Connection, sealed: list[Head] | None = None) -> Verdict:
    """Walk the whole chain; `sealed`: heads kept elsewhere, each must lie on the chain. Stored seals are tried too."""
    start = base(connection)
    expect = {seal.seq: seal.hash for seal in _stored_seals(connection) if seal.seq > start.seq}
    recorded = connection.execute("SELECT value FROM meta WHERE key = 'audit_head'").fetchone()
    if recorded:
        expect[parse_head(recorded[0]).seq] = parse_head(recorded[0]).hash
    outside = {seal.seq: seal.hash for seal in sealed or []}
    last, number, confirmed = start, 0, start.seq == 0
    for row in _walk(connection):
        bad = _wrong(row, last)
        seq = last.seq + 1
        if not bad and outside.get(seq, row[6]) != row[6]:
            bad = "differs from the head sealed elsewhere"
        if not bad and expect.get(seq, row[6]) != row[6]:
            bad = "differs from the seal kept in the store"
        if bad:
            return Verdict(number, start.seq + 1, last, seq, bad)
        last, number = Head(seq, row[6]), number + 1
        if not confirmed and row[4] in (RETIRED, RECOVERED):
            confirmed = orjson.loads(row[7])["detail"].get("audit_base") == str(start)
    if recorded and last.seq > parse_head(recorded[0]).seq:
        reason = "entries were put in at the end"
        return Verdict(number, start.seq + 1, last, parse_head(recorded[0]).seq + 1, reason)
    for seq in sorted({*expect, *outside}):
        if seq > last.seq:
            return Verdict(number, start.seq + 1, last, last.seq + 1, f"the tail up to {seq} is missing")
    for seq in outside:
        if seq < start.seq or (seq == start.seq and outside[seq] != start.hash):
            reason = "the sealed head lies before the oldest entry kept (retention)"
            return Verdict(number, start.seq + 1, last, seq, reason)
    if not confirmed:
        reason = "the beginning is missing, and no retention entry says so"
        return Verdict(number, start.seq + 1, last, start.seq + 1, reason)
    return Verdict(number, start.seq + 1, last)


def _stored_seals(connection: apsw.Connection) -> list[Head]:
    return [Head(int(seq), str(digest)) for seq, digest in connection.execute("SELECT seq, hash FROM audit_seal")]


def _walk(connection: apsw.Connection) -> Iterator[tuple[Any, ...]]:
    yield from connection.execute(
        "SELECT seq, time, actor, category, action, subject, hash, doc FROM audit ORDER BY seq"
    )


def _wrong(row: tuple[Any, ...], last: Head) -> str:
    """Why a row does not follow `last`; empty when it does."""
    if row[0] != last.seq + 1:
        return "entries are missing" if row[0] > last.seq + 1 else "an entry was put in"
    if not isinstance(row[7], str) or hash_of(row[7].encode("utf-8", "surrogatepass")) != row[6]:
        return "the entry was changed"
    document = orjson.loads(row[7])
    if document.get("previous") != last.hash:
        return "the entry does not follow the one before"
    if tuple(document.get(name) for name in _COLUMNS) != tuple(row[:6]):
        return "the entry's searchable columns were changed"
    return ""


def seal(connection: apsw.Connection, now: int) -> Head:
    """Record the present head as a seal, inside the caller's transaction."""
    last = head(connection)
    if last.seq:
        connection.execute("INSERT OR REPLACE INTO audit_seal VALUES (?, ?, ?)", (last.seq, last.hash, now))
    return last
