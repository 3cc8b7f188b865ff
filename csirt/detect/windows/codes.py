"""Distinct values as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from csirt.model.batch import Array


def begins(codes: Array) -> Array:
    """Where each run of equal ones begins."""
    fresh = np.ones(len(codes), bool)
    np.not_equal(codes[1:], codes[:-1], out=fresh[1:])
    return np.flatnonzero(fresh)


def stretches(starts: Array, sizes: Array) -> Array:
    """The numbers of stretches that begin there and are so long, one after the other."""
    found: Array = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
    return found


def dense(values: Array) -> Array:
    """A number per distinct value, from 0 without gaps."""
    if len(values) and values.min() == values.max():
        return np.zeros(len(values), np.int64)
    found: Array = np.asarray(pa.array(values).dictionary_encode().indices).astype(np.int64)
    return found


def joined(codes: Array, own: Array) -> Array:
    """A number per combination of two that are not negative, dense again so that it never overflows."""
    most = int(own.max(initial=0)) + 1
    if most * (int(codes.max(initial=0)) + 1) >= 1 << 62:
        own = dense(own)
        most = int(own.max(initial=0)) + 1
    return dense(codes * most + own)
