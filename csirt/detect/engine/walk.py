"""The compiled loops that find the rows a condition may match and decide it on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.detect.columns.loads import int32, int64, lowest, ones, pair, uint8, word
from csirt.detect.engine.branches import ALWAYS, CODES, EMPTY, MASK, OPEN, WHOLE
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel


@kernel
def candidates(
    atoms: Array, edges: Array, rows: Array, starts: Array, seen: Array, number: int, out: Array, ends: Array
) -> None:
    """The rows of each condition: those where one of its witnesses holds, sorted. `edges` of a condition in `atoms`,
    `starts` of an atom in `rows`; `seen`: per row less than `number`, which counts the conditions; `ends`: of each
    condition in `out`."""
    total = 0
    for condition in range(edges.size - 1):
        first, begin = edges[condition], total
        ordered = True
        for place in range(first, edges[condition + 1]):
            atom = atoms[place]
            for at in range(starts[atom], starts[atom + 1]):
                row = rows[at]
                if seen[row] != number + condition:
                    seen[row] = number + condition
                    ordered = ordered and (total == begin or out[total - 1] < row)
                    out[total] = row
                    total += 1
        if not ordered:
            out[begin:total].sort()
        ends[condition] = total


@inlined
def _among(hits: Array, low: int, high: int, code: int) -> bool:
    """Whether a sorted piece of `hits` holds the code."""
    while low < high:
        middle = (low + high) >> 1
        found = hits[middle]
        if found == code:
            return True
        if found < code:
            low = middle + 1
        else:
            high = middle
    return False


@inlined
def _code(columns: Array, column: int, member: int) -> Any:
    """The code of a member of a column, -1 for none; what a line of `columns` says: `physical`."""
    if columns[column, 1]:
        place = member + columns[column, 2]
        if not (uint8(columns[column, 1], place >> 3) >> (place & 7)) & 1:
            return -1
        if columns[column, 5]:
            below = (np.uint64(1) << np.uint64(place & 63)) - np.uint64(1)
            before = ones(word(columns[column, 1] + (place >> 6 << 3)) & below)
            return int32(columns[column, 0], int32(columns[column, 5], place >> 6) + before)
    return int32(columns[column, 0], member)


@inlined
def _compared(piece: Array, row: int) -> bool:
    """Whether a row's whole number stands in the relation to another: `sweep.Sweep.compare` says what is in `piece`."""
    if piece[3] and not uint8(piece[3], row):
        return False
    size, operator, wanted = piece[1] >> 3, piece[1] & 7, piece[2]
    if size == 8:
        number = np.int64(int64(piece[0], row))
    elif size == 4:
        number = np.int64(int32(piece[0], row))
    elif size == 2:
        number = np.int64(pair(piece[0] + 2 * row))
    else:
        number = np.int64(uint8(piece[0], row))
    if operator == 0:
        return bool(number == wanted)
    if operator < 3:
        return bool(number < wanted or (operator == 2 and number == wanted))
    return bool(number > wanted or (operator == 4 and number == wanted))


@kernel
def walk(
    undecided: Array,
    count: int,
    rows: Array,
    places: Array,
    tests: Array,
    holds: Array,
    fails: Array,
    known: Array,
    pieces: Array,
    hits: Array,
    columns: Array,
    bases: Array,
) -> int:
    """Take the undecided pairs on from their `places` until they end, or come to a test that is still open. `pieces`:
    per atom its column and the piece of `hits` it has, or the address of its mask, or what `_compared` wants; `bases`:
    what a column's codes are counted from. How many are left, at the front of `undecided`."""
    left = 0
    for at in range(count):
        pair = undecided[at]
        row, place = rows[pair], places[pair]
        while place >= 0:
            atom = tests[place]
            kind = known[atom]
            if kind == OPEN:
                break
            verdict = kind == ALWAYS
            if kind == CODES:
                column = pieces[atom, 0]
                code = _code(columns, column, row)
                verdict = code >= 0 and _among(hits, pieces[atom, 1], pieces[atom, 2], code + bases[column])
            elif kind == MASK:
                verdict = uint8(pieces[atom, 0], row) != 0
            elif kind == WHOLE:
                verdict = _compared(pieces[atom], row)
            elif kind >= EMPTY:
                verdict = (_code(columns, pieces[atom, 0], row) < 0) == (kind == EMPTY)
            place = holds[place] if verdict else fails[place]
        places[pair] = place
        if place >= 0:
            undecided[left] = pair
            left += 1
    return left


@kernel
def owned(found: Array, heads: Array, owners: Array, starts: Array, hits: Array) -> int:
    """(literal, text) pairs as texts by owner; the owners of a literal are `owners[heads[l] : heads[l + 1]]`. `starts`:
    zeros, one more than owners there are; then where each owner's `hits` begin. How many there are, be there room or
    not."""
    total = 0
    for at in range(found.shape[0]):
        for entry in range(heads[found[at, 0]], heads[found[at, 0] + 1]):
            starts[owners[entry] + 1] += 1
            total += 1
    for owner in range(starts.size - 1):
        starts[owner + 1] += starts[owner]
    if total > hits.size:
        return total
    for back in range(found.shape[0] - 1, -1, -1):
        for entry in range(heads[found[back, 0]], heads[found[back, 0] + 1]):
            owner = owners[entry]
            starts[owner + 1] -= 1
            hits[starts[owner + 1]] = found[back, 1]
    for owner in range(starts.size - 1):
        starts[owner] = starts[owner + 1]
    starts[starts.size - 1] = total
    return total


@kernel
def by_text(pieces: Array, hits: Array, heads: Array, owners: Array) -> None:
    """Which of some pieces of `hits` hold a text: `owners[heads[t] : heads[t + 1]]`. `heads`: zeros, two more than
    texts there are."""
    for piece in range(pieces.shape[0]):
        for at in range(pieces[piece, 0], pieces[piece, 1]):
            heads[hits[at] + 2] += 1
    for text in range(heads.size - 1):
        heads[text + 1] += heads[text]
    for piece in range(pieces.shape[0]):
        for at in range(pieces[piece, 0], pieces[piece, 1]):
            text = hits[at]
            owners[heads[text + 1]] = piece
            heads[text + 1] += 1


@inlined
def _next(columns: Array, column: int, place: int) -> Any:
    """The first member from `place` on that has a value, as the bitmap has it; the end where there is none."""
    bitmap, offset, behind = columns[column, 1], columns[column, 2], columns[column, 4]
    while place < behind:
        at = place + offset
        if at & 7 == 0 and place + 64 <= behind:
            found = word(bitmap + (at >> 3))
            if found:
                return place + lowest(found)
            place += 64
            continue
        if (uint8(bitmap, at >> 3) >> (at & 7)) & 1:
            return place
        place += 1
    return behind


@kernel
def spread(columns: Array, bases: Array, heads: Array, owners: Array, counts: Array, pairs: Array, rows: Array) -> int:
    """The rows of the owners of texts. Called with no room in `rows` it counts each owner's, and has (owner, row) in
    `pairs` as far as there is room; with room for all, `counts` says where each owner's begin, and in the end where
    they end. How many there are."""
    counting, total = rows.size == 0, 0
    for column in range(columns.shape[0]):
        base, bitmap, parents, packed = bases[column], columns[column, 1], columns[column, 3], columns[column, 5]
        member, behind, number = 0, columns[column, 4], 0
        while True:
            if bitmap:
                member = _next(columns, column, member)
            if member >= behind:
                break
            code = int32(columns[column, 0], number if packed else member)
            number += 1
            if code >= 0:
                for entry in range(heads[base + code], heads[base + code + 1]):
                    owner, row = owners[entry], int64(parents, member) if parents else member
                    if not counting:
                        rows[counts[owner]] = row
                    elif total < pairs.shape[0]:
                        pairs[total, 0], pairs[total, 1] = owner, row
                    counts[owner] += 1
                    total += 1
            member += 1
    return total


@kernel
def placed(pairs: Array, count: int, places: Array, rows: Array) -> None:
    """The rows of (owner, row) pairs by owner; `places`: where each owner's begin, and in the end where they end."""
    for at in range(count):
        owner = pairs[at, 0]
        rows[places[owner]] = pairs[at, 1]
        places[owner] += 1


@kernel
def marked(columns: Array, column: int, accept: Array, holds: Array) -> None:
    """Mark the rows of a column of lists that have one of the codes that `accept` takes."""
    for member in range(columns[column, 4]):
        code = _code(columns, column, member)
        if code >= 0 and accept[code]:
            holds[int64(columns[column, 3], member)] = True


@kernel
def stands(rows: Array, columns: Array, bases: Array, piece: Array, result: Array) -> None:
    """Whether a row has one of the texts of a sorted piece, in any of the columns."""
    for at in range(rows.size):
        row = rows[at]
        for column in range(columns.shape[0]):
            member, behind = row, row + 1
            if columns[column, 3]:
                member, behind = _members(columns[column, 3], columns[column, 4], row)
            while member < behind and not result[at]:
                code = _code(columns, column, member)
                result[at] = code >= 0 and _among(piece, 0, piece.size, bases[column] + code)
                member += 1
            if result[at]:
                break


@kernel
def texts(rows: Array, columns: Array, bases: Array, found: Array) -> int:
    """The texts that rows have in any of the columns; how many, be there room or not."""
    count = 0
    for at in range(rows.size):
        row = rows[at]
        for column in range(columns.shape[0]):
            member, behind = row, row + 1
            if columns[column, 3]:
                member, behind = _members(columns[column, 3], columns[column, 4], row)
            while member < behind:
                code = _code(columns, column, member)
                if code >= 0:
                    if count < found.size:
                        found[count] = bases[column] + code
                    count += 1
                member += 1
    return count


@inlined
def _members(parents: int, count: int, row: int) -> Any:
    """The first member of a row, and the one behind its last."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if int64(parents, middle) < row:
            low = middle + 1
        else:
            high = middle
    first = low
    while low < count and int64(parents, low) == row:
        low += 1
    return first, low
