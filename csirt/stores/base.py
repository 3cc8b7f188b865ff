"""The store contract: what every home of events, alerts, incidents and cases promises.

One `commit` is one transaction (decision 4): all of it or none of it. Implementations pass `tests/stores/contract/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from csirt.model.audit import AuditEntry
    from csirt.model.batch import Batch
    from csirt.model.chunk import Position
    from csirt.model.records import Alert, Case, CaseEvent, Incident, Notification, Receipt, Run


@dataclass(slots=True)
class Commit:
    """Everything one step changes.

    `position` with `previous` (the offset the chunk started from): refused with Conflict unless the committed offset
    equals `previous`. `states`: opaque state by key (`decoder:<source>`, `windows`, `watermark`). `hits`: matches that
    wait for the watermark, with the event time they cover. `consumed`: ids of hit blobs this step used up. `fresh`:
    rows that are stored and seen at once, but wait to be settled at the time in their column `csirt.due`, which nobody
    sees. `settled`: the fresh rows that `batches` of this commit take the place of.
    """

    batches: list[Batch] = field(default_factory=list)
    fresh: list[Batch] = field(default_factory=list)
    settled: Settled | None = None
    position: Position | None = None
    previous: int = 0
    states: dict[str, bytes | None] = field(default_factory=dict)
    hits: pa.Table | None = None
    consumed: list[int] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    case_events: list[CaseEvent] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    ready: Any = None  # what `Store.prepare` made of the batches and hits
    noted: Any = None  # what a store with a cluster will send of the batches
    made: Any = None  # what it will send of the documents


@dataclass(slots=True)
class Settled:
    """Of each part in `rows` (its id, and how many rows), what is due at or before `until` and was still waiting.
    Refused with Conflict when any of them has changed since it was read."""

    until: int
    rows: dict[int, int]


@dataclass(slots=True)
class Waiting:
    """Rows of one dataset that were committed together, some of which wait to be settled. `least`, `greatest`: bounds
    of when those are due, in microseconds. `rows`: how many still wait. `load`: those rows, with `csirt.due` and only
    the physical columns asked for."""

    id: int
    dataset: str
    least: int
    greatest: int
    rows: int
    load: Callable[[set[str] | None], pa.Table]


@dataclass(slots=True)
class PendingHits:
    """One stored blob of hits."""

    id: int
    least: int
    greatest: int
    hits: pa.Table


class Store(Protocol):
    """Reads see the last commit. Documents are returned as plain data; `find` filters inside the store."""

    def prepare(self, change: Commit) -> None:
        """Do what of a commit needs no transaction: encode, write and sync its rows and hits. Several threads may; a
        change that was not prepared is when it is committed. What was prepared is committed, or discarded."""

    def discard(self, change: Commit) -> None:
        """Take away what was prepared and will not be committed."""

    def commit(self, change: Commit) -> None:
        """Apply one step atomically. Assigns case and run numbers (`C-2026-0001`, `R-2026-0001`) to new ones, the
        audit chain's seq and hash, and optimistic versions of cases: a case whose stored version is not
        `version - <its new case_events>` raises Conflict. Raises Conflict on a refused hand-over."""

    def position(self, source: str, fingerprint: str) -> Position | None:
        """The committed position of an input."""

    def positions(self) -> list[Position]:
        """All committed positions."""

    def find_input(self, fingerprint: str) -> Position | None:
        """The position of that content under whatever source read it first."""

    def state(self, key: str) -> bytes | None:
        """A committed state."""

    def pending(self, until: int, rows: int | None = None) -> list[PendingHits]:
        """Blobs of hits whose least event time is at or before `until`, oldest commit first. `rows`: only as many, by
        least event time, as hold for certain the `rows` earliest hits (by weight, `model.hits.weights`) and one more,
        where there are so many."""

    def waiting(self, until: int | None = None) -> AbstractContextManager[list[Waiting]]:
        """What has fresh rows that wait and may be due at or before `until`, by least due, then in the order of their
        commits; it can be loaded as long as the block runs."""

    def counts(self) -> dict[str, int]:
        """Accumulated counters of all commits (`decode.in`, `decode.dropped.<reason>`, …)."""

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        """One document by id: alert, incident, case, run, receipt, notification. Aliases of incidents resolve."""

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
        """Documents of a kind. `where`: equality on indexed fields (a list means any of), `<field>__gte`, `__lt`;
        severities compare and order by rank. Raises Usage for a field that is not indexed."""

    def count(self, kind: str, where: dict[str, Any] | None = None) -> int:
        """How many documents `find` would give, without reading them."""

    def having(self, kind: str, ids: Iterable[str]) -> set[str]:
        """Those of the ids of which there is a document, without reading it."""

    def incidents_with(self, entities: list[tuple[str, str]], since: int, until: int) -> list[dict[str, Any]]:
        """Open incidents (not merged) that have any of the (kind, value) entities and overlap [since, until]. A pair of
        kind `alert` finds the incident that the alert of that id says it is in, or the one that took that over."""

    def case_events(self, case: str) -> list[dict[str, Any]]:
        """All events of a case in order."""

    def resolve(self, kind: str, text: str) -> list[str]:
        """Ids whose number or id starts with `text` (case-insensitive); at most 20."""

    def events(
        self,
        dataset: str | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        ids: list[str] | None = None,
        columns: list[str] | None = None,
    ) -> Iterator[Batch]:
        """Event tables, rows with event time in [since, until) or of these ids. `columns`: logical names; time and
        identity are always there, columns a table does not have are left out."""

    def audit(self, since_seq: int = 0, limit: int | None = None) -> Iterator[AuditEntry]:
        """The audit chain in order."""

    def append_audit(self, entries: list[AuditEntry]) -> None:
        """Add entries outside a commit (accesses, refusals)."""

    def dump(self, kinds: list[str] | None = None) -> Iterator[bytes]:
        """The canonical dump, one JSON line per item, sorted bytewise by (kind, id)."""

    def leading(self) -> AbstractContextManager[bool]:
        """Whether this process may act on what all see (analyse, tell people, expire): of several that share a store
        one may at a time. What is committed in the block is refused with Conflict when another has taken over."""

    def maintain(self) -> None:
        """Compaction and sweeping, called by the scheduler."""

    def close(self) -> None:
        """Release the owner lock and every handle."""
