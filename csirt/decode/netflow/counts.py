"""What is counted per exporter: the same names in status, metrics and the store."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.decode.netflow.state import State
from csirt.model.batch import Array

OTHERS = "others"  # the address under which exporters without counters of their own are counted
COUNTERS = (
    "received",
    "sequence_lost",
    "malformed",
    "held",
    "expired",
    "dropped",
    "decoded",
    "sequence_late",
    "sequence_duplicates",
    "sequence_resets",
)


class Deltas:
    """What changed per exporter since the last chunk."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._counts: dict[int, dict[str, int]] = {}

    def add(self, name: str, exporters: Array, values: Array | None = None) -> None:
        """Count per exporter number; negative numbers are nobody."""
        if values is not None and not values.any():
            return
        mine = exporters >= 0
        if not mine.all():
            exporters, values = exporters[mine], None if values is None else values[mine]
        if not len(exporters):
            return
        totals = np.bincount(exporters, values)
        for number in np.flatnonzero(totals).tolist():
            counts = self._counts.setdefault(number, {})
            counts[name] = counts.get(name, 0) + int(totals[number])

    def rows(self) -> list[dict[str, Any]]:
        """One row per exporter that did anything; exporters without a row of their own share `OTHERS`."""
        found: dict[tuple[str, int, int], dict[str, Any]] = {}
        for number, counts in sorted(self._counts.items()):
            item = self._state.exporters[number]
            where = (item.address, item.version, item.domain) if item.own else (OTHERS, 0, 0)
            row = found.setdefault(
                where, {"address": where[0], "version": where[1], "domain": where[2], **dict.fromkeys(COUNTERS, 0)}
            )
            for name, value in counts.items():
                row[name] += value
        return list(found.values())
