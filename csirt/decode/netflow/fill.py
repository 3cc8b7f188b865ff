"""The compiled interpreter of plans: record fields to columns, for any template, with nothing compiled per template."""

from __future__ import annotations

import numpy as np

from csirt.decode.netflow.jit import kernel
from csirt.decode.netflow.scan import be16, be32
from csirt.model.batch import Array

# Operations. An operation row: kind, field, width (1, 2, 4, 8), base 0 to 2 (in elements), second and third field.
UINT, SINT, V4, V6, SPAN, TEXT, SECONDS, MILLIS, NTP, UPTIME, DELTA, FLOAT = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
OP_WIDTH = 8
YEAR_9999 = 253_402_300_799_999_999
BAD_TIME = -1


@kernel
def _unsigned(b: Array, at: int, length: int) -> int:
    value = np.uint64(0)
    for i in range(length):
        value = (value << np.uint64(8)) | np.uint64(b[at + i])
    return value


@kernel
def _scaled(value: int, factor: int) -> int:
    if value > np.uint64(YEAR_9999) // np.uint64(factor):
        return np.int64(BAD_TIME)
    return np.int64(value) * factor


@kernel
def _signed32(value: int) -> int:
    value = value & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


@kernel
def _time(b: Array, kind: int, at: int, length: int, second: int, third: int, export: int, uptime: int) -> int:
    """Microseconds since 1970, or BAD_TIME for zero and for what no calendar holds."""
    if kind == SECONDS:
        result = _scaled(_unsigned(b, at, length), 1_000_000)
    elif kind == MILLIS:
        result = _scaled(_unsigned(b, at, length), 1_000)
    elif kind == NTP:  # RFC 7011, 6.1.9: seconds since 1900 and a binary fraction
        result = (be32(b, at) - 2_208_988_800) * 1_000_000 + ((be32(b, at + 4) * 1_000_000) >> 32)
    elif kind == DELTA:
        result = export - np.int64(_unsigned(b, at, length) & np.uint64(0xFFFFFFFF))
    else:
        value = np.int64(_unsigned(b, at, length) & np.uint64(0xFFFFFFFF))
        if second >= 0:  # the record says when the device started
            boot = np.int64(_unsigned(b, second, 8) & np.uint64(0x7FFFFFFFFFFFF))
            uptime = ((export // 1000) - boot) & 0xFFFFFFFF
        if uptime >= 0:
            result = export - _signed32(uptime - value) * 1000
        else:  # nobody says when it started: the flow's end is taken for the export time
            result = export - _signed32(np.int64(_unsigned(b, third, 4)) - value) * 1000
    return result if 0 < result <= YEAR_9999 else np.int64(BAD_TIME)


@kernel
def _one(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    op: Array,
    row: int,
    at: int,
    length: int,
    second: int,
    third: int,
    export: int,
    uptime: int,
) -> None:
    """Write one field of one record."""
    kind = op[0]
    width = op[2]
    base = op[3] + row
    if kind == UINT or kind == SINT or kind == FLOAT:
        value = _unsigned(b, at, length)
        if kind == SINT and length < 8 and length > 0 and b[at] >= 128:
            value |= ~np.uint64(0) << np.uint64(8 * length)
        if width == 1:
            o1[base] = np.uint8(value)
        elif width == 2:
            o2[base] = np.uint16(value)
        elif width == 4:
            o4[base] = np.uint32(value)
        else:
            o8[base] = value
    elif kind == V4:
        o1[base] = 4
        o8[op[5] + row] = _unsigned(b, at, 4)
    elif kind == V6:
        o1[base] = 6
        o8[op[4] + row] = _unsigned(b, at, 8)
        o8[op[5] + row] = _unsigned(b, at + 8, 8)
    elif kind == SPAN or kind == TEXT:
        if kind == TEXT:
            while length > 0 and b[at + length - 1] == 0:
                length -= 1
        o8[base] = np.uint64(at)
        o4[op[4] + row] = np.uint32(length)
    else:
        o8[base] = np.uint64(_time(b, kind, at, length, second, third, export, uptime))


@kernel
def fixed(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    ops: Array,
    field_at: Array,
    field_size: Array,
    size: int,
    offset: Array,
    records: Array,
    row: Array,
    export: Array,
    uptime: Array,
) -> None:
    """All records of the sets of one plan whose records are all `size` octets long, column by column."""
    for k in range(ops.shape[0]):
        op = ops[k]
        kind = op[0]
        width = op[2]
        base = op[3]
        start = field_at[op[1]]
        length = field_size[op[1]]
        second = field_at[op[6]] if op[6] >= 0 else -1
        third = field_at[op[7]] if op[7] >= 0 else -1
        plain = kind == UINT
        for s in range(offset.size):
            x = offset[s] + start
            r = base + row[s]
            n = records[s]
            if plain and length == 1 and width == 1:
                for i in range(n):
                    o1[r + i] = b[x + i * size]
            elif plain and length == 2 and width == 2:
                for i in range(n):
                    o2[r + i] = np.uint16(be16(b, x + i * size))
            elif plain and length == 4 and width == 4:
                for i in range(n):
                    o4[r + i] = np.uint32(be32(b, x + i * size))
            elif plain and length == 4 and width == 8:
                for i in range(n):
                    o8[r + i] = np.uint64(be32(b, x + i * size))
            elif kind == V4:
                low = op[5] + row[s]
                for i in range(n):
                    o1[r + i] = 4
                    o8[low + i] = np.uint64(be32(b, x + i * size))
            elif kind == UPTIME and second < 0 and uptime[s] >= 0:
                e = export[s]
                u = uptime[s]
                for i in range(n):
                    t = e - _signed32(u - be32(b, x + i * size)) * 1000
                    o8[r + i] = np.uint64(t if 0 < t <= YEAR_9999 else np.int64(BAD_TIME))
            else:
                for i in range(n):
                    y = x + i * size
                    z = offset[s] + i * size
                    _one(
                        b,
                        o1,
                        o2,
                        o4,
                        o8,
                        op,
                        row[s] + i,
                        y,
                        length,
                        z + second if second >= 0 else -1,
                        z + third if third >= 0 else -1,
                        export[s],
                        uptime[s],
                    )


@kernel
def variable(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    ops: Array,
    field_size: Array,
    offset: Array,
    records: Array,
    row: Array,
    export: Array,
    uptime: Array,
) -> None:
    """As `fixed`, record by record, for plans with variable-length fields. The records have been counted already."""
    fields = field_size.size
    start = np.empty(fields, np.int64)
    length = np.empty(fields, np.int64)
    for s in range(offset.size):
        x = offset[s]
        for i in range(records[s]):
            for f in range(fields):
                n = field_size[f]
                if n == 65535:
                    n = np.int64(b[x])
                    x += 1
                    if n == 255:
                        n = be16(b, x)
                        x += 2
                start[f] = x
                length[f] = n
                x += n
            for k in range(ops.shape[0]):
                op = ops[k]
                second = start[op[6]] if op[6] >= 0 else -1
                third = start[op[7]] if op[7] >= 0 else -1
                _one(
                    b, o1, o2, o4, o8, op, row[s] + i, start[op[1]], length[op[1]], second, third, export[s], uptime[s]
                )


@kernel
def gather(b: Array, offset: Array, length: Array, out: Array) -> None:
    """Copy the spans one after the other."""
    at = 0
    for i in range(offset.size):
        x = offset[i]
        for j in range(length[i]):
            out[at + j] = b[x + j]
        at += length[i]


@kernel
def header_end(b: Array, offset: Array, length: Array, ethernet: bool) -> None:
    """Shorten the spans, which are sections of packets, to the end of the transport header (decision 15)."""
    for i in range(offset.size):
        x = offset[i]
        n = np.int64(length[i])
        at = 0
        kind = 0x0800
        if ethernet:
            at = 14
            kind = be16(b, x + 12) if n >= 14 else 0
            while (kind == 0x8100 or kind == 0x88A8) and n >= at + 4:
                kind = be16(b, x + at + 2)
                at += 4
        elif n > 0 and b[x] >> 4 == 6:
            kind = 0x86DD
        protocol = -1
        if kind == 0x0800 and n >= at + 20 and b[x + at] >> 4 == 4:
            protocol = np.int64(b[x + at + 9])
            if be16(b, x + at + 6) & 0x1FFF:
                protocol = -1  # not the first fragment
            at += 4 * np.int64(b[x + at] & 15)
        elif kind == 0x86DD and n >= at + 40:
            protocol = np.int64(b[x + at + 6])
            at += 40
        if protocol == 6 and n >= at + 13:
            at += max(20, 4 * np.int64(b[x + at + 12] >> 4))
        elif protocol == 17:
            at += 8
        elif protocol == 1 or protocol == 58:
            at += 4
        if at < n:
            length[i] = at
