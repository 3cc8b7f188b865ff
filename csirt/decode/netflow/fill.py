"""The compiled interpreter of plans: record fields to columns, for any template, with nothing compiled per template."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.decode.netflow.scan import be16, be32
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

Number = Any  # inside compiled code: whatever width numba infers

# Operations, one for each column of a shape: kind, field, second and third field (of its plan, or -1).
# A place row, of the same column in this batch: width (1, 2, 4, 8), base 0 to 2 (in elements).
UINT, SINT, V4, V6, SPAN, TEXT, SECONDS, MILLIS, NTP, UPTIME, DELTA, FLOAT = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
OP_WIDTH = 4
PLACE_WIDTH = 4
AT_A_TIME = 32  # records with variable-length fields that are taken apart before their columns are filled
YEAR_9999 = 253_402_300_799_999_999
BAD_TIME = -1
ONE, TWO, THREE, FOUR = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)


@kernel
def _unsigned(b: Array, at: Number, length: Number) -> Number:
    value = np.uint64(0)
    for i in range(length):
        value = (value << np.uint64(8)) | np.uint64(b[at + i])
    return value


@kernel
def _scaled(value: Number, factor: Number) -> Number:
    if value > np.uint64(YEAR_9999) // np.uint64(factor):
        return np.int64(BAD_TIME)
    return np.int64(value) * factor


@kernel
def _signed32(value: Number) -> Number:
    value = value & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


@kernel
def _calendar(value: Number) -> Number:
    return value if 0 < value <= YEAR_9999 else np.int64(BAD_TIME)


@kernel
def _four(b: Array, at: Number) -> Number:
    """Four octets at an unsigned index (an unsigned one needs no check for negative ones)."""
    return (
        (np.uint32(b[at]) << np.uint32(24))
        | (np.uint32(b[at + ONE]) << np.uint32(16))
        | (np.uint32(b[at + TWO]) << np.uint32(8))
        | np.uint32(b[at + THREE])
    )


@kernel
def _time(
    b: Array, kind: Number, at: Number, length: Number, second: Number, third: Number, export: Number, uptime: Number
) -> Number:
    """Microseconds since 1970, or BAD_TIME for zero and for what no calendar holds."""
    if kind == SECONDS:
        result = _scaled(_unsigned(b, at, length), 1_000_000)
    elif kind == MILLIS:
        result = _scaled(_unsigned(b, at, length), 1_000)
    elif kind == NTP:  # RFC 7011, 6.1.9: seconds since 1900 and a binary fraction; zero is none
        whole = be32(b, at)
        if whole < 1 << 31 and (whole | be32(b, at + 4)) != 0:  # the era that begins in 2036 (RFC 4330, 3)
            whole += 1 << 32
        result = (whole - 2_208_988_800) * 1_000_000 + ((be32(b, at + 4) * 1_000_000) >> 32)
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
    return _calendar(result)


@kernel
def _one(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    kind: Number,
    width: Number,
    base: Number,
    base1: Number,
    base2: Number,
    at: Number,
    length: Number,
    second: Number,
    third: Number,
    export: Number,
    uptime: Number,
) -> None:
    """Write one field of one record; the bases include the row."""
    if kind in (UINT, SINT, FLOAT):
        value = _unsigned(b, at, length)
        if kind == SINT and length < 8 and length > 0 and b[at] >= 128:
            value |= ~np.uint64(0) << np.uint64(8 * length)
        if kind == FLOAT and length == 4 and width == 8:
            single = np.array([value], np.uint64).astype(np.uint32).view(np.float32)
            value = single.astype(np.float64).view(np.uint64)[0]
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
        o8[base2] = _unsigned(b, at, 4)
    elif kind == V6:
        o1[base] = 6
        o8[base1] = _unsigned(b, at, 8)
        o8[base2] = _unsigned(b, at + 8, 8)
    elif kind in (SPAN, TEXT):
        if kind == TEXT:
            while length > 0 and b[at + length - 1] == 0:
                length -= 1
        o8[base] = np.uint64(at)
        o4[base1] = np.uint32(length)
    else:
        o8[base] = np.uint64(_time(b, kind, at, length, second, third, export, uptime))


@kernel
def _eight(b: Array, at: Number) -> Number:
    """Eight octets at an unsigned index."""
    return (np.uint64(_four(b, at)) << np.uint64(32)) | np.uint64(_four(b, at + FOUR))


@inlined
def _integer(
    b: Array, o1: Array, o2: Array, o4: Array, o8: Array, length: Number, width: Number, r: Number, x: Number
) -> bool:
    """One unsigned field; False for lengths that are rare."""
    if length == 1 and width == 1:
        o1[r] = b[x]
    elif length == 2 and width == 2:
        o2[r] = (np.uint16(b[x]) << 8) | np.uint16(b[x + ONE])
    elif length == 4 and width == 4:
        o4[r] = _four(b, x)
    elif length == 4 and width == 8:
        o8[r] = _four(b, x)
    elif length == 8 and width == 8:
        o8[r] = _eight(b, x)
    else:
        return False
    return True


@kernel
def _fixed(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    ops: Array,
    starts: Array,
    sizes: Array,
    place: Array,
    size: Number,
    offset: Number,
    n: Number,
    row: Number,
    export: Number,
    uptime: Number,
) -> None:
    """All records of one set whose records are all `size` octets long, column by column."""
    step = np.uint64(size)
    for k in range(ops.shape[0]):
        kind = ops[k, 0]
        length = sizes[ops[k, 1]]
        width = place[k, 0]
        x = np.uint64(offset + starts[ops[k, 1]])
        r = np.uint64(place[k, 1] + row)
        unsigned = kind == UINT
        if unsigned and length == 1 and width == 1:
            for _ in range(n):
                o1[r] = b[x]
                r += ONE
                x += step
        elif unsigned and length == 2 and width == 2:
            for _ in range(n):
                o2[r] = (np.uint16(b[x]) << 8) | np.uint16(b[x + ONE])
                r += ONE
                x += step
        elif unsigned and length == 4 and width == 4:
            for _ in range(n):
                o4[r] = _four(b, x)
                r += ONE
                x += step
        elif unsigned and length == 4 and width == 8:
            for _ in range(n):
                o8[r] = _four(b, x)
                r += ONE
                x += step
        elif unsigned and length == 8 and width == 8:
            for _ in range(n):
                o8[r] = _eight(b, x)
                r += ONE
                x += step
        elif unsigned and length == 1 and width == 2:
            for _ in range(n):
                o2[r] = b[x]
                r += ONE
                x += step
        elif unsigned and length == 1 and width == 4:
            for _ in range(n):
                o4[r] = b[x]
                r += ONE
                x += step
        elif unsigned and length == 2 and width == 4:
            for _ in range(n):
                o4[r] = (np.uint32(b[x]) << 8) | np.uint32(b[x + ONE])
                r += ONE
                x += step
        elif kind == MILLIS and length == 8:
            for _ in range(n):
                o8[r] = np.uint64(_calendar(_scaled(_eight(b, x), 1_000)))
                r += ONE
                x += step
        elif kind == V4:
            low = np.uint64(place[k, 3] + row)
            for _ in range(n):
                o1[r] = 4
                o8[low] = _four(b, x)
                r += ONE
                low += ONE
                x += step
        elif kind == V6:
            high = np.uint64(place[k, 2] + row)
            low = np.uint64(place[k, 3] + row)
            for _ in range(n):
                o1[r] = 6
                o8[high] = _eight(b, x)
                o8[low] = _eight(b, x + FOUR + FOUR)
                r += ONE
                high += ONE
                low += ONE
                x += step
        elif kind == UPTIME and ops[k, 2] < 0 and uptime >= 0:
            for _ in range(n):
                o8[r] = np.uint64(_calendar(export - _signed32(uptime - np.int64(_four(b, x))) * 1000))
                r += ONE
                x += step
        else:
            start = offset + starts[ops[k, 1]]
            second = offset + starts[ops[k, 2]] if ops[k, 2] >= 0 else -1
            third = offset + starts[ops[k, 3]] if ops[k, 3] >= 0 else -1
            for i in range(n):
                _one(
                    b,
                    o1,
                    o2,
                    o4,
                    o8,
                    kind,
                    width,
                    place[k, 1] + row + i,
                    place[k, 2] + row + i,
                    place[k, 3] + row + i,
                    start + i * size,
                    length,
                    second + i * size if second >= 0 else -1,
                    third + i * size,
                    export,
                    uptime,
                )


@kernel
def _split(b: Array, x: Number, sizes: Array, i: Number, start: Array, length: Array) -> Number:
    """Where each field of record `i`, which is at `x`, starts and how long it is; where the next record begins."""
    for f in range(sizes.size):
        n = sizes[f]
        if n == 65535:
            n = np.int64(b[x])
            x += 1
            if n == 255:
                n = be16(b, x)
                x += 2
        start[f, i] = x
        length[f, i] = n
        x += n
    return x


@kernel
def _scattered(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    op: Array,
    place: Array,
    size: Number,
    n: Number,
    row: Number,
    export: Number,
    uptime: Number,
    start: Array,
    length: Array,
) -> None:
    """One column of `n` records, whose fields begin anywhere: `size` octets each, 65535 when that varies."""
    kind = op[0]
    width = place[0]
    at = start[op[1]]
    if kind == UINT and (size == width or (size == 4 and width == 8)):
        for i in range(n):
            _integer(b, o1, o2, o4, o8, size, width, np.uint64(place[1] + row + i), np.uint64(at[i]))
    elif kind == V4:
        for i in range(n):
            o1[np.uint64(place[1] + row + i)] = 4
            o8[np.uint64(place[3] + row + i)] = _four(b, np.uint64(at[i]))
    elif kind == MILLIS and size == 8:
        for i in range(n):
            value = _calendar(_scaled(_eight(b, np.uint64(at[i])), 1_000))
            o8[np.uint64(place[1] + row + i)] = np.uint64(value)
    else:
        for i in range(n):
            _one(
                b,
                o1,
                o2,
                o4,
                o8,
                kind,
                width,
                place[1] + row + i,
                place[2] + row + i,
                place[3] + row + i,
                at[i],
                length[op[1], i],
                start[op[2], i] if op[2] >= 0 else -1,
                start[op[3], i] if op[3] >= 0 else -1,
                export,
                uptime,
            )


@kernel
def _varying(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    ops: Array,
    sizes: Array,
    place: Array,
    x: Number,
    count: Number,
    row: Number,
    export: Number,
    uptime: Number,
    start: Array,
    length: Array,
) -> None:
    """All records of one set with variable-length fields, some at a time, column by column. They have been counted."""
    done = 0
    while done < count:
        n = min(count - done, start.shape[1])
        for i in range(n):
            x = _split(b, x, sizes, i, start, length)
        for k in range(ops.shape[0]):
            size = sizes[ops[k, 1]]
            _scattered(*(b, o1, o2, o4, o8, ops[k], place[k], size, n, row + done, export, uptime, start, length))
        done += n


@kernel
def records(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    ops: Array,
    first_op: Array,
    starts: Array,
    sizes: Array,
    first_field: Array,
    size: Array,
    place: Array,
    first_place: Array,
    plan: Array,
    offset: Array,
    count: Array,
    row: Array,
    export: Array,
    uptime: Array,
) -> None:
    """All records of all sets. By plan: its operations and fields in `ops`, `starts`, `sizes` from `first_*` on, and
    the `size` of a record, 0 when it varies. By set: its plan, where the places of its shape begin, and the rest."""
    most = 1
    for p in range(size.size):
        most = max(most, first_field[p + 1] - first_field[p])
    start = np.empty((most, AT_A_TIME), np.int64)
    length = np.empty((most, AT_A_TIME), np.int64)
    for s in range(offset.size):
        p = plan[s]
        of = ops[first_op[p] : first_op[p + 1]]
        fields = sizes[first_field[p] : first_field[p + 1]]
        to = place[first_place[s] : first_place[s] + of.shape[0]]
        if size[p] > 0:
            at = starts[first_field[p] : first_field[p + 1]]
            _fixed(b, o1, o2, o4, o8, of, at, fields, to, size[p], offset[s], count[s], row[s], export[s], uptime[s])
        else:
            _varying(
                *(b, o1, o2, o4, o8, of, fields, to, offset[s], count[s], row[s], export[s], uptime[s], start, length)
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
        at: Number = 0
        kind: Number = 0x0800
        if ethernet:
            at = 14
            kind = be16(b, x + 12) if n >= 14 else 0
            while (kind == 0x8100 or kind == 0x88A8) and n >= at + 4:
                kind = be16(b, x + at + 2)
                at += 4
        elif n > 0 and b[x] >> 4 == 6:
            kind = 0x86DD
        protocol: Number = -1
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
