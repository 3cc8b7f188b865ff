"""Flows added up by minute, pair of members and service, from the lake.

A pair is the end that opened the flow and the end that serves it; the service is the server's port below the range that
clients take theirs from, or none. Where the pairing does not know who opened a flow, the end with the lower port
serves. Records of flows that others count already are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from csirt import ids
from csirt.clock import MINUTE, iso
from csirt.model import ecs
from csirt.model.batch import Array, duplicates

if TYPE_CHECKING:
    from collections.abc import Sequence

EPHEMERAL = 32_768  # ports from here on are given to clients
_ENDS = ("source", "destination")
_TEXTS = ("member.id", "member.name", "zone")
COLUMNS = [
    "network.iana_number", "network.bytes", "network.packets", "csirt.flow.reverse.bytes",
    "csirt.flow.reverse.packets", "csirt.flow.client", ecs.DUPLICATE, "netflow.elements", "netflow.exporter.version",
    *(f"{end}.port" for end in _ENDS), *(f"csirt.{end}.{name}" for end in _ENDS for name in _TEXTS),
]  # fmt: skip
_KEYS = ("minute", *(f"{end}.{name}" for end in _ENDS for name in ("member.id", "zone")), "number", "port")
_NAMES = ("source.member.name", "destination.member.name")
_SUMS = ("records", "source.bytes", "source.packets", "destination.bytes", "destination.packets")
_LONG = (1 << 63) - 1
_MOST = np.uint64(1 << 44)  # octets or packets of one record: what says more is forged, and must not make a sum wrap


class Sums:
    """Takes tables of flows, gives the sums of some minutes."""

    def __init__(self, minutes: Sequence[int]) -> None:
        self._minutes = np.array(sorted(minutes), np.int64)
        self._parts: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """The flows of a table that end in those minutes."""
        time = np.asarray(pc.fill_null(pc.cast(table.column("@timestamp"), pa.int64()), -1).to_numpy())
        keep = np.isin(time - time % MINUTE, self._minutes)
        twice = duplicates(table)
        keep = keep if twice is None else keep & ~twice
        if keep.any():
            table = table.filter(pa.array(keep))
            time = time[keep]
            self._parts.append(_grouped(_prepared(table, time - time % MINUTE)))

    def rows(self) -> list[dict[str, Any]]:
        """The sums, by minute, pair and service."""
        if not self._parts:
            return []
        found = _grouped(pa.concat_tables(self._parts))
        return found.sort_by([(name, "ascending") for name in _KEYS]).to_pylist()  # type: ignore[no-any-return]


def documents(rows: list[dict[str, Any]], hour: int, store: str) -> Iterator[tuple[str, int, bytes]]:
    """(id, minute, body) of each sum of rows that the lake of that store took in that hour."""
    received = iso(hour)
    for row in rows:
        keys = [row["minute"], *(row[name] if row[name] is not None else "" for name in _KEYS[1:])]
        body: dict[str, Any] = {
            "@timestamp": iso(row["minute"]),
            "ecs": {"version": ecs.ECS_VERSION},
            "event": {"kind": "metric", "duration": 60_000_000_000},
            "source": _counters(row, "source"),
            "destination": _counters(row, "destination"),
            "network": {
                "bytes": min(row["source.bytes"] + row["destination.bytes"], _LONG),
                "packets": min(row["source.packets"] + row["destination.packets"], _LONG),
            },
            "csirt": {end: _end(row, end) for end in _ENDS} | {"minute": {"records": row["records"]}},
            "lake": {"received": received, "store": store},
        }
        if row["port"] is not None:
            body["destination"]["port"] = row["port"]
        if row["number"] is not None:
            body["network"]["iana_number"] = str(row["number"])
            body["network"]["transport"] = ecs.TRANSPORT.get(row["number"], str(row["number"]))
        yield ids.digest("minute", store, hour, *keys), row["minute"], orjson.dumps(body)


def _counters(row: dict[str, Any], end: str) -> dict[str, int]:
    return {unit: min(row[f"{end}.{unit}"], _LONG) for unit in ("bytes", "packets")}


def _end(row: dict[str, Any], end: str) -> dict[str, Any]:
    member = {name: row[f"{end}.member.{name}"] for name in ("id", "name") if row[f"{end}.member.{name}"] is not None}
    zone = {"zone": row[f"{end}.zone"]} if row[f"{end}.zone"] is not None else {}
    return {**({"member": member} if member else {}), **zone}


def _column(table: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(table.num_rows, kind)
    column = table.column(name).combine_chunks()
    column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    return column.cast(kind)


def _number(table: pa.Table, name: str) -> Array:
    found = pc.fill_null(_column(table, name, pa.uint64()), 0).to_numpy(zero_copy_only=False)
    return np.minimum(np.asarray(found, np.uint64), _MOST)


def _prepared(table: pa.Table, minute: Array) -> pa.Table:
    """Each row with its client as the source and its server as the destination, and what it adds."""
    swap = _swapped(table)
    port = np.where(swap, _ports(table, "source.port"), _ports(table, "destination.port"))
    known = (port >= 0) & (port < EPHEMERAL)
    sums = {f"{end}.{unit}": values for end, unit, values in _directions(table, swap)}
    columns: dict[str, Any] = {"minute": pa.array(minute)}
    for mine, other in zip(_ENDS, reversed(_ENDS), strict=True):
        for name in _TEXTS:
            own, theirs = (_column(table, f"csirt.{end}.{name}", pa.string()) for end in (mine, other))
            columns[f"{mine}.{name}"] = pc.if_else(pa.array(swap), theirs, own)
    columns["number"] = _column(table, "network.iana_number", pa.uint8())
    columns["port"] = pa.array(np.where(known, port, 0).astype(np.uint16), mask=~known)
    columns["records"] = pa.array(np.ones(table.num_rows, np.uint64))
    return pa.table({**columns, **{name: pa.array(values) for name, values in sums.items()}})


def _ports(table: pa.Table, name: str) -> Array:
    return np.asarray(pc.fill_null(_column(table, name, pa.int64()), -1).to_numpy(zero_copy_only=False))


def _swapped(table: pa.Table) -> Array:
    """Which rows go from the server to the client."""
    client = _column(table, "csirt.flow.client", pa.string())
    source, destination = _ports(table, "source.port"), _ports(table, "destination.port")
    guess = (source >= 0) & (destination >= 0) & (source < destination)
    told = np.asarray(pc.is_valid(client).to_numpy(zero_copy_only=False))
    server = np.asarray(pc.fill_null(pc.equal(client, "destination"), False).to_numpy(zero_copy_only=False))
    return np.where(told, server, guess)


def _directions(table: pa.Table, swap: Array) -> Iterator[tuple[str, str, Array]]:
    """What each end sent. A record's reverse counters count where no record of the other direction brings them too."""
    own = _both_ways(table)
    for unit in ("bytes", "packets"):
        ahead = _number(table, f"network.{unit}")
        back = np.where(own, _number(table, f"csirt.flow.reverse.{unit}"), 0).astype(np.uint64)
        yield "source", unit, np.where(swap, back, ahead)
        yield "destination", unit, np.where(swap, ahead, back)


def _both_ways(table: pa.Table) -> Array:
    """Which records hold both directions themselves: metered from packets, or of an exporter that says so."""
    metered = _column(table, "netflow.exporter.version", pa.uint8()).is_null()
    told = pc.fill_null(pc.match_substring(_column(table, "netflow.elements", pa.string()), "reverse_"), False)
    return np.asarray(pc.or_(metered, told).to_numpy(zero_copy_only=False))


def _grouped(table: pa.Table) -> pa.Table:
    found = table.group_by(list(_KEYS), use_threads=False).aggregate(
        [*((name, "sum") for name in _SUMS), *((name, "max") for name in _NAMES)]
    )
    names = [name.removesuffix("_sum").removesuffix("_max") for name in found.column_names]
    return found.rename_columns(names).select([*_KEYS, *_NAMES, *_SUMS])
