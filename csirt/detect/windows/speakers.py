"""Which row of each group speaks for it: the one with the greatest number, of those the first by (time, event)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from csirt.detect.windows.keys import event_keys
from csirt.model.batch import Array


def speakers(
    codes: Array, numbers: Array, times: Array, events: Callable[[Array], pa.Array | pa.ChunkedArray]
) -> tuple[Array, Array, Array]:
    """By group, ascending: the rows in their groups' order, where each group begins there, and the row that speaks for
    it. `events`: the ids of some of the rows, asked for where nothing else decides."""
    order = np.argsort(codes)
    own = codes[order]
    firsts = np.flatnonzero(np.diff(own, prepend=own[:1] - 1))
    groups = np.repeat(np.arange(len(firsts)), np.diff(np.append(firsts, len(order))))
    left, starts = order, firsts
    for values in (-np.where(np.isnan(numbers), -np.inf, numbers), times) if numbers.any() else (times,):
        if len(left) > len(firsts):
            mine = values[left]
            best = mine == np.minimum.reduceat(mine, starts)[groups]
            left, groups = left[best], groups[best]
            starts = np.flatnonzero(np.diff(groups, prepend=-1))
    if len(left) > len(firsts):
        several = np.bincount(groups)[groups] > 1
        tied, whose = left[several], groups[several]
        found = events(tied)
        high, low = event_keys(pa.chunked_array([found]) if isinstance(found, pa.Array) else found)
        ordered = np.lexsort((low, high, whose))
        tied, whose = tied[ordered], whose[ordered]
        chosen = left[starts]
        edges = np.flatnonzero(np.diff(whose, prepend=-1))
        chosen[whose[edges]] = tied[edges]
        return order, firsts, chosen
    return order, firsts, left
