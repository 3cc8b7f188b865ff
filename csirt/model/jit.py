"""numba's compiler with its cache where one can be written, and without where none can (a read-only install)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile on first use, without the interpreter lock.

    The compiled code is cached in NUMBA_CACHE_DIR, beside the source, or in the user's cache folder, whichever can be
    written; numba raises RuntimeError when none can, and then every process compiles for itself.
    """
    try:
        return cast(F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True)(function))


def inlined(function: F) -> F:
    """As `kernel`, and made part of each kernel that calls it: a call that hands over arrays costs more than a short
    function does."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True, forceinline=True)(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True, forceinline=True)(function))
