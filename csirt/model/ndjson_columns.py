"""The logical columns of a batch as JSON text: stored ones, computed ones, and the raw elements behind ECS columns."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model import community, ecs
from csirt.model.address_columns import texts as address_texts
from csirt.model.batch import Array, Batch, address_parts, event_ids

# A constant is a Python string of JSON text; anything else an Arrow string array of JSON text, null where absent.
Value: TypeAlias = Any
_INTERNAL = {ecs.DUE, "csirt.segment", "csirt.ordinal", "netflow.elements", "netflow.exporter.boot"}
MODULE = "csirt"
_ESCAPED = r'[\x00-\x1f"\\]'  # what JSON strings must not hold as it is (RFC 8259, section 7)


class Texts:
    """JSON texts of columns."""

    def quote(self, text: str) -> str:
        """A JSON string."""
        return orjson.dumps(text).decode()

    def column(self, column: pa.ChunkedArray | pa.Array) -> pa.Array:
        """Any column as JSON text."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
        kind = array.type
        if pa.types.is_dictionary(kind):
            return pc.take(self.column(array.dictionary), array.indices)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self._strings(array)
        if pa.types.is_timestamp(kind):
            return iso(array)
        if pa.types.is_boolean(kind):
            return pc.if_else(array, "true", "false")
        if pa.types.is_integer(kind):
            return array.cast(pa.string())
        if pa.types.is_list(kind):
            return self._lists(array)
        if pa.types.is_floating(kind):
            array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, kind))
        distinct = array.dictionary_encode()
        texts = [None if item is None else orjson.dumps(item).decode() for item in distinct.dictionary.to_pylist()]
        return pc.take(pa.array(texts, pa.string()), distinct.indices)

    def _strings(self, array: pa.Array) -> pa.Array:
        if not pc.any(pc.match_substring_regex(array, _ESCAPED)).as_py():
            return pc.binary_join_element_wise('"', array, '"', "")
        distinct = array.dictionary_encode()
        texts = [None if item is None else self.quote(item) for item in distinct.dictionary.to_pylist()]
        return pc.take(pa.array(texts, pa.string()), distinct.indices)

    def _lists(self, array: pa.Array) -> pa.Array:
        flat = pc.fill_null(self.column(array.values), "null")
        mask = pc.is_null(array) if array.null_count else None
        joined = pc.binary_join(pa.ListArray.from_arrays(array.offsets, flat, mask=mask), ",")
        return pc.binary_join_element_wise("[", joined, "]", "")


def iso(array: pa.Array) -> pa.Array:
    """Timestamps (us) as quoted ISO 8601 UTC with `Z`; the fraction only where it is not zero."""
    numbers = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    seconds, fraction = np.divmod(numbers, 1_000_000)
    unique, inverse = np.unique(seconds, return_inverse=True)
    days = np.datetime_as_string(unique.astype("datetime64[s]")) if len(unique) else np.empty(0, "U19")
    text = pc.take(pa.array(days.astype(str), pa.string()), pa.array(inverse.reshape(-1).astype(np.int32)))
    if fraction.any():
        digits = pc.utf8_slice_codeunits(pa.array(fraction + 1_000_000).cast(pa.string()), 1)
        tail = pc.if_else(pa.array(fraction == 0), 'Z"', pc.binary_join_element_wise(".", digits, 'Z"', ""))
    else:
        tail = 'Z"'
    full = pc.binary_join_element_wise('"', text, tail, "")
    return pc.if_else(array.is_valid(), full, pa.scalar(None, pa.string())) if array.null_count else full


def logical(batch: Batch) -> dict[str, Value]:
    """Every logical column of the batch by its dotted name, stored or computed."""
    table, texts = batch.table, Texts()
    addresses = {name: _address(table, name) for name in ecs.ADDRESSES if f"{name}:f" in table.column_names}
    columns: dict[str, Value] = {name: texts.column(column) for name, column in addresses.items()}
    parts = {part for name in ecs.ADDRESSES for part in ecs.physical(name)}
    for name in table.column_names:
        if name not in _INTERNAL and name not in parts:
            columns[name] = texts.column(table.column(name))
    _common(batch, columns, addresses)
    if batch.dataset == "flow":
        _flow(table, columns)
    if {"netflow.exporter.version", "observer.ip"} <= set(table.column_names):
        known = table.column("netflow.exporter.version").combine_chunks().is_valid()
        columns["netflow.exporter.address"] = pc.if_else(known, columns["observer.ip"], pa.scalar(None, pa.string()))
    if "netflow.elements" in table.column_names:
        _elements(table, columns, addresses)
    return columns


def _address(table: pa.Table, name: str) -> pa.DictionaryArray:
    return address_texts(*address_parts(table, name))


def _common(batch: Batch, columns: dict[str, Value], addresses: dict[str, pa.DictionaryArray]) -> None:
    kind, category, type_ = ecs.CATEGORY[batch.dataset]
    quote = Texts().quote
    columns["event.id"] = pc.binary_join_element_wise('"', event_ids(batch.table), '"', "")
    columns["event.dataset"] = quote(batch.dataset)
    columns["event.module"] = quote(MODULE)
    columns["event.kind"] = quote(kind)
    columns["event.category"] = f"[{quote(category)}]"
    columns["event.type"] = f"[{quote(type_)}]"
    columns["ecs.version"] = quote(ecs.ECS_VERSION)
    ends = [columns[name] for name in ("source.ip", "destination.ip") if name in addresses]
    if len(ends) == 2:
        first, second = ends
        both = pc.if_else(pc.equal(first, second), first, pc.binary_join_element_wise(first, second, ","))
        both = pc.coalesce(both, first, second)
    elif ends:
        both = ends[0]
    else:
        return
    columns["related.ip"] = pc.binary_join_element_wise("[", both, "]", "")


def _flow(table: pa.Table, columns: dict[str, Value]) -> None:
    names = set(table.column_names)
    columns["event.end"] = columns["@timestamp"]
    if "event.start" in names:
        end = table.column("@timestamp").combine_chunks().cast(pa.int64())
        start = table.column("event.start").combine_chunks().cast(pa.int64())
        length = pc.subtract(end, start)
        length = pc.if_else(pc.less(length, 0), pa.scalar(None, pa.int64()), length)
        columns["event.duration"] = pc.multiply(length, 1000).cast(pa.string())
    for ours, theirs in (("source", "network"), ("destination", "csirt.flow.reverse")):
        for unit in ("bytes", "packets"):
            if f"{theirs}.{unit}" in names:
                columns[f"{ours}.{unit}"] = columns[f"{theirs}.{unit}"]
    if "source.ip:f" in names:
        family = table.column("source.ip:f").combine_chunks()
        types = pa.array([None] * 4 + ['"ipv4"', None, '"ipv6"'], pa.string())
        columns["network.type"] = pc.take(types, family.cast(pa.int32()))
    if "network.iana_number" in names and "network.transport" not in names:
        number = table.column("network.iana_number").combine_chunks()
        transport = [None if n not in ecs.TRANSPORT else f'"{ecs.TRANSPORT[n]}"' for n in range(256)]
        columns["network.transport"] = pc.take(pa.array(transport, pa.string()), number.cast(pa.int32()))
    if "network.community_id" not in names:
        ids = community.ids(table)
        if ids is not None:
            columns["network.community_id"] = Texts().column(ids)


def _elements(table: pa.Table, columns: dict[str, Value], addresses: dict[str, pa.DictionaryArray]) -> None:
    """`netflow.<element>` of elements that live in an ECS column only, as the `netflow.elements` column says per row:
    `element=column`, with `|mac` for ECS's way of writing MAC addresses and `|uptime` for milliseconds since the boot
    time. An element that also has a stored column (raw counters of sampled flows) keeps that where it is not null."""
    column = table.column("netflow.elements").combine_chunks()
    column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)
    wanted: dict[tuple[str, str, str], list[int]] = {}
    for code, text in enumerate(column.dictionary.to_pylist()):
        for item in (text or "").split():
            name, _, source = item.partition("=")
            target, _, way = source.partition("|")
            wanted.setdefault((name, target, way), []).append(code)
    rows = {code: codes == code for code in range(len(column.dictionary))}
    used = set(np.unique(codes).tolist())
    for (name, target, way), numbers in wanted.items():
        numbers = [number for number in numbers if number in used]
        if not numbers or (target not in table.column_names and target not in addresses):
            continue
        value = _raw(table, columns, target, way)
        if set(numbers) != used:
            mask = np.logical_or.reduce([rows[number] for number in numbers])
            value = pc.if_else(pa.array(mask), value, pa.scalar(None, pa.string()))
        key = f"netflow.{name}"
        stored = columns.get(key)
        columns[key] = value if stored is None else pc.coalesce(stored, value)


def _raw(table: pa.Table, columns: dict[str, Value], target: str, way: str) -> pa.Array:
    if way == "mac":
        macs = table.column(target).combine_chunks()
        macs = macs if pa.types.is_dictionary(macs.type) else macs.dictionary_encode()
        values = pc.ascii_lower(pc.replace_substring(macs.dictionary, "-", ":"))
        return pc.take(Texts().column(values), macs.indices)
    if way == "uptime":
        time = _microseconds(table, target)
        boot = _microseconds(table, "netflow.exporter.boot")
        missing = ~table.column(target).combine_chunks().is_valid().to_numpy(zero_copy_only=False)
        return pa.array(((time - boot) // 1000) & 0xFFFFFFFF, mask=missing).cast(pa.string())
    return columns[target]


def _microseconds(table: pa.Table, name: str) -> Array:
    column = table.column(name).combine_chunks().cast(pa.int64())
    return np.asarray(pc.fill_null(column, 0).to_numpy(zero_copy_only=False))
