"""What members agreed: services between them, and the hours a supplier may work at a member."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.enrich import kernels
from csirt.enrich.columns import Classes, dictionary
from csirt.enrich.register import Register
from csirt.model.batch import Array
from csirt.model.hours import intervals

_FOREVER = 1 << 62
_TRANSPORT = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
_WINDOW = ("inside", "outside", "none")


class Agreements:
    """The register's agreements as sorted arrays, in file order within a pair of members."""

    def __init__(self, register: Register, classes: Classes) -> None:
        self._member = classes.member
        self._ids = pa.array([agreement.id for agreement in register.agreements], pa.string())
        rows: list[tuple[int, ...]] = []
        for code, agreement in enumerate(register.agreements):
            pair = classes.number[agreement.source], classes.number[agreement.destination]
            for low, high in agreement.ports:
                until = agreement.until or _FOREVER
                rows.append((*pair, low, high, agreement.protocol, agreement.since, until, code))
        rows.sort(key=lambda row: row[:2])
        table = np.array(rows, np.int64).reshape(-1, 8)
        self._begins = np.searchsorted(table[:, 0], np.arange(len(classes.members) + 1)).astype(np.int64)
        self._entries = np.ascontiguousarray(table[:, 1:])

    def column(self, table: pa.Table, source: Array, destination: Array) -> pa.Array:
        """`csirt.agreement`: the id of the agreement from the source's member to the destination's that allows the
        destination port at event time, or null."""
        found = np.full(table.num_rows, -1, np.int32)
        if len(self._entries):
            when = _numbers(table.column("destination.port")), _protocol(table), times(table)
            ends = source, destination, self._member
            port, protocol, time = map(kernels.fixed, when)
            kernels.agreements(*ends, port, protocol, time, self._begins, self._entries, found)
        return dictionary(found, self._ids)


def times(table: pa.Table) -> Array:
    """`@timestamp` in microseconds (int64); 0 where there is none."""
    return _numbers(table.column("@timestamp"))


def _numbers(column: Any) -> Array:
    return np.asarray(pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy())


def _protocol(table: pa.Table) -> Array:
    """The IP protocol per row (int64); empty when the table does not tell."""
    if "network.iana_number" in table.column_names:
        return _numbers(table.column("network.iana_number"))
    if "network.transport" in table.column_names:
        encoded = pc.dictionary_encode(pc.cast(table.column("network.transport"), pa.string())).combine_chunks()
        numbers = np.array([*(_TRANSPORT.get(name.as_py(), 0) for name in encoded.dictionary), 0], np.int64)
        picks = pc.fill_null(pc.cast(encoded.indices, pa.int64()), len(numbers) - 1).to_numpy()
        return np.asarray(numbers[picks])
    return np.empty(0, np.int64)


def windows(register: Register, classes: Classes, table: pa.Table, source: Array, destination: Array) -> pa.Array:
    """`csirt.supplier_window`: null unless the source is a supplier and the destination another known member.

    Rows are taken per pair of supplier and member, and a pair's windows only on the days its rows lie on.
    """
    member, total = classes.member, len(classes.members)
    rows = np.flatnonzero(classes.supplier[source])
    rows = rows[(member[destination[rows]] >= 0) & (member[destination[rows]] != member[source[rows]])]
    found = np.full(table.num_rows, -1, np.int32)
    found[rows] = _WINDOW.index("none")
    agreed = {classes.number[a] * total + classes.number[b]: own for (a, b), own in register.windows_of.items()}
    pair = member[source[rows]].astype(np.int64) * total + member[destination[rows]]
    listed = np.isin(pair, np.array(list(agreed), np.int64))
    rows, pair = rows[listed], pair[listed]
    if rows.size:
        moments = times(table)[rows]
        order = np.argsort(pair, kind="stable")
        keys, starts = np.unique(pair[order], return_index=True)
        for key, picked in zip(keys.tolist(), np.split(order, starts[1:]), strict=True):
            found[rows[picked]] = np.where(_inside(agreed[key], moments[picked]), 0, 1)
    return dictionary(found, pa.array(_WINDOW))


def _inside(own: tuple[Any, ...], moments: Array) -> Array:
    """Which moments lie in one of the windows."""
    day = 86_400_000_000
    inside = np.zeros(moments.size, np.bool_)
    for date in np.unique(moments // day).tolist():
        here = moments // day == date
        for window in own:
            for start, end in intervals(window, date * day, (date + 1) * day - 1):
                inside |= here & (moments >= start) & (moments < end)
    return inside
