"""Community ID flow hashing, version 1 (https://github.com/corelight/community-id-spec), over whole tables."""

from __future__ import annotations

import base64
from functools import partial
from hashlib import sha1 as _sha1

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Array, address_parts

SEED = 0
sha1 = partial(_sha1, usedforsecurity=False)
_PORTS = (1, 6, 17, 58, 132)
# ICMP types that ask and answer; anything else is one-way and is never turned round.
_ICMP4 = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17, 10: 9, 9: 10}
_ICMP6 = {128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135, 130: 131, 131: 130, 144: 145, 145: 144, 139: 140,
          140: 139}  # fmt: skip


def ids(table: pa.Table) -> pa.DictionaryArray | None:
    """The id of every row, null where an address, the protocol, or what stands for ports is missing; None when the
    table lacks the columns. Computed once per distinct 5-tuple."""
    if not {"source.ip:f", "destination.ip:f", "network.iana_number"} <= set(table.column_names):
        return None
    (sf, sh, sl), (df, dh, dl) = address_parts(table, "source.ip"), address_parts(table, "destination.ip")
    protocol = _numbers(table, "network.iana_number")
    sport, dport, one_way = _ports(table, protocol)
    with_ports = np.isin(protocol, _PORTS)
    usable = (sf == df) & (sf > 0) & (protocol >= 0) & (~with_ports | ((sport >= 0) & (dport >= 0)))
    later = (sh > dh) | ((sh == dh) & ((sl > dl) | ((sl == dl) & with_ports & (sport > dport))))
    turn = later & ~one_way
    a_h, a_l, a_p = (np.where(turn, y, x) for x, y in ((sh, dh), (sl, dl), (sport, dport)))
    b_h, b_l, b_p = (np.where(turn, x, y) for x, y in ((sh, dh), (sl, dl), (sport, dport)))
    found = np.full(table.num_rows, -1, np.int64)
    digests: list[bytes] = []
    for family in (4, 6):
        for ports in (True, False):
            which = np.flatnonzero(usable & (sf == family) & (with_ports == ports))
            if not len(which):
                continue
            pieces = [np.full((len(which), 2), SEED, np.uint8)]
            for high, low in ((a_h, a_l), (b_h, b_l)):
                pieces += _octets(family, high[which], low[which])
            pieces += [protocol[which].astype(np.uint8)[:, None], np.zeros((len(which), 1), np.uint8)]
            if ports:
                pieces += [_big(side[which], ">u2") for side in (a_p, b_p)]
            rows = np.ascontiguousarray(np.concatenate(pieces, axis=1))
            kind = pa.binary(rows.shape[1])
            distinct = pa.Array.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)]).dictionary_encode()
            found[which] = distinct.indices.to_numpy() + len(digests)
            digests += [sha1(item).digest() for item in distinct.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(
        pa.array(np.maximum(found, 0).astype(np.int32), mask=found < 0), _base64(digests)
    )


def _base64(digests: list[bytes]) -> pa.Array:
    """`1:` and the digests in base64. 20 octets and a zero are 28 characters, the last of which stands for padding."""
    raw = base64.b64encode(b"\0".join([*digests, b""]))
    rows = np.empty((len(digests), 30), np.uint8)
    rows[:, :2] = np.frombuffer(b"1:", np.uint8)
    rows[:, 2:] = np.frombuffer(raw, np.uint8).reshape(-1, 28)
    rows[:, 29] = ord("=")
    ends = np.arange(len(digests) + 1, dtype=np.int32) * 30
    return pa.Array.from_buffers(pa.string(), len(digests), [None, pa.py_buffer(ends), pa.py_buffer(rows)])


def _big(values: Array, kind: str) -> Array:
    return values.astype(kind).view(np.uint8).reshape(len(values), -1)


def _octets(family: int, high: Array, low: Array) -> list[Array]:
    return [_big(low, ">u4")] if family == 4 else [_big(high, ">u8"), _big(low, ">u8")]


def _numbers(table: pa.Table, name: str) -> Array:
    if name not in table.column_names:
        return np.full(table.num_rows, -1, np.int64)
    column = table.column(name).combine_chunks().cast(pa.int64())
    return np.asarray(pc.fill_null(column, -1).to_numpy(zero_copy_only=False))


def _ports(table: pa.Table, protocol: Array) -> tuple[Array, Array, Array]:
    """What stands for the ports, -1 where unknown, and which rows are one-way ICMP."""
    sport, dport = _numbers(table, "source.port"), _numbers(table, "destination.port")
    one_way = np.zeros(len(protocol), bool)
    kind, code = _numbers(table, "icmp.type"), _numbers(table, "icmp.code")
    for number, pairs in ((1, _ICMP4), (58, _ICMP6)):
        mine = protocol == number
        if not mine.any():
            continue
        answer = np.full(257, -1, np.int64)
        answer[list(pairs)] = list(pairs.values())
        other = answer[np.where(kind >= 0, kind, 256)]
        sport = np.where(mine, kind, sport)
        dport = np.where(mine, np.where(other >= 0, other, code), dport)
        one_way |= mine & (other < 0)
    return sport, dport, one_way
