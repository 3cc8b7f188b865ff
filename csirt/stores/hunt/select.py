"""Events that pass a question, in (@timestamp, event.id) order, with only overlapping parts in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model import ecs
from csirt.model.batch import Array, Batch, constant, duplicates, event_ids
from csirt.model.filter import Filter
from csirt.model.search import Search
from csirt.stores.embedded.lake.ordered import NEVER, Keep, Keys, rendered


class Hunted(Protocol):
    """Where events are looked for: a store's lake, or a cluster."""

    def events(
        self,
        dataset: str | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        columns: list[str] | None = None,
    ) -> Iterator[Batch]:
        """Event tables, rows with event time in [since, until). `columns`: as `Store.events` has it."""

    def in_time_order(
        self, dataset: str | None, *, since: int | None, until: int | None, keep: Keep, keys: Keys
    ) -> Iterator[list[Batch]]:
        """Rows that `keep` lets through, in groups of batches that follow each other in event time."""


@runtime_checkable
class Adds(Protocol):
    """Where events are looked for, and added up there."""

    def sums(self, question: Question, fields: list[str]) -> tuple[pa.Table, Hunted] | None:
        """Sums per value of the fields of some of the events (`+events` and other columns that begin with +), and where
        to look for the others; None when all are to be added up here."""


@dataclass(slots=True)
class Question:
    """What to look for. `since`, `until`: event time, microseconds, [since, until). `where`: the filter grammar.
    `match`: rows a rule matches, as a bool array. `limit`: at most so many events. `duplicates`: also records of flows
    that other routers' records count already; without it `left_out` counts them. `routed`: the only datasets that
    `match` says anything of. `search`: given the types of a cluster's fields, what finds at least those rows there."""

    dataset: str | None = None
    since: int | None = None
    until: int | None = None
    where: Filter | None = None
    match: Callable[[Batch], Array] | None = None
    limit: int | None = None
    duplicates: bool = False
    left_out: int = 0
    routed: frozenset[str] | None = None
    search: Callable[[Mapping[str, str]], Search | None] | None = None

    def keep(self, batch: Batch) -> Batch:
        """The rows of a batch that pass."""
        if self.where is not None and batch.rows:
            passes = self.where.mask(with_computed(batch, self.where.names()))
            batch = Batch(batch.dataset, batch.table.filter(pa.array(passes)))
        if self.match is not None and batch.rows:
            batch = Batch(batch.dataset, batch.table.filter(pa.array(self.match(batch))))
        twice = None if self.duplicates else duplicates(batch.table)
        if twice is not None:
            self.left_out += int(twice.sum())
            batch = Batch(batch.dataset, batch.table.filter(pa.array(~twice)))
        return batch


def with_computed(batch: Batch, names: set[str]) -> pa.Table:
    """The batch's table with those of the named columns that are computed on read."""
    table = batch.table
    have = set(table.column_names)
    for name in sorted(names - have):
        if name == "event.dataset":
            table = table.append_column(name, constant(batch.dataset, batch.rows))
        elif name == "event.id":
            table = table.append_column(name, event_ids(table))
        elif name == "network.transport" and "network.iana_number" in have:
            table = table.append_column(name, transport(table))
    return table


def transport(table: pa.Table) -> pa.DictionaryArray:
    """`network.transport` of flows: the protocol's name, null for one without."""
    number = table.column("network.iana_number")
    numbers = np.asarray(pc.fill_null(number, 0).to_numpy())
    known = list(ecs.TRANSPORT)
    codes = np.full(256, -1, np.int32)
    codes[known] = np.arange(len(known))
    indices = codes[numbers]
    array = pa.array(indices, mask=indices < 0)
    return pa.DictionaryArray.from_arrays(array, pa.array([ecs.TRANSPORT[protocol] for protocol in known]))


def by_time(table: pa.Table) -> tuple[Array, ...]:
    """Sort keys of the order (@timestamp, event.id); rows without a time come first."""
    time = pc.fill_null(pc.cast(table.column("@timestamp"), pa.int64()), NEVER)
    segment = pc.cast(table.column("csirt.segment"), pa.string())
    names = np.asarray(segment.to_numpy(zero_copy_only=False)).astype("S16")
    return np.asarray(time.to_numpy()), names, np.asarray(table.column("csirt.ordinal").to_numpy())


BY_TIME: Keys = by_time


def groups(store: Hunted, question: Question) -> Iterator[list[Batch]]:
    """Batches that pass, in groups that follow each other in time; within a group nothing is sorted yet."""
    return store.in_time_order(
        question.dataset, since=question.since, until=question.until, keep=question.keep, keys=BY_TIME
    )


@dataclass(slots=True)
class Outcome:
    """How many events were given out, and whether the limit cut any off."""

    count: int = 0
    truncated: bool = False


def lines(store: Hunted, question: Question, outcome: Outcome) -> Iterator[bytes]:
    """NDJSON lines without line ends, as `decode --to ndjson` writes them."""
    for group in groups(store, question):
        for _, line in rendered(group, BY_TIME):
            if question.limit is not None and outcome.count >= question.limit:
                outcome.truncated = True
                return
            outcome.count += 1
            yield line.rstrip(b"\n")


def tables(store: Hunted, question: Question, outcome: Outcome) -> Iterator[Batch]:
    """The same events as tables in the lake's physical form, one dataset at a time within a stretch of time."""
    for group in groups(store, question):
        total = sum(batch.rows for batch in group)
        room = total if question.limit is None else question.limit - outcome.count
        chosen = _first(group, room) if room < total else group
        for batch in chosen:
            if batch.rows:
                order = np.lexsort(BY_TIME(batch.table)[::-1])
                outcome.count += batch.rows
                yield Batch(batch.dataset, batch.table.take(pa.array(order)))
        if room < total:
            outcome.truncated = True
            return


def _first(group: list[Batch], room: int) -> list[Batch]:
    """The first `room` rows of a group over all its batches."""
    keys = [BY_TIME(batch.table) for batch in group]
    order = np.lexsort([np.concatenate([part[index] for part in keys]) for index in (2, 1, 0)])
    chosen = np.zeros(len(order), bool)
    chosen[order[: max(room, 0)]] = True
    ends = np.cumsum([batch.rows for batch in group])[:-1]
    return [
        Batch(batch.dataset, batch.table.filter(pa.array(mask)))
        for batch, mask in zip(group, np.split(chosen, ends), strict=True)
    ]
