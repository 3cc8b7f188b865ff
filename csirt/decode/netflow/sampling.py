"""Sampling rates: what the configuration, the record, options data before it, or the v5 header says.

Precedence: configuration, record, options, header. A rate that nobody states is unknown (null), never 1.
"""

from __future__ import annotations

import numpy as np

from csirt.decode.netflow.elements import Roles
from csirt.decode.netflow.rows import Rows
from csirt.model.batch import Array
from csirt.model.jit import kernel

ORIGINS: list[str | None] = [None, "config", "record", "options", "header"]
UNKNOWN, CONFIG, RECORD, OPTIONS, HEADER = range(5)
MAX_SAMPLERS = 256  # per exporter
Change = tuple[int, int, int, int]  # datagram, exporter, sampler id (-1: whichever; FACE + an interface's), rate
FACE = 1 << 32  # added to the number of an interface that options data states a rate of


@kernel
def _lookup(
    order: Array,
    at: Array,
    exporter: Array,
    first: Array,
    records: Array,
    ids: Array,
    faces: Array,
    known: Array,
    rates: Array,
    c_at: Array,
    c_key: Array,
    c_rate: Array,
    out: Array,
) -> None:
    """The rate of every row from the table `known` (sorted keys) with `rates`, changed as the changes come in order.

    A key is exporter << 34 | id + 1, the id cut to 32 bits or FACE and an interface's number; id -1 is the exporter's
    only rate. `faces`: the interface of every row, or empty where no rate is of an interface.
    """
    k = 0
    for o in range(order.size):
        s = order[o]
        while k < c_at.size and c_at[k] <= at[s]:
            rates[np.searchsorted(known, c_key[k])] = c_rate[k]
            k += 1
        last_id = -2
        last_face = -2
        rate = 0
        for i in range(records[s]):
            row = first[s] + i
            number = ids[row] if ids.size else -1
            face = faces[row] if faces.size else -1
            if number != last_id or face != last_face:
                last_id = number
                last_face = face
                found = False
                rate = 0
                for way in range(3):  # by sampler, by interface, the only one there is
                    if found or (way == 0 and number < 0) or (way == 1 and face < 0):
                        continue
                    key = exporter[s] << 34
                    if way == 0:
                        key |= (number & 0xFFFFFFFF) + 1
                    elif way == 1:
                        key |= FACE + face + 1
                    place = np.searchsorted(known, key)
                    if place < known.size and known[place] == key:
                        found = True
                        rate = rates[place]
            out[row] = rate


def table_key(exporter: int, number: int) -> int:
    """The key of a sampler in the lookup table."""
    return exporter << 34 | (number + 1 if number >= 0 else 0)


def numbers(rows: Rows, names: tuple[str, ...], absent: int, at: Array | None = None) -> Array | None:
    """The first of these elements that each row has, as int64, `absent` where it has none; None if no row has any.
    `at`: only of these rows."""
    found: Array | None = None
    for name in reversed(names):
        where: dict[str, Array] = {}
        for place, shape in enumerate(rows.shapes):
            column = shape.names.get(name)
            if column is not None and column in rows.columns and rows.columns[column].storage == "uint":
                where.setdefault(column, np.zeros(len(rows.shapes), bool))[place] = True
        for column, shapes in where.items():
            values = rows.columns[column].parts[0]
            values = (values if at is None else values[at]).astype(np.int64)
            if shapes.all():
                found = values
            else:
                mine = shapes[rows.shape if at is None else rows.shape[at]]
                found = np.where(mine, values, absent if found is None else found)
    return found


def stated(rows: Rows, roles: Roles) -> Array | None:
    """The rate each record states itself (0: none): elements 34, 50, 305/306, 309/310, 311; None if none does."""
    sampling = roles.sampling
    elements = {name for key in ("interval", "packet_interval", "size", "probability") for name in sampling[key]}
    if not any(elements & shape.names.keys() for shape in rows.shapes):
        return None
    rate = np.zeros(rows.count, np.int64)
    plain = numbers(rows, sampling["interval"], 0)
    if plain is not None:
        rate = plain.copy()
    interval = numbers(rows, sampling["packet_interval"], 0)
    if interval is not None:
        space = numbers(rows, sampling["packet_space"], 0)
        both = interval + (0 if space is None else space)
        # Some exporters put 1 in N as interval N without a space (RFC 5477 would be interval 1, space N - 1).
        bare = interval if space is None else np.where(space == 0, interval, 0)
        exact = np.where(interval > 0, (both + interval // 2) // np.maximum(interval, 1), 0)
        rate = np.where(interval > 0, np.maximum(exact, bare), rate)
    size, population = numbers(rows, sampling["size"], 0), numbers(rows, sampling["population"], 0)
    if size is not None and population is not None:
        rate = np.where(size > 0, (population + size // 2) // np.maximum(size, 1), rate)
    for name in sampling["probability"]:
        column = rows.columns.get(f"netflow.{name}")
        if column is not None and column.storage == "float":
            with np.errstate(invalid="ignore"):
                share = column.parts[0].astype(np.float64)
            good = (share > 1e-9) & (share <= 1)
            most = np.rint(1 / np.where(good, share, 1))
            rate = np.where(good, most.astype(np.int64), rate)
    return np.clip(rate, 0, 0xFFFFFFFF)


def announced(rows: Rows, roles: Roles) -> list[Change]:
    """What options data says about samplers, in order, repeats left out."""
    rate = stated(rows, roles)
    if rate is None or not rate.any():
        return []
    ids = numbers(rows, roles.sampling["id"], -1)
    ids = np.full(rows.count, -1, np.int64) if ids is None else np.where(ids < 0, -1, ids & 0xFFFFFFFF)
    face = numbers(rows, roles.sampling["interface"], -1)
    if face is not None:
        ids = np.where((ids < 0) & (face >= 0), FACE + (face & 0x7FFFFFFF), ids)
    at, exporter = rows.spread(rows.sets.at), rows.spread(rows.sets.exporter)
    which = np.flatnonzero(rate)
    order = which[np.lexsort((which, at[which], ids[which], exporter[which]))]
    last = np.ones(len(order), bool)  # of what one datagram says of a sampler: it counts for all of the datagram
    last[:-1] = (
        (ids[order][1:] != ids[order][:-1])
        | (exporter[order][1:] != exporter[order][:-1])
        | (at[order][1:] != at[order][:-1])
    )
    order = order[last]
    same = np.zeros(len(order), bool)
    same[1:] = (
        (ids[order][1:] == ids[order][:-1])
        & (exporter[order][1:] == exporter[order][:-1])
        & (rate[order][1:] == rate[order][:-1])
    )
    kept = order[~same]
    kept = kept[np.lexsort((kept, at[kept]))]
    return [(int(at[i]), int(exporter[i]), int(ids[i]), int(rate[i])) for i in kept]


def follow(tables: dict[int, dict[int, int]], changes: list[Change]) -> list[Change]:
    """Apply the changes to the exporters' tables (in place); the changes that change something, with what they do to
    the rate of flows that name no sampler: that of the only sampler, or of all of them when they agree."""
    effective: list[Change] = []
    for at, exporter, number, rate in changes:
        table = tables.setdefault(exporter, {})
        if table.get(number) == rate or (number not in table and len(table) >= MAX_SAMPLERS):
            continue
        before = only(table)
        table[number] = rate
        if number >= 0:
            effective.append((at, exporter, number, rate))
        after = only(table)
        if after != before:
            effective.append((at, exporter, -1, after))
    return effective


def _faces(rows: Rows, roles: Roles) -> Array:
    """The interface at which each row was sampled: where it left, if the flow was seen leaving, else where it came."""
    into, out = (numbers(rows, roles.columns[f"observer.{side}.interface.id"], -1) for side in ("ingress", "egress"))
    direction = numbers(rows, roles.direction, 0)
    none = np.full(rows.count, -1, np.int64)
    into, out = (none if side is None else side & 0x7FFFFFFF for side in (into, out))
    return into if direction is None else np.where(direction == 1, out, into)


def only(table: dict[int, int]) -> int:
    """The rate of flows that name no sampler, 0 when the samplers disagree."""
    if -1 in table:
        return table[-1]
    rates = set(table.values())
    return rates.pop() if len(rates) == 1 else 0


def of_sets(
    rows: Rows, roles: Roles, before: dict[int, dict[int, int]], changes: list[Change], forced: Array
) -> tuple[Array, Array] | None:
    """What `rates` says, by set, where every record of a set has the same: no record states a rate, and no exporter has
    samplers that differ. None where it is not so."""
    if changes or stated(rows, roles) is not None:
        return None
    agreed = np.zeros(len(forced), np.int64)
    for exporter, table in before.items():
        agreed[exporter] = only(table)
        if any(rate != agreed[exporter] for rate in table.values()):
            return None
    ways = [(agreed, OPTIONS)] if before else []
    if forced.any():
        ways.append((forced, CONFIG))
    header = rows.sets.sampling & 0x3FFF
    origin = np.where(header > 0, HEADER, UNKNOWN).astype(np.uint8)
    return _combined(header, origin, [(values[rows.sets.exporter], name) for values, name in ways])


def _combined(rate: Array, origin: Array, stated_by: list[tuple[Array, int]]) -> tuple[Array, Array]:
    """The rates and their origins, replaced where others say one; the last counts most."""
    for values, name in stated_by:
        here = values > 0
        if here.all():
            rate, origin = values, np.full(len(values), name, np.uint8)
        elif here.any():
            rate, origin = np.where(here, values, rate), np.where(here, np.uint8(name), origin)
    return rate, origin


def rates(
    rows: Rows, roles: Roles, before: dict[int, dict[int, int]], changes: list[Change], forced: Array
) -> tuple[Array, Array]:
    """(rate of every row, 0 unknown; its origin, an index into ORIGINS). `forced`: the configured rate by exporter."""
    stated_by: list[
        tuple[Array, int]
    ] = []  # the rate of every row, 0 where nothing is said; what counts more comes later
    entries = {table_key(e, i): r for e, table in before.items() for i, r in [*table.items(), (-1, only(table))]}
    entries |= {table_key(e, i): entries.get(table_key(e, i), 0) for _, e, i, _ in changes}
    if entries:
        known = np.array(sorted(entries), np.int64)
        table = np.array([entries[key] for key in known.tolist()], np.int64)
        ids = numbers(rows, roles.sampling["id"], -1)
        faces = _faces(rows, roles) if any(number >= FACE for table in before.values() for number in table) or any(
            change[2] >= FACE for change in changes
        ) else np.empty(0, np.int64)  # fmt: skip
        announced_rates = np.zeros(rows.count, np.int64)
        _lookup(
            np.argsort(rows.sets.at, kind="stable"),
            *(rows.sets.at, rows.sets.exporter, rows.first, rows.sets.records),
            np.empty(0, np.int64) if ids is None else ids,
            faces,
            *(known, table),
            np.array([at for at, _, _, _ in changes], np.int64),
            np.array([table_key(e, i) for _, e, i, _ in changes], np.int64),
            np.array([r for _, _, _, r in changes], np.int64),
            announced_rates,
        )
        stated_by.append((announced_rates, OPTIONS))
    own = stated(rows, roles)
    if own is not None:
        stated_by.append((own, RECORD))
    if forced.any():
        stated_by.append((rows.spread(forced[rows.sets.exporter]), CONFIG))
    header = rows.sets.sampling & 0x3FFF
    origin = rows.spread(np.where(header > 0, HEADER, UNKNOWN).astype(np.uint8))
    return _combined(rows.spread(header), origin, stated_by)
