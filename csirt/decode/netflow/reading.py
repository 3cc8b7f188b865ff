"""The compiled readers of one field: numbers, times and addresses as they lie on the wire.

A reader takes the first octet's place. Nothing here trusts a length: who calls has seen that the record is whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.decode.netflow.scan import be32
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

Number = Any  # inside compiled code: whatever width numba infers

# What a column's values are made of.
UINT, SINT, V4, V6, SPAN, TEXT, SECONDS, MILLIS, NTP, UPTIME, DELTA, FLOAT = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
YEAR_9999 = 253_402_300_799_999_999
BAD_TIME = -1
ONE, TWO, THREE, FOUR = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)


@kernel
def unsigned(b: Array, at: Number, length: Number) -> Number:
    value = np.uint64(0)
    for i in range(length):
        value = (value << np.uint64(8)) | np.uint64(b[at + i])
    return value


@kernel
def scaled(value: Number, factor: Number) -> Number:
    if value > np.uint64(YEAR_9999) // np.uint64(factor):
        return np.int64(BAD_TIME)
    return np.int64(value) * factor


@kernel
def signed32(value: Number) -> Number:
    value = value & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


@kernel
def calendar(value: Number) -> Number:
    return value if 0 < value <= YEAR_9999 else np.int64(BAD_TIME)


@kernel
def four(b: Array, at: Number) -> Number:
    """Four octets at an unsigned index (an unsigned one needs no check for negative ones)."""
    return (
        (np.uint32(b[at]) << np.uint32(24))
        | (np.uint32(b[at + ONE]) << np.uint32(16))
        | (np.uint32(b[at + TWO]) << np.uint32(8))
        | np.uint32(b[at + THREE])
    )


@kernel
def time(
    b: Array, kind: Number, at: Number, length: Number, second: Number, third: Number, export: Number, uptime: Number
) -> Number:
    """Microseconds since 1970, or BAD_TIME for zero and for what no calendar holds."""
    if kind == SECONDS:
        result = scaled(unsigned(b, at, length), 1_000_000)
    elif kind == MILLIS:
        result = scaled(unsigned(b, at, length), 1_000)
    elif kind == NTP:  # RFC 7011, 6.1.9: seconds since 1900 and a binary fraction; zero is none
        whole = be32(b, at)
        if whole < 1 << 31 and (whole | be32(b, at + 4)) != 0:  # the era that begins in 2036 (RFC 4330, 3)
            whole += 1 << 32
        result = (whole - 2_208_988_800) * 1_000_000 + ((be32(b, at + 4) * 1_000_000) >> 32)
    elif kind == DELTA:
        result = export - np.int64(unsigned(b, at, length) & np.uint64(0xFFFFFFFF))
    else:
        value = np.int64(unsigned(b, at, length) & np.uint64(0xFFFFFFFF))
        if second >= 0:  # the record says when the device started
            boot = np.int64(unsigned(b, second, 8) & np.uint64(0x7FFFFFFFFFFFF))
            uptime = ((export // 1000) - boot) & 0xFFFFFFFF
        if uptime >= 0:
            result = export - signed32(uptime - value) * 1000
        else:  # nobody says when it started: the flow's end is taken for the export time
            result = export - signed32(np.int64(unsigned(b, third, 4)) - value) * 1000
    return calendar(result)


@kernel
def one(
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
        value = unsigned(b, at, length)
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
        o8[base2] = unsigned(b, at, 4)
    elif kind == V6:
        o1[base] = 6
        o8[base1] = unsigned(b, at, 8)
        o8[base2] = unsigned(b, at + 8, 8)
    elif kind in (SPAN, TEXT):
        if kind == TEXT:
            while length > 0 and b[at + length - 1] == 0:
                length -= 1
        o8[base] = np.uint64(at)
        o4[base1] = np.uint32(length)
    else:
        o8[base] = np.uint64(time(b, kind, at, length, second, third, export, uptime))


@kernel
def eight(b: Array, at: Number) -> Number:
    """Eight octets at an unsigned index."""
    return (np.uint64(four(b, at)) << np.uint64(32)) | np.uint64(four(b, at + FOUR))


@inlined
def integer(
    b: Array, o1: Array, o2: Array, o4: Array, o8: Array, length: Number, width: Number, r: Number, x: Number
) -> bool:
    """One unsigned field; False for lengths that are rare."""
    if length == 1 and width == 1:
        o1[r] = b[x]
    elif length == 2 and width == 2:
        o2[r] = (np.uint16(b[x]) << 8) | np.uint16(b[x + ONE])
    elif length == 4 and width == 4:
        o4[r] = four(b, x)
    elif length == 4 and width == 8:
        o8[r] = four(b, x)
    elif length == 8 and width == 8:
        o8[r] = eight(b, x)
    else:
        return False
    return True
