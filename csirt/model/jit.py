"""numba's compiler with its cache where one can be written, and without where none can (a read-only install)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile on first use; runs without the interpreter lock."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True)(function))


def leaf(function: F) -> F:
    """As `kernel`, for what allocates nothing: its arrays are not counted on the way in and out, which costs more than
    a short function does."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True, _nrt=False)(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True, _nrt=False)(function))
