"""Many pieces of memory to a file in one system call, described by numbers: pwritev(2) through ctypes.

`os.pwritev` takes a Python object for each piece; to make, read and drop one costs as much as to write it.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Pieces = Sequence[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Vectors:
    """`rows`: uint64, struct iovec: address and size; `address`: where they lie, one after the other. The memory must
    stay as it is until it is written."""

    rows: Array
    address: int

    @classmethod
    def of(cls, rows: Array) -> Vectors:
        """The vectors of these rows, a copy where they do not lie as they must."""
        rows = np.ascontiguousarray(rows, np.uint64)
        return cls(rows, rows.ctypes.data)

    def first(self, count: int) -> Vectors:
        """The first of them."""
        return Vectors(self.rows[:count], self.address)


def _found() -> Any:
    """The C library's function; None where a pointer or an offset is not of 64 bits, or there is none."""
    if ctypes.sizeof(ctypes.c_void_p) != 8 or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "pwritev", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_long]
        call.restype = ctypes.c_ssize_t
    return call


CALL = _found()


def write(handle: int, pieces: Pieces | Vectors, at: int) -> int:
    """Write at an offset; how many octets. Raises OSError."""
    if not isinstance(pieces, Vectors):
        return os.pwritev(handle, pieces, at)
    if CALL is None:
        return os.pwritev(handle, [ctypes.string_at(address, size) for address, size in pieces.rows.tolist()], at)
    while True:
        done = int(CALL(handle, pieces.address, len(pieces.rows), at))
        if done >= 0:
            return done
        code = ctypes.get_errno()
        if code != errno.EINTR:  # a signal is no failure (PEP 475)
            raise OSError(code, os.strerror(code))
