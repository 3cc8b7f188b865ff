"""Compiled: numbers, times, addresses and strings as JSON text in a buffer.

Each writer is given the buffer and a place in it, and returns the place behind what it wrote.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

Number = Any  # inside compiled code: whatever width numba infers

ERAS = 1_000  # of 400 years: more than 64 bits of microseconds reach back
QUOTE, BACKSLASH, DOT, COLON, ZERO = 34, 92, 46, 58, 48
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
PAIRS = np.frombuffer("".join(f"{n:02}" for n in range(100)).encode(), np.uint8)
OCTETS = np.frombuffer(b"".join(str(n).encode().ljust(3) + bytes([len(str(n))]) for n in range(256)), np.uint8)
TEN, HUNDRED, FOURTH, EIGHTH = np.uint64(10), np.uint64(100), np.uint64(10**4), np.uint64(10**8)
FOUR, EIGHT, SIXTEEN, TOP = np.uint64(4), np.uint64(8), np.uint64(16), np.uint64(32)
LOW, NIBBLE = np.uint64(0xFFFF), np.uint64(15)
# IPv4-mapped addresses end in dots where this Python writes them so (3.13 and later do).
MAPPED_DOTS = "." in str(ipaddress.IPv6Address("::ffff:1.2.3.4"))


def _escapes() -> Array:
    """By octet: 0 where a JSON string has it as it is, else what stands behind the backslash (RFC 8259, section 7)."""
    table = np.zeros(256, np.uint8)
    table[:32] = ord("u")
    for octet, letter in zip(b'\b\t\n\f\r"\\', b'btnfr"\\', strict=True):
        table[octet] = letter
    return table


ESCAPES = _escapes()


def _move(_: Any, target: Any, at: Any, source: Any, start: Any) -> Any:
    """Sixteen octets at once, unaligned: a plain loop is not made one move, for the arrays might overlap."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.VectorType(ir.IntType(8), 16).as_pointer()
        places, view = [], cast(Any, arrayobj.make_array)
        for array, index in ((0, 1), (2, 3)):
            data = view(signature.args[array])(context, builder, arguments[array]).data
            places.append(builder.bitcast(builder.gep(data, [arguments[index]]), wide))
        builder.store(builder.load(places[1], align=1), places[0], align=1)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp), code


def _word(_: Any, target: Any, at: Any, value: Any) -> Any:
    """Eight octets of a number at once, the lowest first."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = cast(Any, arrayobj.make_array)(signature.args[0])(context, builder, arguments[0]).data
        number = builder.bswap(arguments[2]) if sys.byteorder == "big" else arguments[2]
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(number, place, align=1)
        return context.get_dummy_value()

    return types.void(target, types.intp, types.uint64), code


_moved: Any = intrinsic(_move)
_put: Any = intrinsic(_word)


@inlined
def copy(out: Array, p: Number, source: Array, start: Number, size: Number) -> Number:
    """`size` octets of another buffer; up to 15 behind them are touched too."""
    end = p + size
    while p < end:
        _moved(out, p, source, start)
        p += 16
        start += 16
    return end


@inlined
def _digits(value: Number) -> Number:
    """The eight digits of a number below 10^8 as octets, the first one lowest: halves, quarters and digits side by side
    in one word."""
    half = value // FOURTH
    word = half | (value - half * FOURTH) << TOP
    quarters = (word * np.uint64(10486) >> np.uint64(20)) & np.uint64(0x7F_0000_007F)
    word = quarters | (word - quarters * HUNDRED) << SIXTEEN
    tens = (word * np.uint64(103) >> TEN) & np.uint64(0x000F_000F_000F_000F)
    return (tens | (word - tens * TEN) << EIGHT) + np.uint64(0x3030_3030_3030_3030)


@inlined
def _short(out: Array, p: Number, value: Number) -> Number:
    """A number below 10^8."""
    size = 1
    for limit in (10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        size += value >= np.uint64(limit)
    _put(out, p, _digits(value) >> np.uint64(64 - 8 * size))
    return p + size


@inlined
def decimal(out: Array, p: Number, value: Number) -> Number:
    """An unsigned number."""
    if value < EIGHTH:
        return _short(out, p, value)
    rest = value // EIGHTH
    if rest < EIGHTH:
        p = _short(out, p, rest)
    else:
        top = rest // EIGHTH
        p = _short(out, p, top)
        _put(out, p, _digits(rest - top * EIGHTH))
        p += 8
    _put(out, p, _digits(value - rest * EIGHTH))
    return p + 8


@inlined
def hexadecimal(out: Array, p: Number, value: Number) -> Number:
    """Sixteen digits."""
    for digit in range(15, -1, -1):
        out[p + digit] = HEX[np.int64(value & NIBBLE)]
        value >>= FOUR
    return p + 16


@inlined
def _two(out: Array, p: Number, value: Number) -> Number:
    out[p], out[p + 1] = PAIRS[2 * value], PAIRS[2 * value + 1]
    return p + 2


@inlined
def _date(out: Array, p: Number, days: Number) -> Number:
    """A day since 1970 in the Gregorian calendar; a year is at least four characters, with its sign."""
    # From a March 1st of a year that 400 divides: leap days end the years. Unsigned, for that divides faster.
    days = np.int64(np.uint32(days + 719_468 + ERAS * 146_097))
    era = days // 146_097
    of_era = days - era * 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year += (era - ERAS) * 400 + (1 if month <= 2 else 0)
    limit = 1_000
    if year < 0:
        out[p] = 45
        p, year, limit = p + 1, -year, 100
    while limit > 1 and year < limit:
        out[p] = ZERO
        p += 1
        limit //= 10
    p = decimal(out, p, np.uint64(year))
    out[p] = 45
    p = _two(out, p + 1, month)
    out[p] = 45
    return _two(out, p + 1, day)


@inlined
def iso(out: Array, p: Number, value: Number) -> Number:
    """Microseconds since 1970 as quoted ISO 8601 UTC with `Z`; the fraction only where it is not zero."""
    seconds = value // 1_000_000
    fraction = np.int64(np.uint32(value - seconds * 1_000_000))
    days = seconds // 86_400
    clock = np.int64(np.uint32(seconds - days * 86_400))
    out[p] = QUOTE
    p = _date(out, p + 1, days)
    out[p] = 84
    p = _two(out, p + 1, clock // 3_600)
    out[p] = COLON
    p = _two(out, p + 1, clock // 60 % 60)
    out[p] = COLON
    p = _two(out, p + 1, clock % 60)
    if fraction:
        out[p] = DOT
        p = _two(out, p + 1, fraction // 10_000)
        p = _two(out, p, fraction // 100 % 100)
        p = _two(out, p, fraction % 100)
    out[p], out[p + 1] = 90, QUOTE
    return p + 2


@inlined
def _dotted(out: Array, p: Number, value: Number) -> Number:
    """An IPv4 address."""
    for shift in (24, 16, 8, 0):
        octet = 4 * (np.int64(value >> np.uint64(shift)) & 255)
        out[p], out[p + 1], out[p + 2] = OCTETS[octet], OCTETS[octet + 1], OCTETS[octet + 2]
        p += OCTETS[octet + 3]
        out[p] = DOT
        p += 1
    return p - 1


@inlined
def _group(high: Number, low: Number, number: Number) -> Number:
    """One of the eight 16-bit groups of an IPv6 address."""
    value = high if number < 4 else low
    return np.int64(value >> np.uint64(48 - 16 * (number & 3)) & LOW)


@inlined
def _colons(out: Array, p: Number, high: Number, low: Number) -> Number:
    """An IPv6 address as RFC 5952 has it: the first of the longest runs of zero groups, two at least, is left out."""
    begin, longest, run = -1, 1, 0
    for number in range(8):
        run = run + 1 if _group(high, low, number) == 0 else 0
        if run > longest:
            begin, longest = number - run + 1, run
    number = 0
    while number < 8:
        if number == begin:
            out[p], out[p + 1] = COLON, COLON
            p += 2
            number += longest
            continue
        if number > 0 and number != begin + longest:
            out[p] = COLON
            p += 1
        value = _group(high, low, number)
        started = False
        for shift in (12, 8, 4, 0):
            digit = value >> shift & 15
            if digit or started or shift == 0:
                started = True
                out[p] = HEX[digit]
                p += 1
        number += 1
    return p


@inlined
def address(out: Array, p: Number, family: Number, high: Number, low: Number) -> Number:
    """A quoted address."""
    out[p] = QUOTE
    p += 1
    if family == 4:
        p = _dotted(out, p, low)
    elif MAPPED_DOTS and high == 0 and low >> TOP == LOW:
        out[p], out[p + 1], out[p + 2], out[p + 3] = COLON, COLON, 102, 102
        out[p + 4], out[p + 5], out[p + 6] = 102, 102, COLON
        p = _dotted(out, p + 7, low)
    else:
        p = _colons(out, p, high, low)
    out[p] = QUOTE
    return p + 1


@kernel
def escaped_size(raw: Array, start: Number, end: Number) -> Number:
    """How much longer escapes make the octets [start, end)."""
    more = 0
    for at in range(start, end):
        letter = ESCAPES[raw[at]]
        if letter:
            more += 5 if letter == 117 else 1
    return more


@kernel
def quoted(raw: Array, ends: Array, out: Array, base: Number, offsets: Array) -> None:
    """Strings as JSON strings; `offsets` are theirs in the buffer that `out` begins at `base` of."""
    p = 0
    offsets[0] = base
    for item in range(len(ends) - 1):
        out[p] = QUOTE
        p += 1
        for at in range(ends[item], ends[item + 1]):
            octet = raw[at]
            letter = ESCAPES[octet]
            if letter == 0:
                out[p] = octet
                p += 1
                continue
            out[p], out[p + 1] = BACKSLASH, letter
            p += 2
            if letter == 117:
                out[p], out[p + 1] = ZERO, ZERO
                out[p + 2], out[p + 3] = HEX[octet >> 4], HEX[octet & 15]
                p += 4
        out[p] = QUOTE
        p += 1
        offsets[item + 1] = base + p
