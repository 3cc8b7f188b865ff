"""Raw rows to the columns of `model/ecs.py`: times, addresses of both families, ICMP, sampling-corrected counters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.decode.netflow import sampling
from csirt.decode.netflow.arrow import Arrow, times
from csirt.decode.netflow.elements import Roles
from csirt.decode.netflow.plan import END, START
from csirt.decode.netflow.rows import Column, Rows, Sets
from csirt.model import ecs
from csirt.model.batch import Array, codes

MASK32 = 0xFFFFFFFF
_COUNTERS = ("network.bytes", "network.packets", "csirt.flow.reverse.bytes", "csirt.flow.reverse.packets")
_DIRECTIONS: list[str | None] = ["ingress", "egress", None]


@dataclass(slots=True)
class Names:
    """What the numbers in `Sets` stand for, by number. `rates`: configured sampling rates."""

    segments: list[str | None]
    addresses: list[str | None]
    observers: list[str | None]
    versions: Array
    domains: Array
    rates: Array


def common(rows: Rows, names: Names) -> dict[str, object]:
    """The columns every dataset has but `@timestamp`."""
    sets = rows.sets
    steps = np.arange(rows.count, dtype=np.int64) - rows.spread(rows.first)
    exporter = rows.spread(sets.exporter)
    columns: dict[str, object] = {
        "event.ingested": times(rows.spread(sets.time), None),
        "csirt.segment": codes(rows.spread(sets.segment), names.segments),
        "csirt.ordinal": (rows.spread((sets.frame << 16) | sets.base) + steps).astype(np.uint64),
        "observer.ip": codes(exporter, names.addresses),
        "netflow.exporter.version": names.versions[exporter],
        "netflow.exporter.domain": names.domains[exporter],
    }
    if any(names.observers):
        columns["observer.name"] = codes(exporter, names.observers)
    return columns


def options(rows: Rows, buffer: Array, names: Names) -> dict[str, object]:
    """The `flow_options` columns: every scope and field under its own name; the time is the export time."""
    arrow = Arrow(rows, buffer)
    columns = common(rows, names)
    columns[END] = times(_export(rows), None)
    columns |= {name: arrow.own(column, name) for name, column in rows.columns.items()}
    return columns


def flows(
    rows: Rows,
    buffer: Array,
    names: Names,
    roles: Roles,
    before: dict[int, dict[int, int]],
    changes: list[sampling.Change],
) -> dict[str, object]:
    """The `flow` columns. `before`, `changes`: samplers by exporter before this chunk, and what changed in it."""
    arrow = Arrow(rows, buffer)
    columns = common(rows, names)
    elements = _times(rows, columns, roles)
    rate, origin = sampling.rates(rows, roles, before, changes, names.rates)
    if origin.any():
        missing = origin == 0
        columns["csirt.flow.sampling_rate"] = pa.array(rate.astype(np.uint32), mask=missing if missing.any() else None)
        columns["csirt.flow.sampling_origin"] = codes(origin, sampling.ORIGINS)
    for name, column in rows.columns.items():
        if name in (END, START, *_COUNTERS) or "/" in name:
            continue
        if column.storage == "address" and name in ecs.ADDRESSES:
            columns |= arrow.address(name, column)
        else:
            columns[name] = arrow.own(column, name, ecs_mac=name in ("source.mac", "destination.mac"))
    for name in _COUNTERS:
        if name in rows.columns:
            _counter(name, rows, arrow, rate, columns)
    columns |= _both_families(rows, arrow, columns)
    columns |= _icmp(rows, names, roles)
    direction = sampling.numbers(rows, roles.direction, 2)
    if direction is not None:
        columns["network.direction"] = codes(np.minimum(direction.astype(np.uint64), 2).astype(np.int64), _DIRECTIONS)
    columns |= _header(rows, names)
    columns["netflow.elements"] = elements
    return columns


def _header(rows: Rows, names: Names) -> dict[str, pa.Array]:
    """What the v5 header says of all its records, under the names of the elements: the engine and its sampling."""
    five = names.versions[rows.sets.exporter] == 5
    if not five.any():
        return {}
    missing = None if five.all() else ~rows.spread(five)
    engine, sampled = rows.spread(names.domains[rows.sets.exporter]), rows.spread(rows.sets.sampling)
    return {
        "netflow.engine_type": pa.array((engine >> 8).astype(np.uint8), mask=missing),
        "netflow.engine_id": pa.array((engine & 0xFF).astype(np.uint8), mask=missing),
        "netflow.sampling_interval": pa.array((sampled & 0x3FFF).astype(np.uint32), mask=missing),
        "netflow.sampling_algorithm": pa.array((sampled >> 14).astype(np.uint8), mask=missing),
    }


def announced_boots(rows: Rows, roles: Roles) -> list[tuple[int, int, int]]:
    """When exporters say in options data that they started: (datagram, exporter, microseconds), repeats left out."""
    found: list[tuple[int, int, int]] = []
    last: dict[int, int] = {}
    for name in roles.times["boot"]:
        column = rows.columns.get(f"netflow.{name}")
        if column is None or column.storage != "time":
            continue
        there = (column.parts[0] > 0) & column.present[rows.plan]
        at, exporter = rows.spread(rows.sets.at), rows.spread(rows.sets.exporter)
        rank = np.flatnonzero(there)[np.lexsort((at[there], exporter[there]))]
        final = np.ones(len(rank), bool)  # what a datagram says last counts
        final[:-1] = (at[rank][1:] != at[rank][:-1]) | (exporter[rank][1:] != exporter[rank][:-1])
        rank = rank[final]
        for when, number, boot in zip(
            at[rank].tolist(), exporter[rank].tolist(), column.parts[0][rank].tolist(), strict=True
        ):
            if last.get(number) != boot:
                last[number] = boot
                found.append((when, number, boot))
    return found


def apply_boots(sets: Sets, boots: dict[int, list[tuple[int, int]]]) -> None:
    """Give IPFIX sets the milliseconds since their exporter started, as far as it has said when (element 160)."""
    for number, changes in boots.items():
        for at, boot in changes:
            mine = (sets.exporter == number) & (sets.at >= at) & (sets.export > 0)
            uptime = ((sets.export - boot) // 1000) & MASK32
            sets.uptime = np.where(mine, uptime, sets.uptime)


def _export(rows: Rows) -> Array:
    """The export time of each row's datagram, or its receive time where the exporter has no clock."""
    sets = rows.sets
    return rows.spread(np.where(sets.export > 0, sets.export, sets.time))


def _counter(name: str, rows: Rows, arrow: Arrow, rate: Array, columns: dict[str, object]) -> None:
    """A counter, sampling-corrected; in tables where that changes anything, the raw ones beside it."""
    column = rows.columns[name]
    raw = column.parts[0]
    _, bitmap = arrow.valid(column)
    if not (rate > 1).any():
        columns[name] = arrow.plain(raw, pa.uint64(), bitmap)
        return
    factor = np.maximum(rate, 1).astype(np.uint64)
    limit = np.uint64(2**64 - 1) // factor
    corrected = np.where(raw > limit, np.uint64(2**64 - 1), raw * factor)
    columns[name] = arrow.plain(corrected, pa.uint64(), bitmap)
    by_element: dict[str, Array] = {}
    for number, plan in enumerate(rows.plans):
        for element, target, _ in plan.mapped:
            if target == name:
                by_element.setdefault(element, np.zeros(len(rows.plans), bool))[number] = True
    for element, present in by_element.items():
        own = f"netflow.{element}"
        _, mask = arrow.valid(Column("uint", [raw], present))
        mine = arrow.plain(raw, pa.uint64(), mask)
        # Another template may have the element beside one it likes better, in a column of its own.
        columns[own] = pc.coalesce(columns[own], mine) if own in columns else mine


def _times(rows: Rows, columns: dict[str, object], roles: Roles) -> pa.Array:
    """Fill `@timestamp`, `event.start` and `netflow.exporter.boot`; return the `netflow.elements` column."""
    export = _export(rows)
    has_end, end = _time(rows, END)
    has_start, start = _time(rows, START)
    for role, factor in (("duration_ms", 1000), ("duration_us", 1)):
        length = sampling.numbers(rows, roles.times[role], -1)
        if length is not None:
            there = length >= 0
            later = there & (end < 0) & (start > 0)
            end = np.where(later, start + length * factor, end)
            earlier = there & (start < 0) & (end > 0)
            start = np.where(earlier, end - length * factor, start)
    stamp = end
    if (end < 0).any():
        for name in roles.times["observed"]:
            column = rows.columns.get(f"netflow.{name}")
            if column is not None and column.storage == "time":
                stamp = np.where((stamp < 0) & (column.parts[0] > 0), column.parts[0], stamp)
        stamp = np.where(stamp < 0, export, stamp)
    columns[END] = times(np.maximum(stamp, 1), None)
    if (start > 0).any():
        columns[START] = times(start, None)
    boots = np.array([any(way == "uptime" for _, _, way in plan.mapped) for plan in rows.plans], bool)
    if boots.any():
        sets = rows.sets
        boot = rows.spread(sets.export - sets.uptime * 1000)
        mask = None if boots.all() else ~boots[rows.plan]
        columns["netflow.exporter.boot"] = pa.array(boot, pa.int64(), mask=mask).cast(ecs.TIME)
    # A time no calendar holds is not the flow's: such rows do not claim the element.
    lost_end, lost_start = has_end & (_time(rows, END)[1] < 0), has_start & (_time(rows, START)[1] < 0)
    number = rows.plan.astype(np.int64)
    texts: list[str | None] = [plan.elements for plan in rows.plans]
    for lost, target in ((lost_end, END), (lost_start, START)):
        if lost.any():
            size = len(texts)
            texts += [_without(item or "", target) for item in texts]
            number = np.where(lost, number + size, number)
    return codes(number, texts)


def _without(elements: str, column: str) -> str:
    return " ".join(item for item in elements.split() if item.partition("=")[2].partition("|")[0] != column)


def _time(rows: Rows, name: str) -> tuple[Array, Array]:
    """(which rows' plans have that time, the time in microseconds or -1)."""
    column = rows.columns.get(name)
    if column is None:
        return np.zeros(rows.count, bool), np.full(rows.count, -1, np.int64)
    values = column.parts[0]
    if column.present.all():
        return np.ones(rows.count, bool), values
    has = column.present[rows.plan]
    return has, np.where(has, values, -1)


def _both_families(rows: Rows, arrow: Arrow, columns: dict[str, object]) -> dict[str, pa.Array]:
    """Addresses of templates that carry both an IPv4 and an IPv6 one: the IPv6 one unless it is zero and the other is
    not. Each also stays under its own name."""
    found: dict[str, pa.Array] = {}
    for name in ecs.ADDRESSES:
        four, six = rows.columns.get(f"{name}/4"), rows.columns.get(f"{name}/6")
        if four is None or six is None:
            continue
        mine = (four.present & six.present)[rows.plan]
        use_six = mine & ((six.parts[1] | six.parts[2]) != 0) | (mine & (four.parts[2] == 0))
        zero = np.zeros((), np.uint64)
        chosen = [
            np.where(use_six, np.uint8(6), np.uint8(4)),
            np.where(use_six, six.parts[1], zero),
            np.where(use_six, six.parts[2], four.parts[2]),
        ]
        for suffix, values in zip(ecs.ADDRESS_PARTS, chosen, strict=True):
            array = pa.array(values, mask=~mine)
            other = columns.get(name + suffix)
            found[name + suffix] = array if other is None else pc.coalesce(other, array)
    return found


def _icmp(rows: Rows, names: Names, roles: Roles) -> dict[str, pa.Array]:
    """ICMP type and code of ICMP flows: elements 32 and 139, 176 to 179, or the destination port (v5, v7, v9)."""
    protocol = sampling.numbers(rows, ("protocol_identifier",), 0)
    if protocol is None:
        return {}
    is_icmp = (protocol == 1) | (protocol == 58)
    if not is_icmp.any():
        return {}
    both = sampling.numbers(rows, roles.icmp["both"], -1)
    kind, code = (sampling.numbers(rows, roles.icmp[key], -1) for key in ("type", "code"))
    none = np.full(rows.count, -1, np.int64)
    both, kind, code = (none if values is None else values for values in (both, kind, code))
    port = sampling.numbers(rows, ("destination_transport_port",), -1)
    if port is not None:
        old = rows.spread(names.versions[rows.sets.exporter] < 10)
        both = np.where((both < 0) & (kind < 0) & old, port, both)
    kind = np.where(kind >= 0, kind, np.where(both >= 0, both >> 8, -1))
    code = np.where(code >= 0, code, np.where(both >= 0, both & 0xFF, -1))
    return {
        "icmp.type": pa.array((kind & 0xFF).astype(np.uint8), mask=~(is_icmp & (kind >= 0))),
        "icmp.code": pa.array((code & 0xFF).astype(np.uint8), mask=~(is_icmp & (code >= 0))),
    }
