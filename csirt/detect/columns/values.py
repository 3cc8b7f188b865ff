"""What single values mean: numbers and their text, addresses and their ranges, parts of a time."""

from __future__ import annotations

import ipaddress
import re
import socket
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.clock import iso, parse_iso
from csirt.detect.atoms import Atom
from csirt.model.batch import Array

Number = int | float
_NUMERIC = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_HALF = 0xFFFF_FFFF_FFFF_FFFF


def number_text(number: Number | bool) -> str:
    """A number as text: whole numbers plainly, however they are written, others as their shortest exact form."""
    if isinstance(number, float):
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return str(number)


def parse_number(text: str) -> Number | None:
    """The number a text writes, or None; hexadecimal, spaces and names such as `nan` are no numbers."""
    if not _NUMERIC.fullmatch(text) or len(text) > 400:
        return None
    return int(text) if _WHOLE.fullmatch(text) else float(text)


def number_of(text: str) -> float | None:
    """The number a text writes as a float, or None for what is no number or too great for one."""
    number = parse_number(text)
    try:
        return None if number is None else float(number)
    except OverflowError:
        return None


def wanted_number(atom: Atom) -> tuple[str, Number] | None:
    """(operator, number) that an atom asks of a numeric column, or None when it asks for text.

    A text such as '445' asks for 445 when it is how the number is written; '0445' is no number's text.
    """
    if atom.kind == "number":
        return "eq", atom.argument
    if atom.kind == "compare":
        operator, number = atom.argument
        return operator, number
    if atom.kind == "eq" and len(atom.argument) < 20 and _WHOLE.fullmatch(atom.argument) and atom.argument != "-0":
        return "eq", int(atom.argument)
    return None


def compare(operator: str, numbers: Array, number: Number) -> Array:
    """Element-wise comparison; whole numbers are compared exactly."""
    if isinstance(number, float) and number.is_integer() and numbers.dtype.kind in "iu":
        number = int(number)
    mask: Array
    if operator == "eq":
        mask = numbers == number
    elif operator == "lt":
        mask = numbers < number
    elif operator == "lte":
        mask = numbers <= number
    elif operator == "gt":
        mask = numbers > number
    else:
        mask = numbers >= number
    return mask


@lru_cache(maxsize=4096)
def parse_address(text: str) -> tuple[int, int] | None:
    """(family, address as integer), or None. Zones and IPv4 in fewer than four parts are refused; an IPv4-mapped IPv6
    address stays IPv6, so no IPv4 prefix contains it."""
    try:
        if ":" in text:
            return 6, int.from_bytes(socket.inet_pton(socket.AF_INET6, text), "big")
        return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    except (OSError, ValueError):
        return None


def address_bounds(atom: Atom) -> tuple[int, int, int] | None:
    """(family, first, last) of a CIDR atom, or of one that equals an address; else None."""
    if atom.kind == "cidr":
        family, first, last = atom.argument
        return family, first, last
    if atom.kind == "eq":
        found = parse_address(atom.argument)
        if found is not None:
            return found[0], found[1], found[1]
    return None


def within(family: Array, high: Array, low: Array, bounds: tuple[int, int, int]) -> Array:
    """Which addresses lie in (family, first, last)."""
    wanted, first, last = bounds
    mask: Array = family == wanted
    if wanted == 4:
        mask &= (low >= np.uint64(first)) & (low <= np.uint64(last))
        return mask
    first_high, first_low = np.uint64(first >> 64), np.uint64(first & _HALF)
    last_high, last_low = np.uint64(last >> 64), np.uint64(last & _HALF)
    if first_high == last_high:
        mask &= (high == first_high) & (low >= first_low) & (low <= last_low)
    else:  # prefixes of 64 bits or fewer end at whole high halves
        mask &= (high >= first_high) & (high <= last_high)
    return mask


def network(text: str) -> tuple[int, int, int]:
    """(family, first, last) of a prefix; host bits are ignored. Raises ValueError."""
    parsed = ipaddress.ip_network(text, strict=False)
    return parsed.version, int(parsed.network_address), int(parsed.broadcast_address)


# With fewer values the loader of compiled loops would cost more than it saves.
FEW_ADDRESSES = 200


def split_addresses(texts: pa.StringArray) -> tuple[Array, Array, Array]:
    """Family (0: not an address), high and low half of every text (no nulls), as `parse_address` reads each."""
    count = len(texts)
    if count >= FEW_ADDRESSES:
        from csirt.detect.columns import kernels

        family, high, low = np.empty(count, np.uint8), np.empty(count, np.uint64), np.empty(count, np.uint64)
        data, offsets = text_buffers(texts)
        kernels.addresses(data, offsets, np.zeros(8, np.uint64), family, high, low)
        return family, high, low
    found = [parse_address(text) or (0, 0) for text in texts.to_pylist()]
    return (
        np.array([family for family, _ in found], np.uint8),
        np.array([number >> 64 for _, number in found], np.uint64),
        np.array([number & _HALF for _, number in found], np.uint64),
    )


def text_buffers(texts: pa.StringArray) -> tuple[Array, Array]:
    """(bytes, offsets into them) of an array of texts, without a copy."""
    _, offsets, data = texts.buffers()
    if offsets is None or not len(texts):
        return np.zeros(0, np.uint8), np.zeros(1, np.int32)
    starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8), starts


def time_text(micros: int) -> str:
    """Microseconds as ISO 8601 with `Z`; a time no calendar has is its number."""
    try:
        return iso(micros)
    except (ValueError, OverflowError, OSError):
        return str(micros)


def parse_time(value: Any) -> int | None:
    """Microseconds of a time as events write it: ISO 8601, or a number of seconds, milli-, micro- or nanoseconds since
    1970 (told apart by size), or None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        number = parse_number(value)
        if number is None:
            try:
                return parse_iso(value)
            except ValueError:
                return None
        value = number
    if not isinstance(value, int | float):
        return None
    size = abs(value)
    for limit, factor in ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1)):
        if size < limit:
            return int(value * factor)
    return int(value) // 1000


def time_part(part: str, micros: Array) -> Array:
    """Minute, hour, day of month, ISO week, month or year, in UTC."""
    whole = micros.astype(np.int64)
    moments = whole.astype("datetime64[us]")
    if part == "minute":
        return np.asarray((whole // 60_000_000) % 60)
    if part == "hour":
        return np.asarray((whole // 3_600_000_000) % 24)
    months = moments.astype("datetime64[M]")
    if part == "day":
        return np.asarray((moments.astype("datetime64[D]") - months).astype(np.int64) + 1)
    if part == "month":
        return np.asarray(months.astype(np.int64) % 12 + 1)
    if part == "year":
        years = moments.astype("datetime64[Y]").astype(np.int64)
        return np.asarray(years + 1970)
    days, where = np.unique(moments.astype("datetime64[D]").astype(np.int64), return_inverse=True)
    weeks = np.array([_week(day) for day in days.tolist()], np.int64)
    return np.asarray(weeks[where.reshape(-1)])


def _week(day: int) -> int:
    try:
        return datetime.fromtimestamp(day * 86_400, UTC).isocalendar().week
    except (ValueError, OverflowError, OSError):
        return 0
