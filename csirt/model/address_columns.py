"""Addresses as text, over whole columns."""

from __future__ import annotations

import ipaddress
import socket

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
        names = _dotted(distinct.dictionary.to_numpy())
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


def _dotted(values: Array) -> pa.Array:
    """IPv4 addresses as text."""
    octets = values.astype(">u4").view(np.uint8).reshape(-1, 4)
    parts = (pc.take(_OCTETS, pa.array(octets[:, i].astype(np.int32))) for i in range(4))
    return pc.binary_join_element_wise(*parts, ".")


def _colons(octets: bytes) -> str:
    """One IPv6 address as RFC 5952 has it; the C library writes those with 64 zero bits in front with dots."""
    if octets[:8] == bytes(8):
        return str(ipaddress.IPv6Address(octets))
    return socket.inet_ntop(socket.AF_INET6, octets)
