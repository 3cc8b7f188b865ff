"""Enriched flow rows as the arrays that pairing works on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.biflow import describe as one_pass
from csirt.biflow.layout import NEVER, Rows
from csirt.model import ecs
from csirt.model.batch import Array, address_parts

_NAMES = 100_000
SAMPLES = 100  # exporter versions from here on are sFlow's: samples of packets, not records of flows
COLUMNS = frozenset({
    "@timestamp", ecs.DUE, "csirt.segment", "csirt.ordinal", "event.start", "observer.ip", "observer.name",
    "source.port", "destination.port", "network.iana_number", "network.bytes", "network.packets", "network.direction",
    "flow.tcp_flags", "netflow.exporter.version", "netflow.exporter.domain", "icmp.type", "netflow.biflow_direction",
    "csirt.flow.sampling_rate", "csirt.flow.reverse.packets", "csirt.source.member.id", "csirt.destination.member.id",
    *ecs.physical("source.ip"), *ecs.physical("destination.ip"),
})  # fmt: skip


class Points:
    """Observation points and members as numbers: of their names, so that they are the same after a restart. `order`:
    the preferred exporters' places by address; others follow by address."""

    def __init__(self, order: Mapping[str, int]) -> None:
        self._order = order
        self._known: dict[tuple[str, ...], int] = {}
        self._names: dict[int, tuple[str, ...]] = {}

    def number(self, *name: str) -> int:
        """The number of a name."""
        if name not in self._known:
            text = "\0".join(name).encode()
            self._known[name] = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
            self._names[self._known[name]] = name
        return self._known[name]

    def ranks(self, points: Array) -> Array:
        """The place of each observation point among those given, the preferred first."""
        if not len(points):
            return np.empty(0, np.int32)
        encoded = pa.array(points).dictionary_encode()
        names = [self._names[number] for number in encoded.dictionary.to_pylist()]
        order = sorted(range(len(names)), key=lambda index: (self._order.get(names[index][1], 1 << 30), names[index]))
        places = np.empty(len(names), np.int32)
        places[order] = np.arange(len(names))
        ranked: Array = places[np.asarray(encoded.indices)]
        return ranked

    def tidy(self) -> None:
        """Forget names when they are very many; to be called when no number of one is in use."""
        if len(self._known) > _NAMES:
            self._known, self._names = {}, {}


def fill(found: Rows, table: pa.Table, points: Points) -> Array:
    """Fill in the rows of a table, in its order, not ranked yet; which of them can be paired at all."""
    due, time = _times(table, ecs.DUE), _times(table, "@timestamp")
    version = _numbers(table, "netflow.exporter.version", np.uint8)
    source, destination = address_parts(table, "source.ip"), address_parts(table, "destination.ip")
    given: Any = (
        *source, _numbers(table, "source.port", np.uint16), _members(table, "source", points),
        *destination, _numbers(table, "destination.port", np.uint16), _members(table, "destination", points),
        _numbers(table, "network.iana_number", np.uint8), _numbers(table, "flow.tcp_flags", np.int32, -1),
        _numbers(table, "icmp.type", np.int16, -1), _numbers(table, "csirt.flow.reverse.packets", np.int64, -1),
        _numbers(table, "netflow.biflow_direction", np.uint8), _numbers(table, "network.bytes", np.uint64),
        _numbers(table, "network.packets", np.uint64), _numbers(table, "csirt.flow.sampling_rate", np.uint32), version,
        _points(table, version, points), _segments(table), _numbers(table, "csirt.ordinal", np.uint64), time,
        _times(table, "event.start", time), due, one_pass.ANSWERING, one_pass.EXCHANGES, one_pass.EXCHANGES6,
    )  # fmt: skip
    arguments: Any = (*map(_fixed, given), found.key, found.records)
    one_pass.describe(*arguments)
    usable: Array = (source[0] > 0) & (destination[0] > 0) & (version < SAMPLES) & (due != NEVER)
    return usable


def _fixed(array: Array) -> Array:
    """A contiguous read-only view: numba would compile a loop again for every mixture."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _numbers(table: pa.Table, name: str, kind: type, missing: int = 0) -> Array:
    """A column as numbers, `missing` where there is none."""
    if name not in table.column_names:
        return np.full(table.num_rows, missing, kind)
    column = table.column(name)
    if not column.null_count:
        return np.asarray(column.to_numpy()).astype(kind, copy=False)
    values: Array = np.asarray(pc.fill_null(column, pa.scalar(0, column.type)).to_numpy()).astype(kind)
    if missing:
        values[np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))] = missing
    return values


def _times(table: pa.Table, name: str, missing: Array | None = None) -> Array:
    """A column of times in microseconds; NEVER, or what is in `missing`, where there is none."""
    if name not in table.column_names:
        return np.full(table.num_rows, NEVER, np.int64) if missing is None else missing
    column = pc.cast(table.column(name), pa.int64())
    values = np.asarray(pc.fill_null(column, NEVER).to_numpy())
    return values if missing is None or not column.null_count else np.where(values == NEVER, missing, values)


def _codes(table: pa.Table, name: str) -> tuple[Array, list[str | None]]:
    """A text column as numbers and what they stand for; the last stands for no text."""
    if name not in table.column_names:
        return np.zeros(table.num_rows, np.int32), [None]
    column = table.column(name)
    if not pa.types.is_dictionary(column.type):
        column = pc.cast(column, pa.string()).dictionary_encode()
    joined = column.unify_dictionaries().combine_chunks()
    if isinstance(joined, pa.ChunkedArray):
        joined = joined.chunk(0) if joined.num_chunks else pa.array([], ecs.TEXT)
    texts: list[str | None] = joined.dictionary.to_pylist()
    return np.asarray(pc.fill_null(joined.indices, len(texts)).to_numpy(zero_copy_only=False)), [*texts, None]


def _members(table: pa.Table, end: str, points: Points) -> Array:
    codes, names = _codes(table, f"csirt.{end}.member.id")
    numbers: Array = np.array([0 if name is None else points.number("member", name) for name in names], np.uint64)
    return numbers[codes]


def _segments(table: pa.Table) -> Array:
    codes, names = _codes(table, "csirt.segment")
    numbers: Array = np.array([int(name, 16) if name else 0 for name in names], np.uint64)
    return numbers[codes]


def _points(table: pa.Table, version: Array, points: Points) -> Array:
    """The observation point of each row: exporter, version, domain, metering direction; of flows metered from packets
    the capture point."""
    codes = np.zeros(table.num_rows, np.int64)
    named = []
    for name in ("observer.ip", "observer.name", "network.direction"):
        mine, texts = _codes(table, name)
        codes = codes * len(texts) + mine
        named.append((mine, texts))
    domain = _numbers(table, "netflow.exporter.domain", np.uint32)
    packed = pa.array(((codes << 8 | version) << 32) + domain)  # there are few texts: some bits each
    place = np.asarray(packed.dictionary_encode().indices)
    first = np.zeros(int(place.max()) + 1 if len(place) else 0, np.int64)
    first[place[::-1]] = np.arange(len(place) - 1, -1, -1)
    names = [_name(named, int(version[row]), int(domain[row]), int(row)) for row in first]
    numbers: Array = np.array([points.number("point", *name) for name in names], np.uint64)
    found: Array = numbers[place]
    return found


def _name(named: list[tuple[Array, list[str | None]]], version: int, domain: int, row: int) -> tuple[str, ...]:
    """The name of a row's observation point."""
    exporter, observer, direction = (texts[codes[row]] or "" for codes, texts in named)
    return exporter, str(version), str(domain), direction, observer if version == 0 else ""
