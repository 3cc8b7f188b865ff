"""What one datagram may cost: no export comes near these numbers, and without them 64 KiB could take seconds.

What is beyond them is counted as malformed.
"""

from __future__ import annotations

import numpy as np

from csirt.decode.netflow.plans import Plans
from csirt.model.batch import Array

DEFINITIONS = 512  # template records of one message; a datagram of 1,500 octets holds 60 of ordinary ones
CHANGES = 4_096  # definitions of one exporter in one chunk for which the chunk has data
PLANS = 128  # different templates whose data one datagram holds
COLUMNS = 640  # different columns that its data fills; one template may have 512 fields
FIELDS = 8_192  # fields of the templates that are looked at to find out


def refuse(plan: Array, datagram: Array, plans: Plans, bad: Array) -> None:
    """Take the plan (-2) from sets that are beyond the limits of their datagram, and count them in `bad`.

    `plan` and `datagram` by set, in order of the datagrams. The first templates of a datagram win.
    """
    known = np.flatnonzero(plan >= 0)
    if not len(known):
        return
    numbers, owner = plan[known], datagram[known]
    first = int(owner[0])
    most = np.bincount(owner - first, np.maximum(plans.widths[numbers], COLUMNS // PLANS + 1))
    for suspect in (np.flatnonzero(most > COLUMNS) + first).tolist():
        start, end = np.searchsorted(owner, [suspect, suspect + 1])
        beyond = known[start:end][_beyond(numbers[start:end].tolist(), plans)]
        plan[beyond] = -2
        bad[beyond] += 1


def _beyond(numbers: list[int], plans: Plans) -> list[bool]:
    """Which sets of one datagram are too much."""
    kept: dict[int, bool] = {}
    columns: set[tuple[int, int, int]] = set()
    plans_left, fields_left = PLANS, FIELDS
    for number in numbers:
        if number in kept:
            continue
        fields = plans.signatures[number].fields
        fields_left -= len(fields)
        more = _columns(fields) - columns if plans_left > 0 <= fields_left else set()
        kept[number] = plans_left > 0 <= fields_left and len(columns) + len(more) <= COLUMNS
        if kept[number]:
            columns |= more
            plans_left -= 1
    return [not kept[number] for number in numbers]


def _columns(fields: tuple[tuple[int, int, int], ...]) -> set[tuple[int, int, int]]:
    """What has a column of its own: enterprise, id, and which of several of them in one template."""
    seen: dict[tuple[int, int], int] = {}
    for pen, ident, _ in fields:
        seen[pen, ident] = seen.get((pen, ident), 0) + 1
    return {(*key, copy) for key, copies in seen.items() for copy in range(copies)}
