"""Addresses as (family, hi, lo) and as text, over whole columns."""

from __future__ import annotations

import ipaddress

import numpy as np
import pyarrow as pa

from csirt.model.batch import Array


def from_text(text: str) -> tuple[int, int, int]:
    """(family, hi, lo) of one address; IPv4-mapped IPv6 stays IPv6. Raises ValueError."""
    address = ipaddress.ip_address(text)
    number = int(address)
    return address.version, number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF


def to_text(family: int, high: int, low: int) -> str:
    """One address as text (RFC 5952)."""
    if family == 4:
        return str(ipaddress.IPv4Address(int(low)))
    return str(ipaddress.IPv6Address((int(high) << 64) | int(low)))


def texts(family: Array, high: Array, low: Array) -> pa.DictionaryArray:
    """A whole column as dictionary text; work is done once per distinct address; family 0 gives null."""
    if not len(family):
        return pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
    if not high.any() and (family != 6).all():
        unique, inverse = np.unique(low, return_inverse=True)
        names = pa.array([str(ipaddress.IPv4Address(int(value))) for value in unique], pa.string())
        mask = family == 0
        indices = pa.array(inverse.astype(np.int32), mask=mask if mask.any() else None)
        return pa.DictionaryArray.from_arrays(indices, names)
    rows = np.empty(len(family), np.dtype([("f", "u1"), ("h", "u8"), ("l", "u8")]))
    rows["f"], rows["h"], rows["l"] = family, high, low
    unique, inverse = np.unique(rows, return_inverse=True)
    names = pa.array(
        [None if not row["f"] else to_text(int(row["f"]), int(row["h"]), int(row["l"])) for row in unique], pa.string()
    )
    mask = family == 0
    indices = pa.array(inverse.reshape(-1).astype(np.int32), mask=mask if mask.any() else None)
    return pa.DictionaryArray.from_arrays(indices, names)
