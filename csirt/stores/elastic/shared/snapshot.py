"""A snapshot: what a folder holds after some entry of the log, beside the documents that the cluster has anyhow.

That is: states that nodes share, hits that are not analysed yet, how far the nodes are, the last case and run numbers,
where the segments are, and the documents that the cluster did not take. Rows of JSON, compressed as one stream, in
documents of bounded size in the segment that is the last when it is taken; so it goes with that segment.

It is named in one document of the index `meta` once it is whole, beside the one before. The rows of an entry do not
change, so whoever takes a snapshot of it, a leader of before as well, writes a right one.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import IO, Any

import apsw
import orjson

from csirt.errors import CsirtError
from csirt.stores.elastic import outbox
from csirt.stores.elastic.load import put
from csirt.stores.elastic.shared import folder, segments
from csirt.stores.elastic.shared.entry import MOST, octets, text
from csirt.stores.elastic.shared.log import PART, Documents, Log, Piece

_NOT_READ = (
    "a snapshot of the cluster's log cannot be read ({}): a newer csirt wrote it; run the same version on all nodes"
)
NAME = "snapshots"
KEPT = 2


class Damaged(CsirtError):
    """A snapshot is not what it was."""

    code = "damaged"


@dataclass(kw_only=True)
class Taken:
    """A whole snapshot of the folder after entry `number`: documents `id:0`… in `index`, each with the digest of what
    is in it. `segments`: those that were kept, by their first entry."""

    id: str
    index: str
    number: int
    token: str
    node: str
    time: int
    octets: int = 0
    digests: list[str] = field(default_factory=list)
    segments: list[tuple[int, str]] = field(default_factory=list)

    def holding(self, number: int) -> str:
        """The segment of an entry, empty when it was not kept any more."""
        return next((name for first, name in reversed(self.segments) if first <= number), "")


def named(meta: Documents, log: str) -> tuple[list[Taken], tuple[int, int] | None]:
    """The snapshots of that log, oldest first, and where the document that names them stands."""
    found = meta.get(NAME)
    if found is None:
        return [], None
    body, at = found
    return [Taken(**one) for one in body["kept"]] if body["log"] == log else [], at


def name(meta: Documents, log: str, taken: Taken, before: list[Taken], at: tuple[int, int] | None) -> bool:
    """Name a snapshot beside the newest of those before; False when another node was quicker."""
    kept = [asdict(one) for one in [*before, taken][-KEPT:]]
    return meta.put(NAME, {"log": log, "kept": kept}, at) is not None


def take(connection: apsw.Connection, log: Log, node: str, now: int, made: list[str]) -> Taken:
    """Write a snapshot of what the connection sees; `made`: gets the names of its documents. Raises as `Piece` does.
    It lies in the segment of the next entry: that is kept as long as what comes after the snapshot."""
    place = folder.place(connection)
    piece = log.at(place.segment.name)
    found = Taken(
        id=os.urandom(16).hex(), index=piece.index, number=place.applied, token=place.token, node=node, time=now
    )
    found.segments = [(one.first, one.name) for one, _ in segments.listed(connection)]
    for number, part in enumerate(_parts(rows(connection))):
        made.append(_part(found, number))
        piece.created(made[-1], {"body": text(part)})
        found.digests.append(hashlib.sha256(part).hexdigest())
        found.octets += len(part)
    return found


def _part(taken: Taken, number: int) -> str:
    return f"{taken.id}:{number}"


def _parts(found: Iterator[list[Any]]) -> Iterator[bytes]:
    """Rows, compressed, in parts of a bounded size."""
    packer, data = zlib.compressobj(3), bytearray()
    for row in found:
        data += packer.compress(orjson.dumps(row) + b"\n")
        while len(data) >= PART:
            yield bytes(data[:PART])
            del data[:PART]
    data += packer.flush()
    for start in range(0, len(data), PART):
        yield bytes(data[start : start + PART])


def fetch(piece: Piece, taken: Taken, file: IO[bytes]) -> None:
    """Write a snapshot's octets to a file. Raises Damaged when it is not whole, Cut."""
    for number, digest in enumerate(taken.digests):
        found = piece.get(_part(taken, number))
        try:
            part = octets(found[0]["body"]) if found is not None else b""
        except (KeyError, ValueError, TypeError):
            part = b""
        if hashlib.sha256(part).hexdigest() != digest:
            raise Damaged(f"the snapshot of the cluster's log after entry {taken.number} is damaged or not whole")
        file.write(part)


def read(file: IO[bytes]) -> Iterator[list[Any]]:
    """The rows that `fetch` wrote. Raises Damaged."""
    stream, rest = zlib.decompressobj(), b""
    try:
        while data := file.read(1 << 16):
            *whole, rest = (rest + stream.decompress(data)).split(b"\n")
            yield from map(orjson.loads, whole)
            if len(rest) > MOST:
                raise ValueError("a row without an end")
        if rest or not stream.eof:
            raise ValueError("no end")
    except (zlib.error, ValueError) as error:
        raise Damaged(_NOT_READ.format(error)) from error


def rows(connection: apsw.Connection) -> Iterator[list[Any]]:
    """What a folder holds, by row; `load` puts it back."""
    place = folder.place(connection)
    yield ["place", place.log, place.applied, place.token, place.term, place.holder]
    for one, size in segments.listed(connection):
        yield ["segment", one.first, one.name, size]
    for key, value in folder.states(connection).items():
        yield ["state", key, text(value or b"")]
    for node, mark, active in connection.execute("SELECT node, mark, active FROM node_mark ORDER BY node"):
        yield ["mark", node, mark, active]
    for kind, year, last in connection.execute("SELECT kind, year, last FROM number ORDER BY kind, year"):
        yield ["number", kind, year, last]
    for id, least, greatest, count, data in connection.execute(
        "SELECT id, least, greatest, rows, data FROM hits ORDER BY id"
    ):
        yield ["hits", id, least, greatest, count, text(bytes(data))]
    for kind, id in segments.refused(connection):
        yield ["refused", kind, id, outbox.text_of(connection, kind, id)]


_INSERT = {
    "segment": "INSERT INTO log_segment VALUES (?, ?, ?)",
    "mark": "INSERT INTO node_mark VALUES (?, ?, ?)",
    "number": """INSERT INTO number VALUES (?, ?, ?) ON CONFLICT (kind, year) DO UPDATE SET
                 last = max(last, excluded.last)""",
}


def load(connection: apsw.Connection, found: Iterator[list[Any]], taken: Taken) -> None:
    """Put what `rows` gave into a folder that has the documents, in the caller's transaction. Raises Damaged. What the
    cluster did not take comes last: who leads sends it once more."""
    at = folder.Place()
    refused: list[list[Any]] = []
    for what, *row in found:
        if what == "place":
            at = folder.Place(row[0], True, *row[1:])
            folder.loaded(connection, at)
            connection.execute("DELETE FROM log_segment")
        elif what == "state":
            connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (row[0], octets(row[1])))
        elif what == "hits":
            connection.execute(
                "INSERT INTO hits (id, least, greatest, rows, data) VALUES (?, ?, ?, ?, ?)", (*row[:4], octets(row[4]))
            )
        elif what == "refused":
            refused.append(row)
        elif what in _INSERT:
            connection.execute(_INSERT[what], row)
        else:
            raise Damaged(_NOT_READ.format("unknown rows"))
    if (at.applied, at.token) != (taken.number, taken.token):
        raise Damaged(f"the snapshot of the cluster's log after entry {taken.number} is another's")
    connection.execute(
        "INSERT OR REPLACE INTO log_snapshot VALUES (1, ?, ?, ?)", (taken.number, taken.time, taken.octets)
    )
    for kind, id, said in refused:
        connection.execute("INSERT OR IGNORE INTO log_refused VALUES (?, ?)", (kind, id))
        if said is not None:
            put(connection, kind, [said])
