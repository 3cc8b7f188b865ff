"""The logical columns of a batch as values of a program: stored ones, computed ones, and the raw elements behind ECS
columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model import community, ecs
from csirt.model.batch import Array, Batch, address_parts
from csirt.model.ndjson_kinds import ADDRESS, IDENTITY, INT, RELATED, TEXT, TIME, UINT
from csirt.model.ndjson_program import Column, Pool, texts

# A constant is a Python string of JSON text; else each row has at most one of the columns.
Value: TypeAlias = str | tuple[Column, ...]
_INTERNAL = {ecs.DUE, "csirt.segment", "csirt.ordinal", "netflow.elements", "netflow.exporter.boot"}
MODULE = "csirt"
LONGEST = (2**63 - 1) // 1000  # microseconds whose nanoseconds are a number of 64 bits


def quote(text: str) -> str:
    """A JSON string."""
    return orjson.dumps(text).decode()


def flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """In one piece."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array


def raw(array: pa.Array, kind: str = "") -> Array:
    """The numbers of an Arrow column as they lie there; anything under a null."""
    if not len(array):
        return np.empty(0, kind or np.int64)
    wanted = np.dtype(kind or array.type.to_pandas_dtype())
    return np.frombuffer(array.buffers()[1], wanted)[array.offset : array.offset + len(array)]


def known(array: pa.Array) -> Array | None:
    """Which rows have a value; None: all."""
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False)) if array.null_count else None


def column_of(array: pa.Array, pool: Pool) -> Column:
    """Any Arrow column."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _coded(array, pool)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Column(TEXT, (pool.add(array) + np.arange(len(array)),), known(array))
    if pa.types.is_timestamp(kind):
        return Column(TIME, (raw(array, "i8"),), known(array))
    if pa.types.is_boolean(kind):
        names = pool.add(pa.array(["false", "true"]), quote=False)
        states = np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False))
        return Column(TEXT, (names + states.astype(np.int64),), known(array))
    if pa.types.is_integer(kind):
        return Column(UINT if pa.types.is_unsigned_integer(kind) else INT, (raw(array),), known(array))
    if pa.types.is_list(kind):
        return _listed(array, pool)
    if pa.types.is_floating(kind):
        array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, kind))
    return _rare(array, pool)


def _coded(array: pa.DictionaryArray, pool: Pool) -> Column:
    """Repeated text; each name is written once, unless there are more of them than rows."""
    names = array.dictionary
    if not pa.types.is_string(names.type) or len(names) > len(array):
        return column_of(array.dictionary_decode(), pool)
    places, valid = raw(array.indices), known(array.indices)
    if names.null_count:
        named = names.is_valid().to_numpy(zero_copy_only=False)
        safe = places if valid is None else np.where(valid, places, 0)
        valid = named[safe] if valid is None else named[safe] & valid
    return Column(TEXT, (places.astype(np.int64) + pool.add(names),), valid)


def _listed(array: pa.ListArray, pool: Pool) -> Column:
    ends, own = raw(array.offsets), Pool()
    inner = flat(array.values.slice(ends[0], ends[-1] - ends[0]))
    items = pc.fill_null(texts(own, (column_of(inner, own),), len(inner)), "null").cast(pa.string())
    mask = pc.is_null(array) if array.null_count else None
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends - ends[0]), items, mask=mask), ",")
    return _as_they_are(pc.binary_join_element_wise("[", joined, "]", ""), pool)


def _rare(array: pa.Array, pool: Pool) -> Column:
    """Once per distinct value."""
    distinct = array.dictionary_encode()
    names = [None if item is None else orjson.dumps(item).decode() for item in distinct.dictionary.to_pylist()]
    return _as_they_are(pc.take(pa.array(names, pa.string()), distinct.indices), pool)


def _as_they_are(array: pa.Array, pool: Pool) -> Column:
    return Column(TEXT, (pool.add(array, quote=False) + np.arange(len(array)),), known(array))


def _picked(names: list[str | None], codes: Array, valid: Array | None, pool: Pool) -> Column:
    """Row i has the JSON text `names[codes[i]]`, if there is one."""
    named = np.array([name is not None for name in names])
    first = pool.add(pa.array([name or "" for name in names], pa.string()), quote=False)
    codes = codes.astype(np.int64) if valid is None else np.where(valid, codes, 0).astype(np.int64)
    return Column(TEXT, (codes + first,), named[codes]).where(valid)


@dataclass(slots=True)
class _Read:
    """The columns of one table, as they are found."""

    table: pa.Table
    pool: Pool = field(default_factory=Pool)
    columns: dict[str, Value] = field(default_factory=dict)
    addresses: dict[str, Column] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.table.column_names

    def array(self, name: str) -> pa.Array:
        """A stored column."""
        return flat(self.table.column(name))


def logical(batch: Batch) -> tuple[dict[str, Value], Pool]:
    """Every logical column of the batch by its dotted name, stored or computed, and the texts they mean."""
    read = _Read(batch.table)
    for name in ecs.ADDRESSES:
        if f"{name}:f" in read:
            read.addresses[name] = _address(batch.table, name)
            read.columns[name] = (read.addresses[name],)
    parts = {part for name in ecs.ADDRESSES for part in ecs.physical(name)}
    for name in batch.table.column_names:
        if name not in _INTERNAL and name not in parts:
            read.columns[name] = (column_of(read.array(name), read.pool),)
    _common(batch.dataset, read)
    if batch.dataset == "flow":
        _flow(read)
    if "netflow.exporter.version" in read and "observer.ip" in read:
        version = known(read.array("netflow.exporter.version"))
        read.columns["netflow.exporter.address"] = _where(read.columns["observer.ip"], version)
    if "netflow.elements" in read:
        _elements(read)
    return read.columns, read.pool


def _where(value: Value, mask: Array | None) -> tuple[Column, ...]:
    assert not isinstance(value, str)
    return tuple(column.where(mask) for column in value)


def _address(table: pa.Table, name: str) -> Column:
    family, high, low = address_parts(table, name)
    there = (family == 4) | (family == 6)
    if there.all():
        return Column(ADDRESS, (family, high, low))
    return Column(ADDRESS, (np.where(there, family, 0), high, low), there)


def _common(dataset: str, read: _Read) -> None:
    kind, category, type_ = ecs.CATEGORY[dataset]
    read.columns["event.id"] = (_identity(read),)
    read.columns["event.dataset"] = quote(dataset)
    read.columns["event.module"] = quote(MODULE)
    read.columns["event.kind"] = quote(kind)
    read.columns["event.category"] = f"[{quote(category)}]"
    read.columns["event.type"] = f"[{quote(type_)}]"
    read.columns["ecs.version"] = quote(ecs.ECS_VERSION)
    ends = [read.addresses[name] for name in ("source.ip", "destination.ip") if name in read.addresses]
    if not ends:
        return
    other = ends[1].numbers if len(ends) == 2 else ()
    read.columns["related.ip"] = (Column(RELATED, ends[0].numbers, _any(tuple(ends)), other),)


def _identity(read: _Read) -> Column:
    segment, ordinal = read.array("csirt.segment"), read.array("csirt.ordinal")
    segment = segment if pa.types.is_dictionary(segment.type) else segment.dictionary_encode()
    places = raw(segment.indices).astype(np.int64) + read.pool.add(segment.dictionary, quote=False)
    return Column(IDENTITY, (places, raw(ordinal)), known(segment)).where(known(ordinal))


def _flow(read: _Read) -> None:
    columns = read.columns
    columns["event.end"] = columns["@timestamp"]
    if "event.start" in read:
        end, start = read.array("@timestamp"), read.array("event.start")
        length = raw(end, "i8") - raw(start, "i8")
        sound = (raw(end, "i8") >= raw(start, "i8")) & (length >= 0) & (length <= LONGEST)
        duration = Column(INT, (length * 1000,), sound)
        columns["event.duration"] = (duration.where(known(end)).where(known(start)),)
    for ours, theirs in (("source", "network"), ("destination", "csirt.flow.reverse")):
        for unit in ("bytes", "packets"):
            if f"{theirs}.{unit}" in read:
                columns[f"{ours}.{unit}"] = columns[f"{theirs}.{unit}"]
    if "source.ip" in read.addresses:
        source = read.addresses["source.ip"]
        names = [None] * 4 + ['"ipv4"', None, '"ipv6"']
        columns["network.type"] = (_picked(names, source.numbers[0], source.valid, read.pool),)
    if "network.iana_number" in read and "network.transport" not in read:
        number = read.array("network.iana_number")
        names = [None if n not in ecs.TRANSPORT else quote(ecs.TRANSPORT[n]) for n in range(256)]
        columns["network.transport"] = (_picked(names, raw(number), known(number), read.pool),)
    if "network.community_id" not in read:
        ids = community.ids(read.table)
        if ids is not None:
            columns["network.community_id"] = (column_of(ids, read.pool),)


def _elements(read: _Read) -> None:
    """`netflow.<element>` of elements that live in an ECS column only, as the `netflow.elements` column says per row:
    `element=column`, with `|mac` for ECS's way of writing MAC addresses and `|uptime` for milliseconds since the boot
    time. An element that also has a stored column (raw counters of sampled flows) keeps that where it is not null."""
    column = read.array("netflow.elements")
    column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)
    used: set[int] = set((np.flatnonzero(np.bincount(codes + 1)) - 1).tolist())
    lists = column.dictionary.take(pa.array(sorted(used - {-1}), pa.int64())).to_pylist()
    wanted: dict[tuple[str, str, str], list[int]] = {}
    for code, text in zip(sorted(used - {-1}), lists, strict=True):
        for item in (text or "").split():
            name, _, source = item.partition("=")
            target, _, way = source.partition("|")
            wanted.setdefault((name, target, way), []).append(code)
    masks: dict[frozenset[int], Array | None] = {frozenset(used): None}
    for (name, target, way), numbers in wanted.items():
        if target not in read and target not in read.addresses:
            continue
        rows = frozenset(numbers)
        if rows not in masks:
            member = np.zeros(len(column.dictionary) + 1, np.bool_)
            member[numbers] = True
            masks[rows] = member[codes]  # a null is -1: the last
        value = _where(_raw(read, target, way), masks[rows])
        key = f"netflow.{name}"
        stored = read.columns.get(key)
        read.columns[key] = value if stored is None else _either(stored, value)


def _either(first: Value, second: tuple[Column, ...]) -> Value:
    """The first where it has a value."""
    if isinstance(first, str):
        return first
    found = _any(first)
    return first if found is None else (*first, *_where(second, ~found))


def _any(columns: tuple[Column, ...]) -> Array | None:
    """The rows that have one of them; None: all."""
    masks = [column.valid for column in columns if column.valid is not None]
    if len(masks) < len(columns):
        return None
    return np.asarray(np.logical_or.reduce(masks))


def _raw(read: _Read, target: str, way: str) -> Value:
    if way == "mac":
        macs = read.array(target)
        macs = macs if pa.types.is_dictionary(macs.type) else macs.dictionary_encode()
        names = pc.ascii_lower(pc.replace_substring(macs.dictionary, "-", ":"))
        return (column_of(pa.DictionaryArray.from_arrays(macs.indices, names), read.pool),)
    if way == "uptime":
        array, boot = read.array(target), read.array("netflow.exporter.boot")
        booted, since = known(boot), raw(boot, "i8")
        since = since if booted is None else np.where(booted, since, 0)
        return (Column(INT, (((raw(array, "i8") - since) // 1000) & 0xFFFFFFFF,), known(array)),)
    return read.columns[target]
