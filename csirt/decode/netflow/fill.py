"""The compiled interpreter of plans: record fields to columns, for any template, with nothing compiled per template."""

from __future__ import annotations

import numpy as np

from csirt.decode.netflow.reading import (
    FOUR,
    MILLIS,
    ONE,
    UINT,
    UPTIME,
    V4,
    V6,
    Number,
    calendar,
    eight,
    four,
    integer,
    one,
    scaled,
    signed32,
)
from csirt.decode.netflow.scan import be16
from csirt.model.batch import Array
from csirt.model.jit import fetch_ahead, inlined, kernel

# A read, one for each column of a plan, 16 octets so that the plans of many templates stay near: kind, length (65535
# when that varies), then of the first, second and third field (NONE: there is none) the octet it begins at, or its
# number in records whose lengths vary.
READ_WIDTH = 8
NONE = 65_535
# A place row, of the same column in this batch: width (1, 2, 4, 8), base 0 to 2 (in elements).
PLACE_WIDTH = 4
AT_A_TIME = 32  # records with variable-length fields that are taken apart before their columns are filled
AHEAD = 64  # rows: what is filled so much later is fetched now, or each column's next cache line is waited for
LINE = np.uint64(64)


@inlined
def _ahead(o1: Array, base: Number, width: Number, n: Number) -> None:
    """Fetch the memory that `n` values fill AHEAD rows later."""
    at = np.uint64((base + AHEAD) * width)
    end = at + np.uint64(n * width)
    while at < end:
        fetch_ahead(o1, at)
        at += LINE


@kernel
def _fixed(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    reads: Array,
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
    for k in range(reads.shape[0]):
        kind = np.int64(reads[k, 0])
        length = np.int64(reads[k, 1])
        width = place[k, 0]
        x = np.uint64(offset + np.int64(reads[k, 2]))
        r = np.uint64(place[k, 1] + row)
        unsigned = kind == UINT
        _ahead(o1, place[k, 1] + row, width, n)
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
                o4[r] = four(b, x)
                r += ONE
                x += step
        elif unsigned and length == 4 and width == 8:
            for _ in range(n):
                o8[r] = four(b, x)
                r += ONE
                x += step
        elif unsigned and length == 8 and width == 8:
            for _ in range(n):
                o8[r] = eight(b, x)
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
                o8[r] = np.uint64(calendar(scaled(eight(b, x), 1_000)))
                r += ONE
                x += step
        elif kind == V4:
            low = np.uint64(place[k, 3] + row)
            _ahead(o1, place[k, 3] + row, 8, n)
            for _ in range(n):
                o1[r] = 4
                o8[low] = four(b, x)
                r += ONE
                low += ONE
                x += step
        elif kind == V6:
            high = np.uint64(place[k, 2] + row)
            low = np.uint64(place[k, 3] + row)
            _ahead(o1, place[k, 2] + row, 8, n)
            _ahead(o1, place[k, 3] + row, 8, n)
            for _ in range(n):
                o1[r] = 6
                o8[high] = eight(b, x)
                o8[low] = eight(b, x + FOUR + FOUR)
                r += ONE
                high += ONE
                low += ONE
                x += step
        elif kind == UPTIME and reads[k, 3] == NONE and uptime >= 0:
            for _ in range(n):
                o8[r] = np.uint64(calendar(export - signed32(uptime - np.int64(four(b, x))) * 1000))
                r += ONE
                x += step
        else:
            start = np.int64(x)
            second = offset + np.int64(reads[k, 3]) if reads[k, 3] != NONE else -1
            third = offset + np.int64(reads[k, 4]) if reads[k, 4] != NONE else -1
            for i in range(n):
                one(
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
        n = np.int64(sizes[f])
        if n == NONE:
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
    kind: Number,
    size: Number,
    field: Number,
    second: Number,
    third: Number,
    place: Array,
    n: Number,
    row: Number,
    export: Number,
    uptime: Number,
    start: Array,
    length: Array,
) -> None:
    """One column of `n` records, whose fields begin anywhere."""
    width = place[0]
    at = start[field]
    if kind == UINT and (size == width or (size == 4 and width == 8)):
        for i in range(n):
            integer(b, o1, o2, o4, o8, size, width, np.uint64(place[1] + row + i), np.uint64(at[i]))
    elif kind == V4:
        for i in range(n):
            o1[np.uint64(place[1] + row + i)] = 4
            o8[np.uint64(place[3] + row + i)] = four(b, np.uint64(at[i]))
    elif kind == MILLIS and size == 8:
        for i in range(n):
            value = calendar(scaled(eight(b, np.uint64(at[i])), 1_000))
            o8[np.uint64(place[1] + row + i)] = np.uint64(value)
    else:
        for i in range(n):
            one(
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
                length[field, i],
                start[second, i] if second != NONE else -1,
                start[third, i] if third != NONE else -1,
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
    reads: Array,
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
        for k in range(reads.shape[0]):
            kind, size, field = np.int64(reads[k, 0]), np.int64(reads[k, 1]), np.int64(reads[k, 2])
            second, third = np.int64(reads[k, 3]), np.int64(reads[k, 4])
            _scattered(
                *(b, o1, o2, o4, o8, kind, size, field, second, third, place[k]),
                *(n, row + done, export, uptime, start, length),
            )
        done += n


@kernel
def records(
    b: Array,
    o1: Array,
    o2: Array,
    o4: Array,
    o8: Array,
    reads: Array,
    first_read: Array,
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
    """All records of all sets. By plan: its `reads` and the `sizes` of its fields from `first_*` on, and the `size` of
    a record, 0 when it varies. By set: its plan, where the places of its shape begin, and the rest."""
    most = 1
    for p in range(size.size):
        most = max(most, first_field[p + 1] - first_field[p])
    start = np.empty((most, AT_A_TIME), np.int64)
    length = np.empty((most, AT_A_TIME), np.int64)
    for s in range(offset.size):
        p = plan[s]
        of = reads[first_read[p] : first_read[p + 1]]
        to = place[first_place[s] : first_place[s] + of.shape[0]]
        if size[p] > 0:
            _fixed(b, o1, o2, o4, o8, of, to, size[p], offset[s], count[s], row[s], export[s], uptime[s])
        else:
            fields = sizes[first_field[p] : first_field[p + 1]]
            _varying(
                *(b, o1, o2, o4, o8, of, fields, to, offset[s], count[s], row[s], export[s], uptime[s], start, length)
            )
