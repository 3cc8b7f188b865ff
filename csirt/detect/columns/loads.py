"""For compiled loops: numbers read from an address, so that any number of columns can be one table of addresses."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from csirt.model.batch import Array
from csirt.model.jit import inlined

_memmove: Any = cgutils.raw_memmove


def _load(kind: Any, bits: int) -> Any:
    """A function (address, place) -> the number there."""

    def typed(context: Any, address: Any, place: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            return builder.load(builder.gep(pointer, [arguments[1]]))

        return kind(types.int64, types.int64), code

    return intrinsic(typed)


int32 = _load(types.int32, 32)
int64 = _load(types.int64, 64)
uint8 = _load(types.uint8, 8)


def _bytes(kind: Any, bits: int) -> Any:
    """A function address -> the bytes from there on, be it any, as one number, the first its lowest."""

    def typed(context: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()), align=1)

        return kind(types.int64), code

    return intrinsic(typed)


def _ones(context: Any, number: Any) -> Any:
    """How many bits of a number are set."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), code


def _lowest(context: Any, number: Any) -> Any:
    """The place of the lowest bit that is set, of a number that is not 0."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), code


def _product(context: Any, first: Any, second: Any) -> Any:
    """The two halves of a product of 128 bits, xor-ed."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        whole = builder.mul(*(builder.zext(item, wide) for item in arguments))
        halves = whole, builder.lshr(whole, ir.Constant(wide, 64))
        return builder.xor(*(builder.trunc(item, ir.IntType(64)) for item in halves))

    return types.uint64(types.uint64, types.uint64), code


def _copy(context: Any, target: Any, source: Any, size: Any) -> Any:
    """Copy bytes from one address to another, be they the same in part."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, from_ = (builder.inttoptr(item, ir.IntType(8).as_pointer()) for item in arguments[:2])
        _memmove(builder, to, from_, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


# Compiled loops call these without the context.
word: Any = _bytes(types.uint64, 64)
quad: Any = _bytes(types.uint32, 32)
pair: Any = _bytes(types.uint16, 16)
ones: Any = intrinsic(_ones)
lowest: Any = intrinsic(_lowest)
product: Any = intrinsic(_product)
copy: Any = intrinsic(_copy)
# A number as loops count.
whole: Any = np.int64


@inlined
def rank(words: Array, ranks: Array) -> None:
    """Write how many bits are set before each word."""
    total = 0
    for place in range(words.size):
        ranks[place] = total
        total += ones(words[place])
