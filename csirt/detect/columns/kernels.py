"""The compiled loops of detection, over whole columns. Imported only where many values make it worth its while."""

from __future__ import annotations

from csirt.model.batch import Array
from csirt.model.jit import kernel


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
