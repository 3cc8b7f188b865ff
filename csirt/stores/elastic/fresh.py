"""What the last commits wrote, as it goes to the cluster: made while it was at hand and sent as it is, a commit at a
time, so that it need not be looked up, read and taken apart again. A saving and nothing more: what is not here is made
of the folder's text."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from csirt.config import ElasticCluster
from csirt.stores.elastic import layout

OCTETS = 32 * 1024 * 1024  # sending needs half as much besides, and an outage may take 100 MiB in all
MOST = 32  # parcels taken at once

Name = tuple[str, str, int]
"""(kind, key, step) of a document."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Documents that one commit wrote, in its order without a gap: what each is called, and the lines of its action."""

    names: Sequence[Name]
    lines: Sequence[bytes]
    octets: int

    @property
    def steps(self) -> tuple[int, int]:
        """Of its first and its last document."""
        return self.names[0][2], self.names[-1][2]


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
        """What a commit wrote, once nothing can undo it."""
        if made.names:
            parcel = Parcel(made.names, made.lines, made.octets)
            with self._lock:
                self._parcels.append(parcel)
                self._room -= parcel.octets

    def take(self, octets: int) -> list[Parcel]:
        """The oldest parcels, about so many octets of them."""
        found: list[Parcel] = []
        with self._lock:
            while self._parcels and octets > 0 and len(found) < MOST:
                found.append(self._parcels.popleft())
                octets -= found[-1].octets
                self._room += found[-1].octets
        return found


class Making:
    """Makes lines of what is being written. `room`: how many octets."""

    def __init__(self, config: ElasticCluster, room: int) -> None:
        self._config, self._room = config, room
        self.octets = 0
        self.names: list[Name] = []
        self.lines: list[bytes] = []

    def __call__(self, kind: str, key: str, document: dict[str, Any], text: str, step: int) -> None:
        """One document."""
        if self.octets < self._room:
            lines = layout.action(self._config, kind, key, step, text, document)
            self.names.append((kind, key, step))
            self.lines.append(lines)
            self.octets += len(lines)
