"""The alerts that may still grow: found by rule and group, closed when nothing reaches them, written where changed."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import orjson

from csirt.detect.windows.alerts import Growing

Key = tuple[str, str]


class Opened:
    """Open alerts by (rule, group), at most `most`. `dropped`: how many left early, the stalest first."""

    def __init__(self, most: int) -> None:
        self.dropped = 0
        self._most = most
        self._alerts: dict[Key, Growing] = {}
        self._heap: list[tuple[int, Key]] = []
        self._due: dict[Key, int] = {}  # the place of each alert in the heap: not later than its reach
        self._dirty: dict[Key, None] = {}
        self._pieces: list[tuple[int, dict[Key, None]]] = []
        self._next = 0
        self._gone: list[int] = []

    def __len__(self) -> int:
        return len(self._alerts)

    def __iter__(self) -> Iterator[Growing]:
        return iter(self._alerts.values())

    def get(self, key: Key) -> Growing | None:
        """The open alert of a rule and group."""
        return self._alerts.get(key)

    def put(self, growing: Growing, reach: int) -> None:
        """An alert that opened or grew. It closes when time has come to `reach`."""
        key = growing.place
        growing.reach = reach
        self._alerts[key] = growing
        self._dirty[key] = None
        due = self._due.get(key)
        if due is None or reach < due:
            self._due[key] = reach
            heapq.heappush(self._heap, (reach, key))

    def close(self, until: int) -> None:
        """Forget alerts that nothing after `until` can extend, and the stalest above the bound."""
        while self._heap and self._heap[0][0] <= until:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) != due:
                continue
            reach = self._alerts[key].reach
            if reach > until:  # it grew since
                self._due[key] = reach
                heapq.heappush(self._heap, (reach, key))
            else:
                del self._alerts[key], self._due[key]
        if len(self._alerts) > self._most:
            stale = sorted(self._alerts, key=lambda key: (self._alerts[key].last, key))
            for key in stale[: len(self._alerts) - self._most]:
                del self._alerts[key], self._due[key]
                self._dirty[key] = None
                self.dropped += 1

    # -- state: pieces, each younger than the one before; an alert is in the youngest piece that names it ----------

    def changes(self) -> dict[int, bytes | None]:
        """Pieces to write, and those that are gone, since this was asked last."""
        result: dict[int, bytes | None] = {}
        keys = dict(self._dirty)
        self._dirty = {}
        if not self._alerts:
            keys = {}
        if keys or not self._alerts:
            while self._pieces and (not keys or len(self._pieces[-1][1]) <= 2 * len(keys)):
                number, older = self._pieces.pop()
                result[number] = None
                keys = {key: None for key in older if key in self._alerts} | keys
                if not self._alerts:
                    keys = {}
        if keys:
            written = [
                [*key, self._alerts[key].as_dict(), self._alerts[key].reach] if key in self._alerts else [*key, None, 0]
                for key in sorted(keys)
            ]
            self._pieces.append((self._next, keys))
            result[self._next] = orjson.dumps(written)
            self._next += 1
        return result

    def listed(self) -> list[int]:
        """The numbers of the pieces, for the header of the state."""
        return [number for number, _ in self._pieces]

    def whole(self) -> bytes:
        """All of them as one piece."""
        keys = sorted(self._alerts)
        return orjson.dumps([[*key, self._alerts[key].as_dict(), self._alerts[key].reach] for key in keys])

    def restore(self, number: int, data: bytes, known: Callable[[str], bool]) -> None:
        """A piece as it was written, in the order of the header; rules that are not `known` any more are left out."""
        keys: dict[Key, None] = {}
        for rule, group, raw, reach in orjson.loads(data):
            key = rule, group
            keys[key] = None
            self._alerts.pop(key, None)
            self._due.pop(key, None)
            if raw is not None and known(rule):
                self.put(Growing.from_dict(raw), reach)
        self._pieces.append((number, keys))
        self._next = number + 1
        self._dirty = {}
