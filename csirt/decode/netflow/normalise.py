"""Raw rows to the columns of `model/ecs.py`: times, addresses of both families, ICMP, sampling-corrected counters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.clock import MINUTE
from csirt.decode.netflow import sampling
from csirt.decode.netflow.arrow import Arrow, masked, times
from csirt.decode.netflow.elements import Roles
from csirt.decode.netflow.layout import Column
from csirt.decode.netflow.plan import END, START
from csirt.decode.netflow.rows import Rows, Sets
from csirt.model import ecs
from csirt.model.batch import Array, codes

MASK32 = 0xFFFFFFFF
# A clock that seems further off is not wrong: somebody plays what was exported some other time, at another speed.
MOST_WRONG = 10 * MINUTE
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


def common(rows: Rows, arrow: Arrow, names: Names) -> dict[str, object]:
    """The columns every dataset has but `@timestamp`."""
    sets = rows.sets
    ordinal = np.arange(rows.count, dtype=np.int64)
    ordinal += rows.spread((sets.frame << 16 | sets.base) - rows.first)
    received = sets.time > 0
    columns: dict[str, object] = {
        "event.ingested": masked(rows.spread(sets.time), ecs.TIME, None if received.all() else rows.spread(received)),
        "csirt.segment": arrow.codes(sets.segment, names.segments),
        "csirt.ordinal": ordinal.view(np.uint64),
        "observer.ip": arrow.codes(sets.exporter, names.addresses),
        "netflow.exporter.version": rows.spread(names.versions[sets.exporter]),
        "netflow.exporter.domain": rows.spread(names.domains[sets.exporter]),
    }
    if any(names.observers):
        columns["observer.name"] = arrow.codes(sets.exporter, names.observers)
    return columns


def options(rows: Rows, buffer: Array, names: Names) -> dict[str, object]:
    """The `flow_options` columns: every scope and field under its own name; the time is the export time."""
    arrow = Arrow(rows, buffer)
    columns = common(rows, arrow, names)
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
    *,
    due: bool = True,
) -> dict[str, object]:
    """The `flow` columns. `before`, `changes`: samplers by exporter before this chunk, and what changed in it. `due`:
    whether `ecs.DUE` is among them."""
    arrow = Arrow(rows, buffer)
    columns = common(rows, arrow, names)
    elements = _times(rows, arrow, columns, roles, due)
    said = roles, before, changes, names.rates
    by_set = sampling.of_sets(rows, *said)
    rate, origin = sampling.rates(rows, *said) if by_set is None else by_set
    one = bool(len(rate)) and bool((rate == rate[0]).all()) and bool((origin == origin[0]).all())
    if by_set is not None and not one:
        rate, origin = rows.spread(rate), rows.spread(origin)
    if one and origin[0]:
        columns["csirt.flow.sampling_rate"] = masked(rows.constant(np.uint32(rate[0])), pa.uint32(), None)
        columns["csirt.flow.sampling_origin"] = arrow.codes(np.zeros_like(rows.of_set), [sampling.ORIGINS[origin[0]]])
    elif origin.any():
        columns["csirt.flow.sampling_rate"] = masked(rate.astype(np.uint32), pa.uint32(), origin > 0)
        columns["csirt.flow.sampling_origin"] = codes(origin, sampling.ORIGINS)
    for name, column in rows.columns.items():
        if name in (END, START, *_COUNTERS) or "/" in name:
            continue
        if column.storage == "address" and name in ecs.ADDRESSES:
            columns |= arrow.address(name, column)
        else:
            columns[name] = arrow.own(column, name, ecs_mac=name in ("source.mac", "destination.mac"))
    factor = np.maximum(rate[:1] if one else rate, 1).astype(np.uint64)
    for name in _COUNTERS:
        if name in rows.columns:
            _counter(name, rows, arrow, factor if factor.max(initial=1) > 1 else None, columns)
    columns |= _both_families(rows, arrow, columns)
    columns |= _icmp(rows, names, roles)
    direction = sampling.numbers(rows, roles.direction, 2)
    if direction is not None:
        columns["network.direction"] = codes(np.minimum(direction.view(np.uint64), 2), _DIRECTIONS)
    columns |= _header(rows, names)
    columns["netflow.elements"] = elements
    return columns


def _header(rows: Rows, names: Names) -> dict[str, pa.Array]:
    """What the v5 header says of all its records, under the names of the elements: the engine and its sampling."""
    sets = rows.sets
    five = names.versions[sets.exporter] == 5
    if not five.any():
        return {}
    known = None if five.all() else rows.spread(five)
    engine = names.domains[sets.exporter]
    values = {
        "netflow.engine_type": engine >> 8 & 0xFF,
        "netflow.engine_id": engine & 0xFF,
        "netflow.sampling_algorithm": sets.sampling >> 14,
    }
    columns = {name: masked(rows.spread(item.astype(np.uint8)), pa.uint8(), known) for name, item in values.items()}
    interval = rows.spread((sets.sampling & 0x3FFF).astype(np.uint32))
    return columns | {"netflow.sampling_interval": masked(interval, pa.uint32(), known)}


def announced_boots(rows: Rows, roles: Roles) -> list[tuple[int, int, int]]:
    """When exporters say in options data that they started: (datagram, exporter, microseconds), repeats left out."""
    found: list[tuple[int, int, int]] = []
    last: dict[int, int] = {}
    for name in roles.times["boot"]:
        column = rows.columns.get(f"netflow.{name}")
        if column is None or column.storage != "time":
            continue
        there = (column.parts[0] > 0) & rows.by_shape(column.present)
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


def _counter(name: str, rows: Rows, arrow: Arrow, factor: Array | None, columns: dict[str, object]) -> None:
    """A counter, sampling-corrected; in tables where that changes anything, the raw ones beside it. `factor`: by row,
    or one for all."""
    column = rows.columns[name]
    raw = column.parts[0]
    _, bitmap = arrow.valid(column)
    if factor is None:
        columns[name] = arrow.plain(raw, pa.uint64(), bitmap)
        return
    if int(raw.max()) * int(factor.max()) < 1 << 64:
        corrected = raw * factor
    else:
        limit = np.uint64(2**64 - 1) // factor
        corrected = np.where(raw > limit, np.uint64(2**64 - 1), raw * factor)
    columns[name] = arrow.plain(corrected, pa.uint64(), bitmap)
    by_element: dict[str, Array] = {}
    for number, shape in enumerate(rows.shapes):
        for element, target, _ in shape.mapped:
            if target == name:
                by_element.setdefault(element, np.zeros(len(rows.shapes), bool))[number] = True
    for element, present in by_element.items():
        own = f"netflow.{element}"
        _, mask = arrow.valid(Column("uint", [raw], present))
        mine = arrow.plain(raw, pa.uint64(), mask)
        # Another template may have the element beside one it likes better, in a column of its own.
        columns[own] = pc.coalesce(columns[own], mine) if own in columns else mine


def _times(rows: Rows, arrow: Arrow, columns: dict[str, object], roles: Roles, due: bool) -> pa.Array:
    """Fill `@timestamp`, `event.start` and `netflow.exporter.boot`; return the `netflow.elements` column."""
    (_, end), (_, start) = _time(rows, END), _time(rows, START)
    for role, factor in (("duration_ms", 1000), ("duration_us", 1)):
        length = sampling.numbers(rows, roles.times[role], -1)
        if length is not None:
            there = length >= 0
            later = there & (end < 0) & (start > 0)
            end = np.where(later, start + length * factor, end)
            earlier = there & (start < 0) & (end > 0)
            start = np.where(earlier, end - length * factor, start)
    stamp = end
    if len(end) and end.min() <= 0:
        for name in roles.times["observed"]:
            column = rows.columns.get(f"netflow.{name}")
            if column is not None and column.storage == "time":
                stamp = np.where((stamp < 0) & (column.parts[0] > 0), column.parts[0], stamp)
        stamp = np.maximum(np.where(stamp < 0, _export(rows), stamp), 1)
    columns[END] = masked(stamp, ecs.TIME, None)
    if due:
        columns[ecs.DUE] = times(_due(rows, stamp), None)
    if len(start) and start.max() > 0:
        columns[START] = times(start, None)
    boots = np.array([any(way == "uptime" for _, _, way in shape.mapped) for shape in rows.shapes], bool)
    if boots.any():
        sets = rows.sets
        boot = rows.spread(sets.export - sets.uptime * 1000)
        columns["netflow.exporter.boot"] = masked(boot, ecs.TIME, None if boots.all() else rows.by_shape(boots))
    # A time no calendar holds is not the flow's: such rows do not claim the element.
    texts: list[str | None] = [shape.elements for shape in rows.shapes]
    if not (_lost(rows, END) or _lost(rows, START)):
        return arrow.codes(rows.of_set, texts)
    number = rows.shape.astype(np.int64)
    for target in (END, START):
        has, value = _time(rows, target)
        lost = has & (value < 0)
        if lost.any():
            size = len(texts)
            texts += [_without(item or "", target) for item in texts]
            number = np.where(lost, number + size, number)
    return codes(number, texts)


def _lost(rows: Rows, name: str) -> bool:
    """Whether a row has such a time that no calendar holds."""
    column = rows.columns.get(name)
    return column is not None and len(column.parts[0]) > 0 and int(column.parts[0].min()) < 0


def _due(rows: Rows, stamp: Array) -> Array:
    """When each flow ended by our clock: what the exporter's clock, which the datagram's header shows, is wrong by is
    taken out, and no flow ended after it was received."""
    sets = rows.sets
    wrong = sets.time - sets.export
    believed = (sets.export > 0) & (sets.time > 0) & (np.abs(wrong) <= MOST_WRONG)
    slow = rows.spread(np.where(believed, wrong, 0))
    received = rows.spread(np.where(sets.time > 0, sets.time, np.iinfo(np.int64).max))
    due: Array = np.maximum(np.minimum(stamp + slow, received), 1)
    return due


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
    has = rows.by_shape(column.present)
    return has, np.where(has, values, -1)


def _both_families(rows: Rows, arrow: Arrow, columns: dict[str, object]) -> dict[str, pa.Array]:
    """Addresses of templates that carry both an IPv4 and an IPv6 one: the IPv6 one unless it is zero and the other is
    not. Each also stays under its own name."""
    found: dict[str, pa.Array] = {}
    for name in ecs.ADDRESSES:
        four, six = rows.columns.get(f"{name}/4"), rows.columns.get(f"{name}/6")
        if four is None or six is None:
            continue
        mine = rows.by_shape(four.present & six.present)
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
    at = _of_icmp(rows)
    if not len(at):
        return {}
    both = sampling.numbers(rows, roles.icmp["both"], -1, at)
    kind, code = (sampling.numbers(rows, roles.icmp[key], -1, at) for key in ("type", "code"))
    none = np.full(len(at), -1, np.int64)
    both, kind, code = (none if values is None else values for values in (both, kind, code))
    port = sampling.numbers(rows, ("destination_transport_port",), -1, at)
    if port is not None:
        old = rows.spread(names.versions[rows.sets.exporter] < 10)[at]
        both = np.where((both < 0) & (kind < 0) & old, port, both)
    kind = np.where(kind >= 0, kind, np.where(both >= 0, both >> 8, -1))
    code = np.where(code >= 0, code, np.where(both >= 0, both & 0xFF, -1))
    return {"icmp.type": _sparse(rows.count, at, kind), "icmp.code": _sparse(rows.count, at, code)}


def _of_icmp(rows: Rows) -> Array:
    """The rows of ICMP flows of either family."""
    shared = rows.columns.get("network.iana_number")
    if shared is not None and shared.storage == "uint" and shared.present.all():
        protocol: Array | None = shared.parts[0]
    else:
        protocol = sampling.numbers(rows, ("protocol_identifier",), 0)
    return np.empty(0, np.int64) if protocol is None else np.flatnonzero((protocol == 1) | (protocol == 58))


def _sparse(count: int, at: Array, values: Array) -> pa.Array:
    """An octet in the rows `at` where it is not negative, null elsewhere."""
    octets, known = np.zeros(count, np.uint8), np.zeros(count, bool)
    octets[at], known[at] = values & 0xFF, values >= 0
    return masked(octets, pa.uint8(), known)
