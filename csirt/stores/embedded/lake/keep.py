"""Keeping the lake: writing the rows of a commit, gathering small parts, unlinking files that nobody needs.

Only one thread changes existing parts at a time (`care`); commits only add parts, so they never wait for it. What works
on tables is imported where rows are written: most commands that open a store write none.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from csirt import config as settings
from csirt.clock import HOUR, Clock
from csirt.errors import CsirtError
from csirt.safety import log as clean
from csirt.stores.embedded.catalogue.database import Database
from csirt.stores.embedded.faults import DiskFull
from csirt.stores.embedded.lake import parts
from csirt.stores.embedded.lake.files import FRESH, checksum, drop_unnamed, new_name, place, remove_empty
from csirt.stores.errors import FatalStoreError

if TYPE_CHECKING:
    import pyarrow as pa

    from csirt.model.batch import Batch
    from csirt.stores.embedded.lake.merge import Merger

LOG = logging.getLogger("csirt.stores")
SMALL_ROWS = 2_000  # fewer rows than this wait in the catalogue
GATHER_ROWS = 20_000  # so many waiting rows of a dataset become a file with the next commit
GRACE_S = 60.0  # a merged file stays at least this long, and as long as a reader that began before the merge
MERGES_AT_ONCE = 8
_OURS = re.compile(r"[0-9a-f]{16}\.(parquet|arrow|tmp)")


@dataclass(slots=True)
class Ready:
    """The rows of a commit, encoded and on the disk. `small`: the tables of the parts that go into the catalogue."""

    parts: list[parts.Part] = field(default_factory=list)
    small: dict[str, list[pa.Table]] = field(default_factory=dict)


class Keeper:
    """Writes, gathers, merges and sweeps the files of one lake."""

    def __init__(self, root: Path, database: Database, clock: Clock, config: settings.Stores) -> None:
        self.root, self.database, self.clock = root, database, clock
        self.care = threading.RLock()
        self._gather_us = settings.duration(config.gather)
        self._compact_after_us = settings.duration(config.compact_after)
        self._merger: Merger | None = None
        self._guard = threading.Lock()
        self._leases: dict[object, float] = {}
        self._trash: list[tuple[str, float]] = []
        self._waiting: dict[str, int] = {}
        self._writing: set[str] = set()  # files written for a commit that the catalogue does not name yet

    def count_waiting(self) -> None:
        """Learn how many rows of each dataset wait in the catalogue."""
        query = """SELECT dataset, sum(rows) FROM part
                   WHERE path IS NULL AND id NOT IN (SELECT part FROM fresh) GROUP BY dataset"""
        with self.database.reading() as connection:
            found = dict(connection.execute(query))
        with self._guard:
            self._waiting = found

    # commits

    def write(self, batches: list[Batch], fresh: list[Batch], now: int) -> Ready:
        """Encode the batches' rows, write and sync the files; nothing names them yet. Several threads may. `fresh`:
        rows that wait to be settled."""
        ready = Ready()
        try:
            for dataset, tables in _by_dataset(fresh).items():
                small = sum(table.num_rows for table in tables) < SMALL_ROWS
                for part, table in _described(dataset, tables, now):
                    self._write(part, table, ready.parts, small=small)
            for dataset, tables in _by_dataset(batches).items():
                small = sum(table.num_rows for table in tables) < SMALL_ROWS
                for part, table in _described(dataset, tables, now):
                    self._write(part, table, ready.parts, small=small)
                    if small:
                        ready.small.setdefault(dataset, []).append(table)
        except FatalStoreError:
            raise
        except BaseException:
            self.drop(ready.parts)
            raise
        return ready

    def drop(self, written: list[parts.Part]) -> None:
        """Unlink the files of parts that no commit names."""
        drop_unnamed(self.root, self.database, [part.path for part in written if part.path])
        self._written(written)

    @contextmanager
    def adding(self, ready: Ready, now: int) -> Iterator[tuple[list[parts.Part], list[int]]]:
        """The block, which holds the transaction, gets the parts that are ready and the numbers of the small parts that
        they replace. When the block raises, what was written goes away again."""
        written = list(ready.parts)
        replaced: list[int] = []
        held = False
        try:
            for dataset, tables in ready.small.items():
                rows = sum(table.num_rows for table in tables)
                if rows + self._waiting.get(dataset, 0) >= GATHER_ROWS:
                    held = held or self.care.acquire(blocking=False)
                    if held:
                        kept = [part for part in written if part.path or part.fresh or part.dataset != dataset]
                        written[:] = kept
                        self._join(dataset, tables, now, written, replaced)
            yield written, replaced
        except FatalStoreError:
            raise  # the commit may have reached the disk: the next start sees which files it names
        except BaseException:
            self.drop(written)
            raise
        finally:
            self._written(written)
            if held:
                self.care.release()
        if replaced:
            self.count_waiting()
        else:
            self._note(written)

    def _join(
        self, dataset: str, tables: list[pa.Table], now: int, written: list[parts.Part], replaced: list[int]
    ) -> None:
        """A file of these rows and those of the dataset that wait in the catalogue."""
        # Rows of earlier hours wait for `maintain`: retention goes by the hour of receipt.
        waiting = [part for part in self._small(dataset) if part.received // HOUR == now // HOUR]
        replaced += [part.id for part in waiting]
        received = min((part.received for part in waiting), default=now)
        for part, table in _described(dataset, [*_tables(waiting), *tables], received):
            self._write(part, table, written, small=False)

    def _written(self, written: list[parts.Part]) -> None:
        """The catalogue's outcome is known: these files are named there, or gone."""
        with self._guard:
            self._writing.difference_update(part.path for part in written if part.path)

    def _note(self, written: list[parts.Part]) -> None:
        with self._guard:
            for part in written:
                if part.path is None and part.fresh is None:
                    self._waiting[part.dataset] = self._waiting.get(part.dataset, 0) + part.rows

    def _write(self, part: parts.Part, table: pa.Table, written: list[parts.Part], *, small: bool) -> None:
        """Give a part its rows: as bytes for the catalogue when they are few, else as a synced file."""
        from csirt.stores.embedded.lake.encode import to_ipc

        written.append(part)
        if small:
            data = to_ipc(table)
            part.data, part.size, part.checksum = data, len(data), checksum(data)
        else:
            self._write_file(part, table)

    def _write_file(self, part: parts.Part, table: pa.Table) -> None:
        from csirt.stores.embedded.lake.encode import to_file, to_parquet

        data = to_parquet(table) if part.fresh is None else to_file(table)
        part.size, part.checksum = data.size, checksum(data)
        part.path = new_name(part.dataset, part.received, ".parquet" if part.fresh is None else FRESH)
        with self._guard:
            self._writing.add(part.path)
        place(self.root, part.path, data)

    def _small(self, dataset: str) -> list[parts.Part]:
        with self.database.reading() as connection:
            return parts.select(connection, dataset=dataset, files=False, fresh=False)

    # readers

    @contextmanager
    def lease(self) -> Iterator[None]:
        """While the block runs no file is unlinked that a reader may have listed in it."""
        token = object()
        with self._guard:
            self._leases[token] = self.clock.monotonic()
        try:
            yield
        finally:
            with self._guard:
                del self._leases[token]

    def trash(self, names: list[str]) -> None:
        """Unlink these files, which the catalogue no longer names, once no reader needs them."""
        now = self.clock.monotonic()
        with self._guard:
            self._trash += [(name, now) for name in names]

    def empty_trash(self, *, grace: float = GRACE_S) -> None:
        """Unlink what is past its grace and was not listed by any reader still at work."""
        now = self.clock.monotonic()
        with self._guard:
            oldest = min(self._leases.values(), default=None)
            due = [name for name, since in self._trash if since + grace <= now and (oldest is None or oldest > since)]
            gone = set(due)
            self._trash = [item for item in self._trash if item[0] not in gone]
        for name in due:
            (self.root / name).unlink(missing_ok=True)
            remove_empty(self.root, (self.root / name).parent)

    # care

    def maintain(self) -> None:
        """Gather, merge, unlink; short enough to be called every few seconds."""
        import pyarrow as pa

        from csirt.stores.embedded.lake.merge import Merger

        with self.care:
            self._gather()
            merger = self._merger = self._merger or Merger(self.root, self.database, self.clock, self._compact_after_us)
            for group in merger.due()[:MERGES_AT_ONCE]:
                try:
                    self.trash(merger.merge(group))
                except (DiskFull, FatalStoreError):
                    raise
                except (CsirtError, OSError, pa.ArrowException) as error:
                    # One damaged file must not keep the others from being merged; reading it says so too.
                    merger.leave(group)
                    LOG.warning("merging event files: %s", clean(error))
        self.empty_trash()

    def _gather(self) -> None:
        """Rows that have waited long enough, or are enough, become files."""
        now = self.clock.now()
        with self._guard:
            datasets = [name for name, rows in self._waiting.items() if rows]
        for dataset in sorted(datasets):
            for _, members in groupby(self._small(dataset), key=lambda part: part.received // HOUR):
                waiting = list(members)
                ripe = waiting[0].received + self._gather_us <= now
                if ripe or sum(part.rows for part in waiting) >= GATHER_ROWS:
                    self.gather(dataset, waiting)
        self.count_waiting()

    def gather(self, dataset: str, waiting: list[parts.Part]) -> None:
        """Small parts of one dataset and hour of receipt become a file, or one per set of columns that do not fit."""
        made: list[parts.Part] = []
        done = False
        try:
            for part, table in _described(dataset, _tables(waiting), waiting[0].received):
                made.append(part)
                self._write_file(part, table)
            with self.database.transaction("gathering events") as connection:
                parts.remove(connection, (part.id for part in waiting))
                for part in made:
                    parts.insert(connection, part)
            done = True
        finally:
            if not done:
                drop_unnamed(self.root, self.database, [part.path for part in made if part.path])
            self._written(made)

    def sweep(self) -> list[str]:
        """At start, as the only owner: remove every file of ours that the catalogue does not name."""
        swept = self._unnamed()
        for name in swept:
            (self.root / name).unlink(missing_ok=True)
            remove_empty(self.root, (self.root / name).parent)
        self.count_waiting()
        return swept

    def strays(self) -> list[str]:
        """Files of ours that nobody names, and that neither a commit at work nor the trash accounts for."""
        with self.care:  # no merge is at work
            return self._unnamed()

    def _unnamed(self) -> list[str]:
        # In this order: a file seen here is either still being written then, or named in the catalogue after that.
        found = [path for path in sorted(self.root.glob("*/*/*")) if _OURS.fullmatch(path.name)]
        with self._guard:
            expected = {name for name, _ in self._trash} | self._writing
        with self.database.reading() as connection:
            expected.update(name for (name,) in connection.execute("SELECT path FROM part WHERE path IS NOT NULL"))
        known = {Path(name).with_suffix("") for name in expected}
        names = (path.relative_to(self.root) for path in found)
        return [str(name) for name in names if name.with_suffix("") not in known]

    def close(self) -> None:
        """Unlink what waits for it; a reader still at work keeps its files until the next start."""
        self.empty_trash(grace=0.0)


def _by_dataset(batches: list[Batch]) -> dict[str, list[pa.Table]]:
    found: dict[str, list[pa.Table]] = {}
    for batch in batches:
        if batch.rows:
            found.setdefault(batch.dataset, []).append(batch.table)
    return found


def _tables(waiting: list[parts.Part]) -> list[pa.Table]:
    """The rows of small parts."""
    from csirt.stores.embedded.lake.encode import from_ipc

    return [from_ipc(part.data or b"") for part in waiting]


def _described(dataset: str, tables: list[pa.Table], received: int) -> Iterator[tuple[parts.Part, pa.Table]]:
    """The tables below each other, in as few as their columns allow, each with a part that is not yet written."""
    from csirt.model.stack import stack
    from csirt.stores.embedded.lake.describe import describe

    for table in stack(tables):
        yield describe(dataset, table, received), table
