"""The compiled loops that read text columns of Parquet: headers of pages, which rows have a value, dictionaries, codes.

They take what writers do with text: pages of format 1, one dictionary per chunk, no lists. Nothing read is trusted;
whatever is odd or broken makes them stop, and Arrow's own reader takes the file or says what is wrong with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.detect.columns.loads import copy, ones, rank, uint8, whole, word
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

# Why it stopped: an odd file, or a table without room.
ODD, NO_ROOM = -1, -2
# Of a page: its chunk, its kind, where its bytes are, how many, how many unpacked, how many values, their encoding.
CHUNK, KIND, START, PACKED, SIZE, VALUES, ENCODING = range(7)
DATA, DICTIONARY = 0, 2
PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY, SPLIT = 0, 2, 3, 8, 9
# Objects in a header's objects.
DEPTH = 8
# What Thrift's compact protocol calls types.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 12


@inlined
def _varint(address: int, at: int, end: int) -> Any:
    """(a number of up to 35 bits, the place behind it or -1)."""
    number, shift = 0, 0
    while at < end and shift <= 28:
        byte = whole(uint8(address, at))
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return number, at
        shift += 7
    return 0, -1


@kernel
def _header(data: int, at: int, end: int, page: Array) -> int:
    """Read one page's header into `page`; the place behind it, or -1."""
    fields = np.zeros(DEPTH, np.int64)
    depth = 0
    page[KIND:] = -1
    while True:
        if at >= end:
            return -1
        byte = whole(uint8(data, at))
        at += 1
        kind, delta = byte & 15, byte >> 4
        if kind == 0:
            depth -= 1
            if depth < 0:
                return at
            continue
        if delta:
            fields[depth] += delta
        else:
            number, at = _varint(data, at, end)
            if at < 0:
                return -1
            fields[depth] = (number >> 1) ^ -(number & 1)
        if kind in (_TRUE, _FALSE):
            continue
        if kind == _BYTE:
            at += 1
        elif kind == _DOUBLE:
            at += 8
        elif kind in (_I16, _I32, _I64):
            shift, value = 0, 0
            while True:
                if at >= end or shift > 63:
                    return -1
                byte = whole(uint8(data, at))
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            value = ((value >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(value & 1)
            field = fields[depth]
            if depth == 0 and field == 1:
                page[KIND] = value
            elif depth == 0 and field == 2:
                page[SIZE] = value
            elif depth == 0 and field == 3:
                page[PACKED] = value
            elif depth == 1 and fields[0] in (5, 7):
                if field == 1:
                    page[VALUES] = value
                elif field == 2:
                    page[ENCODING] = value
                elif field == 3 and fields[0] == 5 and value != RLE:
                    return -1
        elif kind == _BINARY:
            size, at = _varint(data, at, end)
            if at < 0 or size > end - at:
                return -1
            at += size
        elif kind == _STRUCT:
            depth += 1
            if depth >= DEPTH:
                return -1
            fields[depth] = 0
        else:
            return -1


@kernel
def pages(data: int, starts: Array, ends: Array, found: Array, odd: Array, numbers: bool) -> int:
    """The pages of chunks, in order, and how many; without those of chunks that are marked `odd`. `numbers`: they have
    no dictionaries."""
    count = 0
    for chunk in range(starts.size):
        at, end, first = starts[chunk], ends[chunk], count
        while at < end and not odd[chunk]:
            if count >= found.shape[0]:
                return NO_ROOM
            page = found[count]
            at = _header(data, at, end, page)
            if at < 0 or page[PACKED] < 0 or page[SIZE] < 0 or page[VALUES] < 0 or page[PACKED] > end - at:
                odd[chunk] = True
            elif numbers:
                odd[chunk] = page[KIND] != DATA or (page[ENCODING] != PLAIN and page[ENCODING] != SPLIT)
            elif page[KIND] == DICTIONARY:
                odd[chunk] = count > first or (page[ENCODING] != PLAIN and page[ENCODING] != PLAIN_DICTIONARY)
            else:
                coded = page[ENCODING] == RLE_DICTIONARY or page[ENCODING] == PLAIN_DICTIONARY
                odd[chunk] = page[KIND] != DATA or count == first or not coded
            page[CHUNK], page[START] = chunk, at
            at += page[PACKED]
            count += 1
        if odd[chunk]:
            count = first
    return count


@kernel
def joined(data: Array, starts: Array, sizes: Array) -> int:
    """Move some pieces of bytes, in order, to the front; how many bytes."""
    end, address = 0, data.ctypes.data
    for at in range(starts.size):
        copy(address + end, address + starts[at], sizes[at])
        end += sizes[at]
    return end


@inlined
def _levels(address: int, size: int) -> Any:
    """(where the levels of a page begin, where they end), the end -1 when there is no room for them."""
    if size < 4:
        return 0, -1
    length = whole(0)
    for at in range(4):
        length |= whole(uint8(address, at)) << (8 * at)
    return 4, 4 + length if length <= size - 4 else -1


@kernel
def _present(address: int, at: int, end: int, row: int, count: int, words: Array) -> int:
    """Mark the rows that have a value, from `row` on; how many do, or ODD. Without room in `words` they are counted."""
    total, behind = 0, row + count
    while row < behind:
        head, at = _varint(address, at, end)
        if at < 0:
            return ODD
        if head & 1:
            for _ in range(head >> 1):
                if row >= behind:
                    break
                if at >= end:
                    return ODD
                byte = np.uint64(uint8(address, at))
                at += 1
                if behind - row < 8:
                    byte &= (np.uint64(1) << np.uint64(behind - row)) - np.uint64(1)
                if byte:
                    total += ones(byte)
                    if words.size:
                        words[row >> 6] |= byte << np.uint64(row & 63)
                        if row & 63 > 56 and byte >> np.uint64(64 - (row & 63)):
                            words[(row >> 6) + 1] |= byte >> np.uint64(64 - (row & 63))
                row += min(8, behind - row)
            continue
        run = min(head >> 1, behind - row)
        if at >= end or uint8(address, at) > 1 or run == 0:
            return ODD
        if uint8(address, at):
            total += run
            if words.size:
                for here in range(row, row + run):
                    words[here >> 6] |= np.uint64(1) << np.uint64(here & 63)
        at += 1
        row += run
    return total


@kernel
def counted(table: Array, addresses: Array, required: Array, rows: int, values: Array, texts: Array) -> int:
    """Of each chunk how many rows have a value and how many texts its dictionary holds, of the unpacked pages; the
    dictionaries' bytes, or ODD."""
    nothing = np.zeros(0, np.uint64)
    seen = np.zeros(values.size, np.int64)
    size = 0
    for at in range(table.shape[0]):
        chunk, address = table[at, CHUNK], addresses[at]
        if table[at, KIND] == DICTIONARY:
            if texts[chunk] or seen[chunk]:
                return ODD
            texts[chunk] = table[at, VALUES]
            size += table[at, SIZE]
            continue
        count = table[at, VALUES]
        seen[chunk] += count
        if seen[chunk] > rows:
            return ODD
        if not required[chunk]:
            start, end = _levels(address, table[at, SIZE])
            count = _present(address, start, end, 0, count, nothing) if end >= 0 else ODD
            if count < 0:
                return ODD
        values[chunk] += count
    for chunk in range(seen.size):
        if seen[chunk] != rows:
            return ODD
    return size


@kernel
def _texts(address: int, size: int, count: int, bounds: Array, data: Array, end: int) -> int:
    """Take the texts of a dictionary's page to `data` from `end` on; where they end, or ODD."""
    at = 0
    bounds[0] = end
    for text in range(count):
        if size - at < 4:
            return ODD
        length = whole(0)
        for step in range(4):
            length |= whole(uint8(address, at + step)) << (8 * step)
        at += 4
        if length > size - at:
            return ODD
        copy(data.ctypes.data + end, address + at, length)
        at += length
        end += length
        bounds[text + 1] = end
    return end


@inlined
def _packed(address: int, bit: Any, size: int, width: Any) -> Any:
    """A number of some bits, of which the bytes up to `size` may be read."""
    at = bit >> 3
    if at + 8 <= size:
        found = word(address + at)
    else:
        found = np.uint64(0)
        for step in range(size - at):
            found |= np.uint64(uint8(address, at + step)) << np.uint64(8 * step)
    return whole((found >> np.uint64(bit & 7)) & ((np.uint64(1) << np.uint64(width)) - np.uint64(1)))


@kernel
def _codes(address: int, at: int, size: int, texts: int, codes: Array) -> bool:
    """Read the codes of a page; whether all were there and each has its text."""
    if not codes.size:
        return True
    if at >= size:
        return False
    width, number = whole(uint8(address, at)), 0
    at += 1
    if width > 31:
        return False
    while number < codes.size:
        head, at = _varint(address, at, size)
        if at < 0:
            return False
        if head & 1:
            groups = head >> 1
            if groups == 0 or groups * width > size - at:
                return False
            for step in range(min(8 * groups, codes.size - number)):
                code = _packed(address, 8 * at + step * width, size, width)
                if code >= texts:
                    return False
                codes[number + step] = code
            number += min(8 * groups, codes.size - number)
            at += groups * width
            continue
        run, bytes_ = min(head >> 1, codes.size - number), (width + 7) >> 3
        if run == 0 or bytes_ > size - at:
            return False
        code = whole(0)
        for step in range(bytes_):
            code |= whole(uint8(address, at + step)) << (8 * step)
        at += bytes_
        if code >= texts:
            return False
        codes[number : number + run] = code
        number += run
    return True


@kernel
def columns(
    table: Array,
    addresses: Array,
    required: Array,
    firsts: Array,
    heads: Array,
    words: Array,
    ranks: Array,
    codes: Array,
    bounds: Array,
    data: Array,
) -> int:
    """All of the chunks: `firsts`: where the codes of each begin; `heads`: where the bounds of its texts begin, one
    more than there are. How many bytes of text, or ODD."""
    end, chunk, row, number = 0, -1, 0, 0
    for at in range(table.shape[0]):
        address, size = addresses[at], table[at, SIZE]
        if table[at, CHUNK] != chunk:
            chunk, row = table[at, CHUNK], 0
            number = firsts[chunk]
        texts = heads[chunk + 1] - heads[chunk] - 1
        if table[at, KIND] == DICTIONARY:
            end = _texts(address, size, texts, bounds[heads[chunk] : heads[chunk + 1]], data, end)
            if end < 0:
                return ODD
            continue
        count, start = table[at, VALUES], 0
        if required[chunk]:
            for here in range(row, row + count):
                words[chunk, here >> 6] |= np.uint64(1) << np.uint64(here & 63)
        else:
            first, start = _levels(address, size)
            count = _present(address, first, start, row, count, words[chunk])
        row += table[at, VALUES]
        if not _codes(address, start, size, texts, codes[number : number + count]):
            return ODD
        number += count
    for line in range(words.shape[0]):
        rank(words[line], ranks[line])
    return end
