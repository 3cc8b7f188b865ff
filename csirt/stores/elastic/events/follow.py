"""Sends what `content` chooses of the lake: notes it with each commit, reads it from the lake, hands it to the bulk."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from csirt.clock import DAY, HOUR, MINUTE, SECOND
from csirt.model import ecs
from csirt.model.batch import Batch
from csirt.model.hits import kept, noted
from csirt.stores.elastic.connect import Refusal
from csirt.stores.elastic.events import names, notes
from csirt.stores.elastic.outbox import Refused, Waiting, put_aside

if TYPE_CHECKING:
    import apsw
    from elasticsearch import Elasticsearch

    from csirt.stores.base import Commit
    from csirt.stores.elastic.bulk import Bulk
    from csirt.stores.embedded.lake.parts import Part
    from csirt.stores.embedded.store import EmbeddedStore

T = TypeVar("T")
LOG = logging.getLogger("csirt.stores.elastic")
ROWS = 20_000  # events of one round, or those of one commit
TOGETHER = 8_000  # documents that are made at a time: enough for several requests in flight
MINUTES = 5_000  # of one round
QUIET, OLD = 30 * SECOND, 300 * SECOND  # a minute is sent when it has not changed for so long, or waited so long
_LARGE = re.compile(rb"[:,\[]\d{19}")
_LONG = (1 << 63) - 1


class Follower:
    """What of a store's lake its cluster gets."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store, self._config = store, store.config.elasticsearch
        self._there: set[str] = set()  # indices that are known to be there
        self._content = self._config.content
        self._retired = -1  # the hour in which retention was applied last

    # in the folder

    def ready(self, change: Commit) -> None:
        """Work out what a commit will have to note, before its transaction; hits that only say so are then left out."""
        if self._content != "none" and change.batches and change.noted is None:
            minutes = _minutes(change.batches) if self._content != "matched" else []
            change.noted = _rows_of(change, self._content), minutes
        if change.hits is not None:
            change.hits = kept(change.hits)

    def note(self, connection: apsw.Connection, change: Commit, written: list[Part], now: int) -> None:
        """Note it, in the commit's transaction."""
        if change.noted is None:
            return
        (rows, ids), minutes = change.noted
        if rows:
            notes.note_events(connection, now // HOUR * HOUR, rows, ids)
        hours = {part.received // HOUR * HOUR for part in written if part.dataset == "flow" and part.fresh is None}
        notes.note_minutes(connection, [(hour, minute) for hour in sorted(hours) for minute in minutes], now)

    def maintain(self, now: int) -> None:
        """Keep the notes few."""
        from csirt.stores.elastic.events import chosen

        with self._store.database.reading() as connection:
            hours = notes.joined_hours(connection, now // HOUR * HOUR)
        for _, several in hours:
            ids = chosen.union([chosen.unpack(one.ids) for one in several])
            with self._store.database.transaction("joining notes") as connection:
                notes.join_notes(connection, several, ids, chosen.pack(ids))

    def everything(self) -> None:
        """Note all of the lake that is sent, beside what was noted before: the indices are new, or were lost."""
        from csirt.stores.elastic.events import chosen
        from csirt.stores.embedded.lake import read

        if self._content == "none":
            return
        with self._store.database.transaction("sending everything") as connection:
            notes.send_again(connection)
        wanted = {"csirt.segment", "csirt.ordinal", "@timestamp", ecs.DUPLICATE}
        with self._store.reading_parts(fresh=False) as found:
            for part in found:
                for table in read.tables(self._store.lake, part, wanted):
                    hour = part.received // HOUR * HOUR
                    ids = chosen.of_table(table) if self._content == "all" else None
                    minutes = _minutes([Batch(part.dataset, table)]) if self._content != "matched" else []
                    with self._store.database.transaction("sending everything") as connection:
                        if ids is not None:
                            notes.note_events(connection, hour, len(ids), chosen.pack(ids))
                        notes.note_minutes(connection, [(hour, minute) for minute in minutes], 0)

    # to the cluster

    def send_events(self, bulk: Bulk, some: list[notes.EventNote]) -> None:
        """Send the rows of these notes. Raises Unreachable; sending all of them again changes nothing."""
        from csirt.stores.elastic.events import chosen

        ids = chosen.union([chosen.unpack(one.ids) for one in some])
        found = clipped = 0
        refused: list[Refused] = []
        for part, batch in chosen.rows(self._store, ids):
            for group in _groups(_lines(batch)):
                made = [self._event(part, id, line) for id, line in group]
                clipped += sum(large for _, _, large in made)
                self._ensure(bulk, names.index(self._config.prefix, names.EVENT, part.dataset, part.received))
                refused += bulk.deliver([(waiting, lines) for waiting, lines, _ in made])
                found += len(made)
        with self._store.database.transaction("noting what the cluster has") as connection:
            notes.sent_events(connection, some, keep=self._content != "all")  # else the lake says as much
            put_aside(connection, names.EVENT, refused, self._store.clock.now())
            lost = max(0, len(ids) - found)
            sent = found - len(refused)
            notes.count(connection, events=sent, refused=len(refused), gone=lost, clipped=clipped)
        self._told(refused, lost)

    def send_minutes(self, bulk: Bulk, some: list[notes.MinuteNote]) -> None:
        """Send the sums of these minutes, all of one hour, as they are now. Raises Unreachable."""
        from csirt.stores.elastic.events import minutes

        hour = some[0].hour
        sums = minutes.Sums([one.minute for one in some])
        for table in self._flows(hour, some):
            sums.add(table)
        index = names.index(self._config.prefix, names.MINUTE, "", hour)
        version = {one.minute: one.last for one in some}
        refused: list[Refused] = []
        sent = 0
        for group in _groups(minutes.documents(sums.rows(), hour, self._name())):
            self._ensure(bulk, index)
            items = []
            for id, minute, body in group:
                where = {"_index": index, "_id": id, "version": version[minute], "version_type": "external"}
                one = Waiting(names.MINUTE, f"{hour}:{minute}:{id}", version[minute], version[minute], None)
                items.append((one, orjson.dumps({"index": where}) + b"\n" + body))
            refused += bulk.deliver(items)
            sent += len(items)
        now = self._store.clock.now()
        with self._store.database.transaction("noting what the cluster has") as connection:
            notes.sent_minutes(connection, some, now)
            put_aside(connection, names.MINUTE, refused, now)
            notes.count(connection, minutes=sent - len(refused), refused=len(refused))
        self._told(refused, 0)

    def _flows(self, hour: int, some: list[notes.MinuteNote]) -> Iterator[Any]:
        """The flows that the lake took for good in that hour, of about these minutes."""
        from csirt.stores.elastic.events.minutes import COLUMNS
        from csirt.stores.embedded.lake import read

        since, until = min(one.minute for one in some), max(one.minute for one in some) + MINUTE
        with self._store.reading_parts("flow", since=since, until=until, fresh=False) as found:
            for part in found:
                if part.received // HOUR * HOUR == hour:
                    yield from read.tables(self._store.lake, part, read.wanted(COLUMNS))

    def _event(self, part: Part, id: str, line: bytes) -> tuple[Waiting, bytes, bool]:
        """An event as an action; whether a number had to be cut to what the cluster can search."""
        index = names.index(self._config.prefix, names.EVENT, part.dataset, part.received)
        large = _LARGE.search(line) is not None
        lake = b'{"lake":{"received":%d,"store":"%s"},' % (part.received // HOUR * HOUR // 1000, self._name().encode())
        if large:
            event = orjson.loads(line)
            cut = _cut(event)
            large = cut != event
            if large:
                line = orjson.dumps({**cut, "document": line.decode()})
        waiting = Waiting(names.EVENT, id, 1, 1, None)
        return waiting, orjson.dumps({"create": {"_index": index, "_id": id}}) + b"\n" + lake + line[1:], large

    def _name(self) -> str:
        if not hasattr(self, "_store_name"):
            with self._store.database.reading() as connection:
                self._store_name = str(connection.execute("SELECT store FROM cluster").get)
        return self._store_name

    def _ensure(self, bulk: Bulk, index: str) -> None:
        """The dated index is there, made by the template that `csirt store init` installs. Raises Refusal."""
        if index in self._there:
            return
        client = bulk.client
        kind = names.EVENT if index.startswith(f"{self._config.prefix}-{names.EVENT}-") else names.MINUTE
        if not client.indices.exists(index=index):
            client.options(ignore_status=400).indices.create(index=index)  # 400: somebody else was quicker
        alias = f"{self._config.prefix}-{kind}"
        if not client.indices.exists_alias(index=index, name=alias):
            client.options(ignore_status=404).indices.delete(index=index)
            raise Refusal(f"the cluster lacks csirt's template {alias}; run `csirt store init`")
        self._there.add(index)

    def forget(self) -> None:
        """Look again whether indices are there: the cluster may be another one."""
        self._there.clear()

    def retire(self, client: Elasticsearch) -> None:
        """Once an hour: delete what of the cluster's events is over its time. Raises what the client raises."""
        from csirt.stores.elastic.events.retire import retire

        now = self._store.clock.now()
        if now // HOUR == self._retired:
            return
        gone = retire(client, self._config.prefix, self._store.retention, now)
        self._retired = now // HOUR
        self._there.difference_update(gone.indices)
        with self._store.database.transaction("forgetting notes") as connection:
            notes.forget(connection, now - self._longest())
        if gone.indices or gone.events:
            LOG.info("the cluster: deleted %d indices and %d events", len(gone.indices), gone.events)
            self._store.append_audit([gone.entry(now)])

    def _longest(self) -> int:
        """How long any event may be in the lake."""
        from csirt.stores.embedded.retention import kept_for

        return max(kept_for(self._store.retention, name) for name in ecs.DATASETS) + DAY

    def _told(self, refused: list[Refused], lost: int) -> None:
        for one in refused[:5]:
            LOG.error(
                "the cluster refuses %s %s: %s; `csirt store dead-letters` lists it", one.kind, one.key, one.reason
            )
        if lost:
            LOG.warning("%d events went from the lake before the cluster could get them", lost)


def _rows_of(change: Commit, content: str) -> tuple[int, bytes]:
    """The rows of a commit that are sent, packed."""
    from csirt.stores.elastic.events import chosen

    if content == "all":
        ids = chosen.union([chosen.of_table(batch.table) for batch in change.batches if batch.rows])
    elif change.hits is not None and change.hits.num_rows:
        ids = chosen.of_ids(noted(change.hits).column("event"))
    else:
        return 0, b""
    return len(ids), chosen.pack(ids)


def _minutes(batches: list[Batch]) -> list[int]:
    """The minutes of event time that flows end in."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found: set[int] = set()
    for batch in batches:
        if batch.dataset == "flow" and batch.rows:
            times = pc.drop_null(pc.cast(batch.table.column("@timestamp"), pa.int64()))
            found.update(np.unique(np.asarray(times.to_numpy()) // MINUTE * MINUTE).tolist())
    return sorted(found)


def _lines(batch: Batch) -> Iterator[tuple[str, bytes]]:
    from csirt.model.batch import event_ids
    from csirt.model.ndjson import render

    for start in range(0, batch.rows, TOGETHER):
        piece = Batch(batch.dataset, batch.table.slice(start, TOGETHER))
        yield from zip(event_ids(piece.table).to_pylist(), render(piece), strict=True)


def _groups(items: Iterator[T]) -> Iterator[list[T]]:
    group: list[T] = []
    for item in items:
        group.append(item)
        if len(group) == TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _cut(value: Any) -> Any:
    """Numbers as large as the cluster can search."""
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return min(value, _LONG) if isinstance(value, int) and not isinstance(value, bool) else value
