"""The store's face: every method of the contract in `stores/base.py`, each a few lines over the rooms behind it. What
reads or writes event tables is imported on first use, so that a command which lists cases opens a store at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import apsw
import orjson

from csirt import config as settings
from csirt.clock import Clock
from csirt.errors import CsirtError, NotFound
from csirt.stores.base import Commit, PendingHits, Waiting
from csirt.stores.embedded.catalogue import apply, chain, documents, schema
from csirt.stores.embedded.catalogue.database import Database, check_version
from csirt.stores.embedded.lake import parts
from csirt.stores.embedded.lake.files import make_folder
from csirt.stores.embedded.lake.keep import Keeper, Ready
from csirt.stores.embedded.owner import OwnerLock
from csirt.stores.embedded.reserve import Reserve
from csirt.stores.errors import FatalStoreError

if TYPE_CHECKING:
    from csirt.model.audit import AuditEntry
    from csirt.model.batch import Batch
    from csirt.model.chunk import Position
    from csirt.stores.embedded.lake import ordered

CATALOGUE = "catalogue.sqlite"


def open_embedded(
    directory: Path,
    *,
    clock: Clock,
    config: settings.Stores | None = None,
    retention: settings.Retention | None = None,
    create: bool = True,
    read_only: bool = False,
    made: type[EmbeddedStore] | None = None,
) -> EmbeddedStore:
    """Open and own a store folder; `create` makes it when it is not there.

    Raises Conflict (exit 5) when another process owns it or a newer csirt wrote it, NotFound when there is none,
    CsirtError for a SQLite that can lose commits, or a folder that cannot be made. `read_only`: shared with other
    readers, refused while it is owned. `made`: the class of the store, where it is more than this one.
    """
    check_version()
    try:
        if not (directory / CATALOGUE).is_file():
            if read_only or not create:
                raise NotFound(f"{directory}: no store here")
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CsirtError(
            f"{directory}: {error.strerror}; the folder above it must belong to the user who runs this (`state` in the "
            "configuration, or --store)"
        ) from error
    lock = OwnerLock(directory, shared=read_only)
    try:
        kind = made or EmbeddedStore
        return kind(directory, lock, clock, config or settings.Stores(), retention, read_only=read_only)
    except BaseException:
        lock.release()
        raise


class EmbeddedStore:
    """SQLite catalogue and Parquet lake in one folder. Thread-safe; reads never wait for the writer."""

    def __init__(
        self,
        directory: Path,
        lock: OwnerLock,
        clock: Clock,
        config: settings.Stores,
        retention: settings.Retention | None,
        *,
        read_only: bool,
    ) -> None:
        self.directory, self.clock, self.config, self.read_only = directory, clock, config, read_only
        self.retention = retention or settings.Retention()
        self._lock = lock
        self.database = Database(directory / CATALOGUE, read_only=read_only)
        try:
            if read_only:
                schema.check_newest(self.database.writer)
            else:
                schema.migrate(self.database.writer, clock.now())
        except BaseException:
            self.database.close()
            raise
        self.lake = directory / "lake"
        self.keeper = Keeper(self.lake, self.database, clock, config)
        self.reserve = Reserve(directory)
        self._closing = threading.Lock()
        if not read_only:
            make_folder(directory, self.lake)
            self.keeper.sweep()
            self.reserve.make()

    # writing

    def prepare(self, change: Commit) -> None:
        """Encode, write and sync the rows and hits of a change, so that its commit is one short transaction. Several
        threads may prepare at once; what was prepared is committed, or given to `discard`.

        Raises Conflict (a stale hand-over), DiskFull (nothing was kept, retry), FatalStoreError (stop)."""
        if change.ready is not None or not _bulk(change):
            return
        self.reserve.refuse_bulk()
        self._early_refusal(change)
        hits = apply.Hits(change.hits) if change.hits is not None and change.hits.num_rows else None
        try:
            change.ready = self.keeper.write(change.batches, change.fresh, self.clock.now()), hits
        except FatalStoreError as error:
            self.database.fail(error)
            raise

    def discard(self, change: Commit) -> None:
        """Take away what was prepared and will not be committed."""
        if change.ready is not None:
            self.keeper.drop(change.ready[0].parts)
            change.ready = None

    def commit(self, change: Commit) -> None:
        """One step, atomically: files first, synced, then one transaction that names them (decision 4).

        Raises Conflict (a stale hand-over or case), DiskFull (nothing was kept, retry), FatalStoreError (stop)."""
        if _bulk(change):
            self.prepare(change)
            numbers = self._commit(change)
        else:
            numbers = self.reserve.help(lambda: self._commit(change))
        for case in change.cases:
            case.number = numbers[case.id]
        for run in change.runs:
            run.number = numbers[run.id]

    def _commit(self, change: Commit) -> dict[str, str]:
        now = self.clock.now()
        ready, hits = change.ready or (Ready(), None)
        change.ready = None
        gone: list[str] = []
        try:
            with (
                self.keeper.adding(ready, now) as (written, replaced),
                self.database.transaction("committing") as connection,
            ):
                numbers = self._apply(connection, change, written, hits, now)
                parts.remove(connection, replaced)
                if change.settled is not None:
                    gone = parts.settle(connection, change.settled.until, change.settled.rows)
        except FatalStoreError as error:
            self.database.fail(error)
            raise
        self.keeper.trash(gone)
        return numbers

    def _apply(
        self, connection: apsw.Connection, change: Commit, written: list[parts.Part], hits: apply.Hits | None, now: int
    ) -> dict[str, str]:
        return apply.apply(connection, change, written, hits, now)

    def _early_refusal(self, change: Commit) -> None:
        """Refuse a stale hand-over before its events are written; the transaction checks again."""
        if change.position is not None and (change.batches or change.fresh):
            with self.database.reading() as connection:
                apply.check_hand_over(connection, change)

    def append_audit(self, entries: list[AuditEntry]) -> None:
        """Add entries outside a commit (accesses, refusals)."""
        if entries:
            self.reserve.help(lambda: self._append_audit(entries))

    def _append_audit(self, entries: list[AuditEntry]) -> None:
        with self.database.transaction("writing the audit") as connection:
            chain.append(connection, entries)

    # positions and state

    def position(self, source: str, fingerprint: str) -> Position | None:
        """The committed position of an input."""
        with self.database.reading() as connection:
            return apply.find_position(connection, source, fingerprint)

    def positions(self) -> list[Position]:
        """All committed positions, by source and fingerprint."""
        return self._positions("ORDER BY source, fingerprint", ())

    def find_input(self, fingerprint: str) -> Position | None:
        """The position of that content under whatever source read it first."""
        found = self._positions("WHERE fingerprint = ? ORDER BY rowid LIMIT 1", (fingerprint,))
        return found[0] if found else None

    def _positions(self, tail: str, bindings: tuple[str, ...]) -> list[Position]:
        query = f"SELECT source, fingerprint, offset, done, extra FROM position {tail}"  # noqa: S608
        with self.database.reading() as connection:
            return [apply.as_position(row) for row in connection.execute(query, bindings)]

    def state(self, key: str) -> bytes | None:
        """A committed state."""
        with self.database.reading() as connection:
            row = connection.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    def pending(self, until: int, rows: int | None = None) -> list[PendingHits]:
        """Blobs of hits whose least event time is at or before `until`, oldest commit first. `rows`: only as many, by
        least event time, as hold for certain the `rows` earliest hits and one more, where there are so many."""
        from csirt.stores.embedded.catalogue import hits

        with self.database.reading() as connection:
            return hits.pending(connection, until, rows)

    @contextmanager
    def waiting(self, until: int | None = None) -> Iterator[list[Waiting]]:
        """What has fresh rows that wait and may be due at or before `until`, by least due, then in the order of their
        commits; it can be loaded as long as the block runs."""
        from csirt.stores.embedded.lake import read

        with self.reading_parts(fresh=True, due=until) as found:
            waiting = [
                Waiting(
                    part.id,
                    part.dataset,
                    part.fresh.next,
                    part.fresh.greatest,
                    part.fresh.waiting,
                    partial(read.waiting, self.lake, part),
                )
                for part in found
                if part.fresh is not None
            ]
            yield sorted(waiting, key=lambda item: (item.least, item.id))

    def counts(self) -> dict[str, int]:
        """Accumulated counters of all commits."""
        with self.database.reading() as connection:
            return dict(connection.execute("SELECT name, value FROM counter ORDER BY name"))

    # documents

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        """One document by id; aliases of merged incidents resolve."""
        with self.database.reading() as connection:
            return documents.get(connection, documents.kind(kind), id)

    def find(
        self,
        kind: str,
        where: dict[str, Any] | None = None,
        *,
        order: str = "id",
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """Documents of a kind. `where`: equality on indexed fields (a list means any of), `<field>__gte`, `__gt`,
        `__lte`, `__lt`, `__ne`; severities compare by rank. `order`: fields separated by commas, `-field` descending.
        Raises Usage for a field that is not indexed."""
        texts = self.find_json(kind, where, order=order, descending=descending, limit=limit, offset=offset)
        return [orjson.loads(text) for text in texts]

    def find_json(
        self,
        kind: str,
        where: dict[str, Any] | None = None,
        *,
        order: str = "id",
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[str]:
        """As `find`, each document as the JSON text it is stored as."""
        with self.database.reading() as connection:
            found = documents.find(connection, documents.kind(kind), where, order, descending, limit, offset)
            return list(found)

    def count(self, kind: str, where: dict[str, Any] | None = None) -> int:
        """How many documents `find` would return."""
        with self.database.reading() as connection:
            return documents.count(connection, documents.kind(kind), where)

    def having(self, kind: str, ids: Iterable[str]) -> set[str]:
        """Those of the ids of which there is a document."""
        with self.database.reading() as connection:
            return set(documents.stored(connection, documents.kind(kind), "id", ids))

    def incidents_with(self, entities: list[tuple[str, str]], since: int, until: int) -> list[dict[str, Any]]:
        """Incidents not merged away that have any of the (kind, value) entities and overlap [since, until]."""
        with self.database.reading() as connection:
            return documents.incidents_with(connection, entities, since, until)

    def case_events(self, case: str) -> list[dict[str, Any]]:
        """All events of a case in order."""
        with self.database.reading() as connection:
            rows = connection.execute('SELECT doc FROM case_event WHERE "case" = ? ORDER BY seq', (case,))
            return [orjson.loads(text) for (text,) in rows]

    def resolve(self, kind: str, text: str) -> list[str]:
        """Ids whose number or id starts with the text."""
        with self.database.reading() as connection:
            return documents.resolve(connection, documents.kind(kind), text)

    # events

    def events(
        self,
        dataset: str | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        ids: list[str] | None = None,
        columns: list[str] | None = None,
    ) -> Iterator[Batch]:
        """Event tables in the order they were committed, datasets by name; rows with event time in [since, until) or
        of these ids. `columns`: logical names; identity and time are always there, absent ones are left out."""
        from csirt.model.batch import Batch
        from csirt.stores.embedded.lake import read

        chosen = read.Chosen(ids) if ids is not None else None
        keep = read.wanted(columns)
        with self.reading_parts(dataset, since=since, until=until, ids=ids) as found:
            for part in found:
                for table in read.tables(self.lake, part, keep):
                    rows = read.between(table, since, until)
                    rows = rows if chosen is None else chosen.filter(rows)
                    if rows.num_rows:
                        yield Batch(part.dataset, rows)

    def event_ids(self, prefix: str, limit: int = 20) -> list[str]:
        """Ids of stored events that start with a prefix of at least 17 hexadecimal digits; at most `limit`."""
        from csirt.stores.embedded.lake import read

        least, greatest = (f"{prefix[:32]:{fill}<32}" for fill in "0f")
        found: set[str] = set()
        with self.reading_parts(between=(least, greatest)) as holding:
            for part in holding:
                for table in read.tables(self.lake, part, set(read.IDENTITY)):
                    found.update(read.ids_between(table, least, greatest))
        return sorted(found)[:limit]

    def in_time_order(
        self, dataset: str | None, *, since: int | None, until: int | None, keep: ordered.Keep, keys: ordered.Keys
    ) -> Iterator[list[Batch]]:
        """Rows that `keep` lets through, in groups of batches that follow each other in event time; the first of
        `keys` is the event time."""
        from csirt.stores.embedded.lake import ordered

        with self.reading_parts(dataset, since=since, until=until) as found:
            pieces = ordered.time_pieces(self.lake, found, since, until, keep)
            yield from ordered.in_order(pieces, keys)

    @contextmanager
    def reading_parts(self, dataset: str | None = None, **where: Any) -> Iterator[list[parts.Part]]:
        """The parts that may hold what is asked for; their files stay until the block is left."""
        with self.keeper.lease():
            with self.database.reading() as connection:
                found = parts.select(connection, dataset=dataset, **where)
            yield found

    # audit and dump

    def audit(self, since_seq: int = 0, limit: int | None = None) -> Iterator[AuditEntry]:
        """The audit chain in order, read page by page so that no snapshot is held."""
        left = limit
        while left is None or left > 0:
            page = 1_000 if left is None else min(left, 1_000)
            with self.database.reading() as connection:
                found = chain.entries(connection, since_seq, page)
            yield from found
            if len(found) < page:
                return
            since_seq = found[-1].seq
            left = None if left is None else left - len(found)

    def verify_audit(self, sealed: Iterable[str] = ()) -> chain.Verdict:
        """Walk the audit chain; `sealed`: heads kept elsewhere (`SEQ:HASH`)."""
        heads = [chain.parse_head(text) for text in sealed]
        with self.database.reading() as connection:
            return chain.verify(connection, heads)

    def seal_audit(self) -> chain.Head:
        """Record the chain's head as a seal and return it, to be kept elsewhere."""
        with self.database.transaction("sealing the audit") as connection:
            return chain.seal(connection, self.clock.now())

    def dump(self, kinds: list[str] | None = None) -> Iterator[bytes]:
        """The canonical dump, one JSON line per item (with its line end), sorted bytewise by (kind, id)."""
        from csirt.stores.embedded.dump import dump

        return dump(self, kinds)

    # care

    @contextmanager
    def leading(self) -> Iterator[bool]:
        """Whether this process may act on what all see (analyse, tell people, expire): of several that share a store
        one may at a time. What is committed in the block is refused with Conflict when another has taken over."""
        yield True

    def forget(self, find: Callable[[apsw.Connection], dict[str, list[str]]]) -> dict[str, list[str]] | None:
        """Let go of documents that were kept long enough, where that is not for this folder alone to say: those that
        went. None: it is, so retention deletes them itself."""
        return None

    def maintain(self) -> None:
        """Gather small parts, merge small files, unlink what no reader needs any more."""
        if not self.read_only:
            self.keeper.maintain()
            self.reserve.make()

    def close(self) -> None:
        """Release every handle and the owner lock; calling it again does nothing."""
        with self._closing:
            if not self.read_only:
                self.keeper.close()
                self.reserve.drop()
            self.database.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _bulk(change: Commit) -> bool:
    """Whether a change brings events or hits, which may not take the room that cases and the audit need."""
    return bool(change.batches or change.fresh) or change.hits is not None


def as_embedded(store: Any) -> EmbeddedStore:
    """The store as the embedded one. Raises CsirtError for another kind, whose own tools do this work."""
    if not isinstance(store, EmbeddedStore):
        raise CsirtError("this command works on the embedded store only")
    return store
