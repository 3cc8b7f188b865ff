"""The compiled loops of detection, over whole columns. Imported only where many values make it worth its while."""

from __future__ import annotations

import numpy as np

from csirt.detect.columns.loads import copy, int32, int64, uint8, whole, word
from csirt.detect.columns.loads import ones as ones_of
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel

# The highest bit of each of eight bytes.
HIGH = np.uint64(0x8080808080808080)


@kernel
def _four(data: Array, start: int, end: int) -> int:
    """An IPv4 address in four decimal parts without leading zeros, or -1."""
    number, part, digits, dots = 0, 0, 0, 0
    for at in range(start, end):
        byte = data[at]
        if 48 <= byte <= 57:
            if digits and part == 0:
                return -1
            part = part * 10 + byte - 48
            digits += 1
            if part > 255:
                return -1
        elif byte == 46 and digits and dots < 3:
            number = number * 256 + part
            part, digits = 0, 0
            dots += 1
        else:
            return -1
    return number * 256 + part if dots == 3 and digits else -1


@kernel
def _six(data: Array, start: int, end: int, groups: Array) -> bool:
    """The eight groups of an IPv6 address, as inet_pton takes it, or False."""
    count, gap, number, digits, token = 0, -1, 0, 0, start
    at = start
    if data[at] == 58:
        if end - at < 2 or data[at + 1] != 58:
            return False
        at += 1
        token = at
    while at < end:
        byte = data[at]
        at += 1
        lower = byte | 32
        if 48 <= byte <= 57 or 97 <= lower <= 102:
            if digits == 4:
                return False
            number = number * 16 + (byte - 48 if byte <= 57 else lower - 87)
            digits += 1
        elif byte == 58:
            token = at
            if digits == 0:
                if gap >= 0:
                    return False
                gap = count
                continue
            if at == end or count == 8:
                return False
            groups[count] = number
            count += 1
            number, digits = 0, 0
        elif byte == 46 and count <= 6:
            four = _four(data, token, end)
            if four < 0:
                return False
            groups[count] = four >> 16
            groups[count + 1] = four & 0xFFFF
            count += 2
            digits = 0
            break
        else:
            return False
    if digits:
        if count == 8:
            return False
        groups[count] = number
        count += 1
    if gap < 0:
        return count == 8
    if count == 8:
        return False
    moved = count - gap
    for back in range(moved):
        groups[7 - back] = groups[count - 1 - back]
    for empty in range(gap, 8 - moved):
        groups[empty] = 0
    return True


@kernel
def addresses(data: Array, offsets: Array, groups: Array, family: Array, high: Array, low: Array) -> None:
    """Family (0: not an address), high and low half of every text; `groups` is scratch of eight."""
    for row in range(family.size):
        start, end = offsets[row], offsets[row + 1]
        family[row] = 0
        high[row] = 0
        low[row] = 0
        if end - start < 2 or end - start > 45:
            continue
        colon = False
        for at in range(start, min(end, start + 5)):
            colon = colon or data[at] == 58
        if not colon:
            four = _four(data, start, end)
            if four >= 0:
                family[row] = 4
                low[row] = four
        elif _six(data, start, end, groups):
            family[row] = 6
            for place in range(4):
                high[row] = (high[row] << 16) | groups[place]
                low[row] = (low[row] << 16) | groups[place + 4]


@kernel
def ones(bitmap: Array, offset: int, count: int, found: Array) -> int:
    """Write where a packed bitmap has ones, `offset` being the first place; how many there are."""
    total = 0
    at = 0
    while at < count:
        place = at + offset
        byte = bitmap[place >> 3]
        if not place & 7 and not byte:
            at += 8
            continue
        if byte >> (place & 7) & 1:
            found[total] = at
            total += 1
        at += 1
    return total


@kernel
def spread(codes: Array, heads: Array, owners: Array, counts: Array) -> None:
    """How many members each owner has; the owners of code c are `owners[heads[c] : heads[c + 1]]`."""
    for member in range(codes.size):
        code = codes[member]
        for entry in range(heads[code], heads[code + 1]):
            counts[owners[entry]] += 1


@kernel
def gathered(members: Array, codes: Array, heads: Array, owners: Array, places: Array, found: Array) -> None:
    """The members of each owner behind one another; `places`: where each owner's begin, and in the end where they
    end."""
    for member in range(codes.size):
        code = codes[member]
        for entry in range(heads[code], heads[code + 1]):
            owner = owners[entry]
            found[places[owner]] = members[member]
            places[owner] += 1


@kernel
def by_number(numbers: Array, valid: Array, least: int, table: Array, seen: Array, edges: Array, rows: Array) -> None:
    """The rows of each of some numbers behind one another: `table[number - least]` is which of them it is, or -1;
    nothing in `valid`: all are. `seen`: room for (row, which). `edges`: zeros, one more than numbers there are; then
    where the rows of each begin."""
    count = 0
    for at in range(numbers.size):
        place = whole(numbers[at]) - least
        if 0 <= place < table.size and table[place] >= 0 and (valid.size == 0 or valid[at]):
            seen[count, 0], seen[count, 1] = at, table[place]
            edges[table[place] + 1] += 1
            count += 1
    for number in range(edges.size - 1):
        edges[number + 1] += edges[number]
    for back in range(count - 1, -1, -1):
        edges[seen[back, 1] + 1] -= 1
        rows[edges[seen[back, 1] + 1]] = seen[back, 0]
    edges[:-1] = edges[1:]
    edges[-1] = count


@inlined
def set_bits(bitmap: int, offset: int, count: int) -> int:
    """How many of some bits of a bitmap are set."""
    total, at, behind = 0, offset, offset + count
    while at < behind:
        if not at & 7 and at + 64 <= behind:
            total += ones_of(word(bitmap + (at >> 3)))
            at += 64
        else:
            total += (uint8(bitmap, at >> 3) >> (at & 7)) & 1
            at += 1
    return total


@inlined
def _few(child: int, most: int, line: Array) -> bool:
    """Complete the line of lists, but for their rows, if they have at most so many members, all of them texts. A list
    that is null has none."""
    rows, offset = int64(child, 0), int64(child, 2)
    bounds, inner = int64(int64(child, 5), 1), int64(int64(child, 6), 0)
    first, last = whole(int32(bounds, offset)), whole(int32(bounds, offset + rows))
    begin, buffers = int64(inner, 2) + first, int64(inner, 5)
    line[4] = last - first
    line[6] = int64(buffers, 1) + 4 * begin
    line[7] = int64(buffers, 2)
    line[8] = last - first
    if last - first > most:
        return False
    return bool(int64(buffers, 0) == 0 or set_bits(int64(buffers, 0), begin, last - first) == last - first)


@kernel
def described(array: int, table: Array, filled: Array, most: int) -> int:
    """Lines of `physical` for the children of an Arrow array (its C data interface), which are dictionary text, lists
    of text, or numbers as they lie in their buffer; `filled`: how many rows of each have a value, or -1 where a
    dictionary holds a null, or lists have more than so many members or one that is null. How many members lists
    have, whose rows `parents` finds."""
    children, members = int64(array, 6), 0
    for at in range(filled.size):
        child = int64(children, at)
        rows, nulls, offset, buffers = int64(child, 0), int64(child, 1), int64(child, 2), int64(child, 5)
        bitmap, dictionary = int64(buffers, 0), int64(child, 7)
        if bitmap == 0:
            nulls = 0
        table[at, 0] = int64(buffers, 1)
        table[at, 1] = bitmap if nulls else 0
        table[at, 2] = offset
        table[at, 4] = rows
        filled[at] = rows - nulls if nulls >= 0 else set_bits(bitmap, offset, rows)
        if int64(child, 4) and filled[at]:
            if _few(child, most, table[at]):
                members += table[at, 4] + 1
            else:
                filled[at] = -1
        if dictionary == 0:
            continue
        texts, first, inner = int64(dictionary, 0), int64(dictionary, 2), int64(dictionary, 5)
        table[at, 0] += 4 * offset
        table[at, 2] = offset if nulls else 0
        table[at, 6] = int64(inner, 1) + 4 * first
        table[at, 7] = int64(inner, 2)
        table[at, 8] = texts
        if int64(inner, 0) and set_bits(int64(inner, 0), first, texts) < texts:
            filled[at] = -1
    return members


@kernel
def parents(array: int, table: Array, filled: Array, found: Array, codes: Array) -> None:
    """Complete the lines of lists: the rows of their members are written into `found`, with a place to spare for each
    column; `codes`: the numbers from 0 on."""
    total = 0
    for at in range(filled.size):
        child = int64(int64(array, 6), at)
        if int64(child, 4) == 0 or filled[at] <= 0:
            continue
        bitmap, place = table[at, 1], table[at, 2]
        bounds, begin, behind = int64(int64(child, 5), 1), total, place + int64(child, 0)
        while place < behind:
            if bitmap and not place & 7 and not uint8(bitmap, place >> 3):
                place += 8
                continue
            if not bitmap or (uint8(bitmap, place >> 3) >> (place & 7)) & 1:
                for _ in range(int32(bounds, place), int32(bounds, place + 1)):
                    found[total] = place - table[at, 2]
                    total += 1
            place += 1
        if total - begin < table[at, 4]:
            filled[at] = -1
        total = begin + table[at, 4] + 1
        table[at, 0], table[at, 1], table[at, 2] = codes.ctypes.data, 0, 0
        table[at, 3] = found.ctypes.data + 8 * begin


@kernel
def text_bounds(table: Array, bounds: Array) -> int:
    """Where each column's texts begin among those of all, and in the end how many there are; how many bytes."""
    total = 0
    for at in range(table.shape[0]):
        bounds[at + 1] = bounds[at] + table[at, 8]
        if table[at, 8]:
            total += int32(table[at, 6], table[at, 8]) - int32(table[at, 6], 0)
    return total


@kernel
def gathered_texts(table: Array, data: Array, offsets: Array) -> None:
    """The texts of all columns behind one another."""
    text, end = 0, 0
    offsets[0] = 0
    for at in range(table.shape[0]):
        bounds, source, count = table[at, 6], table[at, 7], table[at, 8]
        if not count:
            continue
        first, last = whole(int32(bounds, 0)), whole(int32(bounds, count))
        moved = end - first
        copy(data.ctypes.data + end, source + first, last - first)
        for place in range(1, count + 1):
            offsets[text + place] = int32(bounds, place) + moved
        text += count
        end += last - first


@kernel
def lowered(data: Array, found: Array) -> int:
    """The bytes with ASCII in lower case; all of them or-ed together."""
    every = 0
    for at in range(data.size):
        byte = data[at]
        every |= byte
        found[at] = byte | ((65 <= byte <= 90) << 5)
    return every


@kernel
def beyond_ascii(data: Array, offsets: Array, found: Array) -> int:
    """The texts with a byte that is not ASCII; how many there are."""
    count, address = 0, whole(data.ctypes.data)
    at, end = whole(offsets[0]), whole(offsets[-1])
    while at < end:
        if at + 8 <= end and not word(address + at) & HIGH:
            at += 8
        elif uint8(address, at) < 128:
            at += 1
        else:
            found[count] = np.searchsorted(offsets, at, side="right") - 1
            at = whole(offsets[found[count] + 1])
            count += 1
    return count


@kernel
def put_texts(data: Array, starts: Array, texts: Array, edges: Array) -> None:
    """Write texts over others that are as long."""
    for text in range(starts.size):
        moved = starts[text] - edges[text]
        for at in range(edges[text], edges[text + 1]):
            data[at + moved] = texts[at]


@kernel
def begins(data: Array, offsets: Array, some: Array, places: Array) -> int:
    """Leave, at the front, those of some texts whose first bytes are each among those of their place; how many."""
    count = 0
    for at in range(some.size):
        start, size = whole(offsets[some[at]]), whole(offsets[some[at] + 1]) - whole(offsets[some[at]])
        place = 0
        while place < places.shape[0] and place < size and places[place, data[start + place]]:
            place += 1
        if place == places.shape[0]:
            some[count] = some[at]
            count += 1
    return count


@kernel
def neighbours(data: Array, offsets: Array, some: Array, first: Array, second: Array) -> int:
    """Leave, at the front, those of some texts that hold a byte of the first set before one of the second; how many."""
    count = 0
    for at in range(some.size):
        place, end = whole(offsets[some[at]]), whole(offsets[some[at] + 1]) - 1
        while place < end and not (first[data[place]] and second[data[place + 1]]):
            place += 1
        if place < end:
            some[count] = some[at]
            count += 1
    return count
