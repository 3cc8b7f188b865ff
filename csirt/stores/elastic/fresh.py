"""What the last commits wrote, as it goes to the cluster: made while it was at hand and sent as it is, so that it need
not be looked up, read and taken apart again. What there is no room for is made of the folder's text."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Any

from csirt.config import ElasticCluster
from csirt.stores.elastic import layout

OCTETS = 32 * 1024 * 1024  # sending needs half as much besides, and an outage may take 100 MiB in all
LARGE = 2 * 1024 * 1024  # octets of one parcel, about: room is made parcel by parcel
MOST = 32  # parcels taken at once

Name = tuple[str, str, int]
"""(kind, key, step) of a document."""

# A commit that was undone gives its steps to the next one, but never its numbers.
_numbers = count(1)


@dataclass(slots=True, eq=False)
class Parcel:
    """Documents that one commit wrote, in its order, a step each from `first` without a gap: their kinds and keys, and
    the lines of their actions, until they are sent."""

    first: int
    runs: list[tuple[str, list[str]]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    count: int = 0
    octets: int = 0
    number: int = field(default_factory=_numbers.__next__)

    @property
    def steps(self) -> tuple[int, int]:
        """Of its first and its last document."""
        return self.first, self.first + self.count - 1

    @property
    def names(self) -> list[Name]:
        """What each is called."""
        keys = ((kind, key) for kind, several in self.runs for key in several)
        return [(kind, key, step) for step, (kind, key) in enumerate(keys, self.first)]


class Fresh:
    """Parcels of commits, oldest first. What came first is sent first, so when there is no room nothing more is taken
    in. Thread-safe."""

    def __init__(self, config: ElasticCluster, octets: int = OCTETS) -> None:
        self._config, self._room = config, octets
        self._parcels: deque[Parcel] = deque()
        self._lock = threading.Lock()

    def making(self) -> Making:
        """For the documents of a commit, as far as there is room."""
        return Making(self._config, self._room)

    def add(self, made: Making) -> None:
        """What a commit wrote, once it is over."""
        with self._lock:
            self._parcels += made.parcels
            self._room -= sum(one.octets for one in made.parcels)

    @property
    def octets(self) -> int:
        """Of what can be taken, about."""
        with self._lock:
            return sum(one.octets for one in self._parcels)

    def take(self, octets: int) -> list[Parcel]:
        """The oldest parcels, about so many octets of them. They take up room until they are given back or done."""
        found: list[Parcel] = []
        with self._lock:
            while self._parcels and octets > 0 and len(found) < MOST:
                found.append(self._parcels.popleft())
                octets -= found[-1].octets
        return found

    def give_back(self, taken: Sequence[Parcel]) -> None:
        """They are to be taken again."""
        with self._lock:
            self._parcels.extendleft(reversed(taken))

    def done(self, taken: Iterable[Parcel]) -> None:
        """Their lines are not needed any more."""
        for one in taken:
            one.lines = []
            with self._lock:
                self._room += one.octets


class Making:
    """Makes parcels of what is being written. `room`: how many octets."""

    def __init__(self, config: ElasticCluster, room: int) -> None:
        self._config, self._room = config, room
        self.parcels: list[Parcel] = []

    def __call__(
        self, kind: str, keys: Sequence[str], some: Sequence[dict[str, Any]], texts: Sequence[str], step: int
    ) -> int:
        """Documents of a kind, the first of which has this step; how many there was room for."""
        lines = layout.actions(self._config, kind, keys, some, map(str.encode, texts), step) if self._room > 0 else []
        sizes = list(accumulate(map(len, lines)))
        start = gone = 0
        while self._room > 0 and start < len(lines):
            if not self.parcels or self.parcels[-1].octets >= LARGE:
                self.parcels.append(Parcel(step + start))
            parcel = self.parcels[-1]
            # With the one that fills it.
            end = min(bisect_left(sizes, gone + min(self._room, LARGE - parcel.octets)) + 1, len(lines))
            parcel.lines += lines[start:end]
            parcel.count += end - start
            parcel.runs.append((kind, list(keys[start:end])))
            parcel.octets += sizes[end - 1] - gone
            self._room -= sizes[end - 1] - gone
            start, gone = end, sizes[end - 1]
        return start
