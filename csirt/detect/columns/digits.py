"""The compiled loops that write numbers as text and look for words in it, with no text made.

What is written is what `values.number_text` writes; a number it writes in another form is left to the caller.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.detect.columns.loads import word
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

# A text as long as any: the sign, the digits of 64 bits, a point and what stands behind it.
ROOM = 40
# So many digits behind the point are tried; below this no two fractions of so many digits are one float.
MOST_DIGITS = 6
EXACT = 2.0**51
LEAST = 1e-3


@inlined
def _digits(number: Any, behind: int, room: Array) -> Any:
    """Write a whole number at the end of the room, with a point before that many digits; where it begins."""
    start, written = ROOM, 0
    while number or written <= behind:
        if behind and written == behind:
            start -= 1
            room[start] = 46
        start -= 1
        room[start] = 48 + number % np.uint64(10)
        number //= np.uint64(10)
        written += 1
    return start


@inlined
def _found(room: Array, start: int, pool: Array, edges: Array) -> Any:
    """A bit for each word that stands in what is written."""
    mask = np.uint64(0)
    for number in range(edges.size - 1):
        first, size = edges[number], edges[number + 1] - edges[number]
        for at in range(start, ROOM - size + 1):
            step = 0
            while step < size and room[at + step] == pool[first + step]:
                step += 1
            if step == size:
                mask |= np.uint64(1) << np.uint64(number)
                break
    return mask


@inlined
def _next(valid: Array, at: int, count: int) -> Any:
    """The first place from `at` on that is valid, or the end; all are where nothing is said."""
    if not valid.size:
        return at
    address = valid.ctypes.data
    while at < count:
        if at + 8 <= count and not word(address + at):
            at += 8
        elif valid[at]:
            return at
        else:
            at += 1
    return count


@kernel
def in_whole(numbers: Array, valid: Array, pool: Array, edges: Array, masks: Array) -> None:
    """Mark in `masks` the words (`pool[edges[w] : edges[w + 1]]`) that stand in whole numbers of 64 bits."""
    room = np.zeros(ROOM, np.uint8)
    at = _next(valid, 0, numbers.size)
    while at < numbers.size:
        number = numbers[at]
        start = _digits(np.uint64(number) if number >= 0 else np.uint64(-(number + 1)) + np.uint64(1), 0, room)
        if number < 0:
            start -= 1
            room[start] = 45
        masks[at] |= _found(room, start, pool, edges)
        at = _next(valid, at + 1, numbers.size)


@kernel
def in_fractions(numbers: Array, valid: Array, pool: Array, edges: Array, masks: Array, left: Array) -> int:
    """As `in_whole`, of floats; how many are `left`, for they are written in another form."""
    room = np.zeros(ROOM, np.uint8)
    count = 0
    at = _next(valid, 0, numbers.size)
    while at < numbers.size:
        size, scale, behind = abs(numbers[at]), 1.0, 0
        while behind < MOST_DIGITS and size * scale < EXACT and np.rint(size * scale) / scale != size:
            scale *= 10.0
            behind += 1
        whole = np.rint(size * scale)
        if whole < EXACT and whole / scale == size and (size >= LEAST or size == 0):
            start = _digits(np.uint64(whole), behind, room)
            if numbers[at] < 0:
                start -= 1
                room[start] = 45
            masks[at] |= _found(room, start, pool, edges)
        else:
            left[count] = at
            count += 1
        at = _next(valid, at + 1, numbers.size)
    return count
