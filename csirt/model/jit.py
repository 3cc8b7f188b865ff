"""numba's compiler with its cache where one can be written, and without where none can (a read-only install)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

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


def _fetch_ahead(_typing: Any, octets: Any, at: Any) -> Any:
    """For kernels that fill many columns at once, more than the processor foresees: take the cache line of octet `at`
    of this memory for writing. It is a hint; nothing is read, and `at` may lie beyond the end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        octet, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.gep(builder.bitcast(array.data, octet), [arguments[1]])
        kind = ir.FunctionType(ir.VoidType(), [octet, number, number, number])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [octet], kind)
        builder.call(hint, [place, number(1), number(3), number(1)])  # to write, near, data
        return context.get_dummy_value()

    return types.void(octets, at), generate


fetch_ahead: Any = intrinsic(_fetch_ahead)
