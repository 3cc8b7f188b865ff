"""Texts of JSON for the compiled loop that reads it: where they end, what they say, and each of them once."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.detect.columns.loads import copy, lowest, product, whole, word
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

# Why reading stopped: an odd piece, or a table without room.
ODD, NO_ROOM = -1, -2
# Texts that fall on one place of the table by chance are a few; more are somebody's doing.
MOST_PROBES = 1024
_QUOTE, _BACK = 34, 92
_MIX = np.uint64(0x9E3779B97F4A7C15)
_EACH, _HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _BACKS, _SPACES = _EACH * np.uint64(_QUOTE), _EACH * np.uint64(_BACK), _EACH * np.uint64(32)
_ONE, _EIGHT = np.uint64(1), np.uint64(8)


@inlined
def marker(data: int, at: Any) -> Any:
    """The place from `at` on of the first quote, backslash or control character; eight zeros end the data."""
    while True:
        eight = word(data + at)
        quote, back = eight ^ _QUOTES, eight ^ _BACKS
        found = ((quote - _EACH) & ~quote | (back - _EACH) & ~back | (eight - _SPACES) & ~eight) & _HIGH
        if found:
            return at + (lowest(found) >> 3)
        at += 8


@inlined
def _rest(address: int, size: int) -> Any:
    """The last bytes of a text, fewer than eight, as a number."""
    return word(address) & ((_ONE << (_EIGHT * np.uint64(size))) - _ONE)


@inlined
def same(first: Any, second: Any, size: Any) -> bool:
    """Whether two texts are the same; seven bytes behind each may be read."""
    at = 0
    while at + 8 <= size:
        if word(first + at) != word(second + at):
            return False
        at += 8
    return bool(at == size or _rest(first + at, size - at) == _rest(second + at, size - at))


@inlined
def _mixed(address: int, size: int, start: Any, secret: Any) -> Any:
    """A hash that nobody foresees who does not know the start and the secret."""
    found = start ^ (np.uint64(size) * _MIX)
    at = 0
    while at + 8 <= size:
        found = product(found ^ word(address + at), secret)
        at += 8
    if at < size:
        found = product(found ^ _rest(address + at, size - at), secret)
    return product(found ^ secret, _MIX)


@inlined
def _hex(byte: Any) -> Any:
    if 48 <= byte <= 57:
        return byte - 48
    lower = byte | 32
    return lower - 87 if 97 <= lower <= 102 else -1


@inlined
def _four(data: Array, at: Any) -> Any:
    number = 0
    for step in range(4):
        digit = _hex(whole(data[at + step]))
        if digit < 0:
            return -1
        number = number * 16 + digit
    return number


@kernel
def unescaped(data: Array, at: int, arena: Array, tail: int) -> tuple[int, int]:
    """Write the text that begins there to the arena; (place of its closing quote or -1, end in the arena)."""
    while True:
        byte = whole(data[at])
        if byte == _QUOTE:
            return at, tail
        if byte < 32:
            return -1, tail
        if byte != _BACK:
            arena[tail] = byte
            tail += 1
            at += 1
            continue
        kind = whole(data[at + 1])
        at += 2
        if kind == 117:
            point: Any = _four(data, at)
            at += 4
            if point < 0 or 0xDC00 <= point <= 0xDFFF:
                return -1, tail
            if 0xD800 <= point <= 0xDBFF:
                if data[at] != _BACK or data[at + 1] != 117:
                    return -1, tail
                low = _four(data, at + 2)
                at += 6
                if low < 0xDC00 or low > 0xDFFF:
                    return -1, tail
                point = 0x10000 + ((point - 0xD800) << 10) + low - 0xDC00
            if point < 0x80:
                arena[tail] = point
                tail += 1
            elif point < 0x800:
                arena[tail] = 0xC0 | (point >> 6)
                arena[tail + 1] = 0x80 | (point & 63)
                tail += 2
            elif point < 0x10000:
                arena[tail] = 0xE0 | (point >> 12)
                arena[tail + 1] = 0x80 | ((point >> 6) & 63)
                arena[tail + 2] = 0x80 | (point & 63)
                tail += 3
            else:
                arena[tail] = 0xF0 | (point >> 18)
                arena[tail + 1] = 0x80 | ((point >> 12) & 63)
                arena[tail + 2] = 0x80 | ((point >> 6) & 63)
                arena[tail + 3] = 0x80 | (point & 63)
                tail += 4
            continue
        plain: Any = kind
        if kind == 110:
            plain = 10
        elif kind == 116:
            plain = 9
        elif kind == 114:
            plain = 13
        elif kind == 98:
            plain = 8
        elif kind == 102:
            plain = 12
        elif kind != _QUOTE and kind != _BACK and kind != 47:
            return -1, tail
        arena[tail] = plain
        tail += 1


@kernel
def taken(
    source: int,
    size: int,
    owner: int,
    seed: int,
    secret: int,
    arena: Array,
    slots: Array,
    starts: Array,
    owners: Array,
    state: Array,
) -> int:
    """The number of a text among those of its owner, at an address, be it in the arena's end; a text that is new comes
    to the arena. ODD or NO_ROOM where it has none. `state`: how many texts there are, and the arena's end."""
    held = arena.ctypes.data
    mask = slots.size - 1
    mixed = _mixed(source, size, np.uint64(seed) ^ (np.uint64(owner) * _MIX), np.uint64(secret) | _ONE)
    place = whole(mixed & np.uint64(mask))
    probes = 0
    while True:
        known = int(slots[place])
        if known < 0:
            break
        first = whole(starts[known])
        if owners[known] == owner and starts[known + 1] - first == size and same(held + first, source, size):
            return known
        place = (place + 1) & mask
        probes += 1
        if probes > MOST_PROBES:
            return ODD
    known, end = int(state[0]), int(state[1])
    if 2 * known >= slots.size:
        return NO_ROOM
    if held + end != source:
        copy(held + end, source, size)
    slots[place] = known
    owners[known] = owner
    starts[known + 1] = end + size
    state[0], state[1] = known + 1, end + size
    return known
