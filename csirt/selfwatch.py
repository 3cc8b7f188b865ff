"""What only the running daemon can know of its own sight: who is silent, what was dropped before it was read, which
rules no longer look.

What follows from bytes comes from the decoders. Here, once a minute of our clock, counters are compared with those of
the minute before; the `self` events that come of it are committed once: their ids are the minute's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from csirt.clock import MINUTE
from csirt.model.address import from_text, to_text
from csirt.model.batch import Array, Batch, assemble, codes

SILENT = 2 * MINUTE
UNPARSED = ("unparsed", "malformed")  # reasons for which a line of a log is dropped that should have been read
LEAST = 10  # lines not understood in a minute before their share means anything
SEGMENT = "5e1f000000000000"
Row = tuple[str, str, float, str]  # action, subject, value, unit


@dataclass
class Selfwatch:
    """`listed`: configured exporters, address -> name. Not thread-safe."""

    listed: Mapping[str, str]
    minute: int = 0
    _before: dict[str, int] = field(default_factory=dict)
    _heard: dict[str, int] = field(default_factory=dict)

    def look(self, now: int, counters: Callable[[], tuple[dict[str, int], bool]]) -> Batch | None:
        """The events of the minute that is over, if one is. `counters`: see `counted`, and whether more was received
        than is read, so that nobody can be called silent."""
        minute = now // MINUTE
        if minute == self.minute:
            return None
        first, self.minute = not self.minute, minute
        current, behind = counters()
        rows = [] if first else self._dropped(current) + self._unparsed(current)
        rows += self._overrun(current)
        rows += self._silent(current, now, behind=behind)
        self._before = current
        return _batch(sorted(rows), self.listed, minute) if rows else None

    def _grown(self, current: dict[str, int], name: str) -> int:
        return current[name] - self._before.get(name, 0)

    def _dropped(self, current: dict[str, int]) -> list[Row]:
        rows: list[Row] = []
        for name in current:
            action, _, subject = name.partition(" ")
            if action in ("kernel_drops", "spool_drops") and self._grown(current, name) > 0:
                rows.append((action, subject, float(self._grown(current, name)), "datagrams"))
        return rows

    def _overrun(self, current: dict[str, int]) -> list[Row]:
        """Rules that were switched off: counted since the start, so the first look tells of them too."""
        found = [(name.partition(" "), self._grown(current, name)) for name in sorted(current)]
        return [
            (action, rule, float(n), "times") for (action, _, rule), n in found if action == "rule_overrun" and n > 0
        ]

    def _unparsed(self, current: dict[str, int]) -> list[Row]:
        rows: list[Row] = []
        for name in current:
            action, _, source = name.partition(" ")
            number = self._grown(current, name)
            if action == "unparsed" and number >= LEAST:
                lines = max(self._grown(current, f"lines {source}"), number)
                rows.append(("unparsed", source, number / lines, "share"))
        return rows

    def _silent(self, current: dict[str, int], now: int, *, behind: bool) -> list[Row]:
        """Listed exporters that were heard once and from which nothing came for two minutes."""
        rows: list[Row] = []
        for address in self.listed:
            name = f"heard {address}"
            if name not in current:
                continue
            if name not in self._before or self._grown(current, name) or behind:
                self._heard[address] = now
            silent = now - self._heard[address]
            if silent >= SILENT:
                rows.append(("exporter_silent", address, silent / 1e6, "s"))
        return rows


def counted(counts: Mapping[str, int], receivers: list[dict[str, Any]], logs: set[str]) -> dict[str, int]:
    """The counters that are compared, as `action subject`: of the store (csirt.tally) and of the receivers. `logs`: the
    sources that are read line by line."""
    found: dict[str, int] = {}

    def add(name: str, number: int) -> None:
        found[name] = found.get(name, 0) + number

    for name, number in counts.items():
        kind, _, rest = name.partition(".")
        if kind == "exporter" and rest.endswith(".received"):
            add(f"heard {rest.partition('|')[0]}", number)
        elif name.startswith("decode.in.") and name.removeprefix("decode.in.") in logs:
            add(f"lines {name.removeprefix('decode.in.')}", number)
        elif name.startswith("decode.dropped."):
            source, _, reason = name.removeprefix("decode.dropped.").rpartition(".")
            if source in logs and reason in UNPARSED:
                add(f"unparsed {source}", number)
    for item in receivers:
        add(f"kernel_drops {item['source']}", int(item["kernel_dropped"]))
        add(f"spool_drops {item['source']}", sum(item["spool_dropped"].values()))
    return found


def normal(address: str) -> str:
    """An address as counters have it."""
    return to_text(*from_text(address))


def _batch(rows: list[Row], listed: Mapping[str, str], minute: int) -> Batch:
    at: Array = np.full(len(rows), minute * MINUTE, np.int64)
    time = pa.array(at, pa.timestamp("us", tz="UTC"))
    addresses = [subject if _is_address(subject) else None for _, subject, _, _ in rows]
    each = np.arange(len(rows))
    columns = {
        "@timestamp": time,
        "event.ingested": time,
        "csirt.segment": codes(np.zeros(len(rows), np.int64), [SEGMENT]),
        "csirt.ordinal": ((at // MINUTE) << 16 | each).astype(np.uint64),
        "observer.ip": codes(each, addresses),
        "observer.name": codes(each, [(listed.get(address) or None) if address else None for address in addresses]),
        "event.action": codes(each, [action for action, _, _, _ in rows]),
        "csirt.self.subject": codes(each, [subject for _, subject, _, _ in rows]),
        "csirt.self.value": pa.array([value for _, _, value, _ in rows], pa.float64()),
        "csirt.self.unit": codes(each, [unit for _, _, _, unit in rows]),
    }
    return assemble("self", columns)


def _is_address(text: str) -> bool:
    try:
        from_text(text)
    except ValueError:
        return False
    return True
