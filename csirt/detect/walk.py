"""The compiled loops that find the rows a condition may match and decide it on them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from csirt.detect.branches import ALWAYS, CODES, OPEN
from csirt.model.batch import Array
from csirt.model.jit import inlined, kernel


def _load(kind: Any, bits: int) -> Any:
    """A function (address, place) -> the number there: columns are arrays of their own, any number of them."""

    def typed(context: Any, address: Any, place: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            return builder.load(builder.gep(pointer, [arguments[1]]))

        return kind(types.int64, types.int64), code

    return intrinsic(typed)


_int32 = _load(types.int32, 32)
_uint8 = _load(types.uint8, 8)


@kernel
def candidates(atoms: Array, edges: Array, rows: Array, starts: Array, seen: Array, out: Array, ends: Array) -> None:
    """The rows of each condition: those where one of its witnesses holds, sorted. `edges` of a condition in `atoms`,
    `starts` of an atom in `rows`; `seen`: per row -1; `ends`: of each condition in `out`."""
    total = 0
    for condition in range(edges.size - 1):
        first, begin = edges[condition], total
        for place in range(first, edges[condition + 1]):
            atom = atoms[place]
            for at in range(starts[atom], starts[atom + 1]):
                row = rows[at]
                if seen[row] != condition:
                    seen[row] = condition
                    out[total] = row
                    total += 1
        if edges[condition + 1] - first > 1:
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
def _code(column: Array, row: int) -> Any:
    """The code of a row: `column` is the address of the codes, of the bitmap of what is there or 0, and its offset."""
    if column[1]:
        place = row + column[2]
        if not (_uint8(column[1], place >> 3) >> (place & 7)) & 1:
            return -1
    return _int32(column[0], row)


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
) -> int:
    """Take the undecided pairs on from their `places` until they end, or come to a test that is still open. `pieces`:
    per atom its column and the piece of `hits` it has. How many are left, at the front of `undecided`."""
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
                code = _code(columns[pieces[atom, 0]], row)
                verdict = code >= 0 and _among(hits, pieces[atom, 1], pieces[atom, 2], code)
            place = holds[place] if verdict else fails[place]
        places[pair] = place
        if place >= 0:
            undecided[left] = pair
            left += 1
    return left
