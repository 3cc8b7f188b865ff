"""Addresses as text, over whole columns."""

from __future__ import annotations

import ipaddress
import socket
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.model.batch import Array


def texts(family: Array, high: Array, low: Array) -> pa.DictionaryArray:
    """A whole column as dictionary text; work is done once per distinct address; family 0 gives null."""
    indices = np.full(len(family), -1, np.int32)
    names = pa.array([], pa.string())
    four, six = np.flatnonzero(family == 4), np.flatnonzero(family == 6)
    if len(four):
        distinct = pa.array(low[four].astype(np.uint32)).dictionary_encode()
        indices[four] = distinct.indices.to_numpy()
        names = dotted(distinct.dictionary.to_numpy())
    if len(six):
        octets = np.ascontiguousarray(np.stack([high[six], low[six]], axis=1).astype(">u8"))
        raw = pa.Array.from_buffers(pa.binary(16), len(six), [None, pa.py_buffer(octets)])
        distinct = raw.dictionary_encode()
        indices[six] = distinct.indices.to_numpy() + len(names)
        more = pa.array([_colons(item) for item in distinct.dictionary.to_pylist()], pa.string())
        names = pa.concat_arrays([names, more])
    missing = indices < 0
    if missing.any():  # under a null too there must be an index: other readers of Arrow look at it
        return pa.DictionaryArray.from_arrays(pa.array(np.maximum(indices, 0), mask=missing), names)
    return pa.DictionaryArray.from_arrays(pa.array(indices), names)


_OCTETS = pa.array([str(value) for value in range(256)], pa.string())


# Fewer addresses are written sooner than the kernel that writes them is loaded.
_FEW = 256
_KERNEL = "csirt.model.address_kernel"


def dotted(values: Array, before: str = "", after: str = "") -> pa.StringArray:
    """IPv4 addresses as text, each between two others."""
    if (len(values) < _FEW and _KERNEL not in sys.modules) or "numba" not in sys.modules:
        octets = values.astype(">u4").view(np.uint8).reshape(-1, 4)
        parts = [pc.take(_OCTETS, pa.array(octets[:, i].astype(np.int32))) for i in range(4)]
        joined = pc.binary_join_element_wise(*parts, ".")
        return pc.binary_join_element_wise(before, joined, after, "") if before or after else joined
    from csirt.model import address_kernel

    numbers = values.astype(np.int64)
    around = [np.frombuffer(text.encode(), np.uint8) for text in (before, after)]
    ends = np.empty(len(numbers) + 1, np.int32)
    address_kernel.measure(numbers, len(around[0]) + len(around[1]), ends)
    data = np.empty(int(ends[-1]), np.uint8)
    address_kernel.put(numbers, around[0], around[1], data)
    return pa.Array.from_buffers(pa.string(), len(numbers), [None, pa.py_buffer(ends), pa.py_buffer(data)])


def _colons(octets: bytes) -> str:
    """One IPv6 address as RFC 5952 has it; the C library writes those with 64 zero bits in front with dots."""
    if octets[:8] == bytes(8):
        return str(ipaddress.IPv6Address(octets))
    return socket.inet_ntop(socket.AF_INET6, octets)
