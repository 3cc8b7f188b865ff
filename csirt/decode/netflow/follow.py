"""Sequence numbers, message by message: what was lost, came late, came twice, or began anew.

v5 and v7 count flows, v9 counts datagrams, IPFIX data records, options data among them. Numbers are 32 bits and wrap.
"""

from __future__ import annotations

import numpy as np

from csirt.decode.netflow.scan import MASK32, Number
from csirt.decode.netflow.state import Exporter, Sequence
from csirt.model.batch import Array
from csirt.model.jit import kernel

GAPS = 16  # stretches of missing numbers an exporter is remembered to have
AHEAD = 1 << 24  # a jump further than this is no loss but another count
BEHIND = 1 << 16  # nothing comes later than this many numbers
NEAR = 1 << 12  # where a count begins anew
RESTART_MS = 120_000  # by which the uptime has to disagree with our clock before the device restarted
EXPECTED, UNCLEAR, DEPTH, EXPORT, UPTIME, CLOCK, OPEN, FIELDS = 0, 1, 2, 3, 4, 5, 6, 7


@kernel
def _forget_gap(gaps: Array, row: Array, k: Number) -> None:
    for i in range(k, row[OPEN] - 1):
        gaps[i, 0] = gaps[i + 1, 0]
        gaps[i, 1] = gaps[i + 1, 1]
    row[OPEN] -= 1


@kernel
def _open_gap(gaps: Array, row: Array, first: Number, size: Number) -> None:
    if row[OPEN] == gaps.shape[0]:
        _forget_gap(gaps, row, 0)
    gaps[row[OPEN], 0] = first
    gaps[row[OPEN], 1] = size
    row[OPEN] += 1


@kernel
def _close(gaps: Array, row: Array, number: Number, units: Number) -> Number:
    """Take the units from `number` on out of the gap they lie in; how many they are, -1 when they lie in none."""
    for k in range(row[OPEN]):
        first = gaps[k, 0]
        size = gaps[k, 1]
        inside = (number - first) & MASK32
        if inside >= size:
            continue
        if units < 0:
            return 0
        taken = min(units, size - inside)
        after = size - inside - taken
        if inside > 0 and after > 0:
            gaps[k, 1] = inside
            _open_gap(gaps, row, (number + taken) & MASK32, after)
        elif inside > 0:
            gaps[k, 1] = inside
        elif after > 0:
            gaps[k, 0] = (number + taken) & MASK32
            gaps[k, 1] = after
        else:
            _forget_gap(gaps, row, k)
        return taken
    return -1


@kernel
def _begin(row: Array, number: Number, units: Number) -> None:
    """Count from here on."""
    row[EXPECTED] = (number + max(units, 0)) & MASK32
    row[UNCLEAR] = 1 if units < 0 else 0
    row[DEPTH] = max(units, 0)


@kernel
def sequence(
    group: Array, version: Array, number: Array, units: Array, export: Array, uptime: Array, clock: Array,
    rows: Array, gaps: Array, lost: Array, late: Array, twice: Array, anew: Array,
) -> None:  # fmt: skip
    """Follow every message m of exporter group[m] (negative: nobody's). `units`: by how much it advances the count, -1
    when that cannot be known. `rows`, `gaps`: the exporters' `Sequence` as numbers, changed in place. Out, by message:
    units `lost` (negative: they came after all), whether it came `late` or `twice`, or the count began `anew`.
    """
    for m in range(group.size):
        g = group[m]
        if g < 0:
            continue
        row = rows[g]
        n = number[m]
        u = units[m]
        restarted = False
        if version[m] < 10:
            if row[UPTIME] >= 0:
                drift = (uptime[m] - row[UPTIME] - (clock[m] - row[CLOCK]) // 1000) & MASK32
                drift = drift - (1 << 32) if drift >= 1 << 31 else drift
                restarted = drift > RESTART_MS or drift < -RESTART_MS
            row[UPTIME] = uptime[m]
            row[CLOCK] = clock[m]
        newer = export[m] > row[EXPORT]
        row[EXPORT] = max(row[EXPORT], export[m])
        if row[EXPECTED] < 0:
            _begin(row, n, u)
            continue
        ahead = (n - row[EXPECTED]) & MASK32
        behind = (row[EXPECTED] - n) & MASK32
        if ahead == 0 and not (restarted and n < NEAR):
            row[EXPECTED] = (n + max(u, 0)) & MASK32
            row[UNCLEAR] = 1 if u < 0 else 0
            row[DEPTH] = min(row[DEPTH] + max(u, 0), BEHIND)
        elif restarted or (ahead > AHEAD and behind > BEHIND):
            anew[m] = 1
            row[EXPORT] = export[m]
            row[OPEN] = 0
            _begin(row, n, u)
        elif ahead <= AHEAD:
            if row[UNCLEAR] == 0:
                lost[m] = ahead
                _open_gap(gaps[g], row, row[EXPECTED], ahead)
            row[EXPECTED] = (n + max(u, 0)) & MASK32
            row[UNCLEAR] = 1 if u < 0 else 0
            row[DEPTH] = min(row[DEPTH] + ahead + max(u, 0), BEHIND)
        else:
            taken = _close(gaps[g], row, n, u)
            if taken >= 0:
                late[m] = 1
                lost[m] = -taken
            elif n < NEAR and (newer or (version[m] == 10 and export[m] <= 0)):
                anew[m] = 1
                row[OPEN] = 0
                _begin(row, n, u)
            elif behind > row[DEPTH]:  # before the first one that came
                late[m] = 1
                missing = behind - row[DEPTH] - max(u, 0)
                if u >= 0 and missing > 0:
                    lost[m] = missing
                    _open_gap(gaps[g], row, (n + u) & MASK32, missing)
                row[DEPTH] = behind
            elif u == 0:
                late[m] = 1  # a template on its own: it moves no count
            else:
                twice[m] = 1


def load(exporters: list[Exporter | None]) -> tuple[Array, Array]:
    """The exporters' sequences as numbers: rows and gaps."""
    rows = np.zeros((len(exporters), FIELDS), np.int64)
    gaps = np.zeros((len(exporters), GAPS, 2), np.int64)
    for place, item in enumerate(exporters):
        if item is not None:
            known = item.sequence
            count = len(known.gaps) // 2
            rows[place] = (known.expected, known.unclear, known.depth, known.export, known.uptime, known.clock, count)
            gaps[place, :count] = np.array(known.gaps, np.int64).reshape(-1, 2)
    return rows, gaps


def save(exporters: list[Exporter | None], rows: Array, gaps: Array) -> None:
    """Put the numbers back."""
    for place, item in enumerate(exporters):
        if item is not None:
            expected, unclear, depth, export, uptime, clock, count = rows[place].tolist()
            known = gaps[place, :count].reshape(-1).tolist()
            item.sequence = Sequence(expected, unclear, depth, export, uptime, clock, known)
