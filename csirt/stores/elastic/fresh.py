"""What the last commits wrote, as it goes to the cluster: made while it was at hand, so that it need not be read and
taken apart again. A saving and nothing more: what is not here is made of the folder's text."""

from __future__ import annotations

import threading
from typing import Any

from csirt.config import ElasticCluster
from csirt.stores.elastic import layout

OCTETS = 32 * 1024 * 1024


class Fresh:
    """The lines of actions by kind and key, each with the step of its document. What came first is sent first, so when
    there is no room nothing more is taken in. Thread-safe."""

    def __init__(self, config: ElasticCluster, octets: int = OCTETS) -> None:
        self._config, self._room = config, octets
        self._most = octets
        self._lines: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._lock = threading.Lock()

    def making(self) -> Making:
        """For the documents of a commit, as far as there is room."""
        return Making(self._config, self._room)

    def add(self, made: Making) -> None:
        """The lines of a commit, once nothing can undo it."""
        with self._lock:
            for name, (step, lines) in made.lines.items():
                there = self._lines.get(name)
                if there is None or there[0] < step:
                    self._lines[name] = step, lines
                    self._room -= len(lines) - (len(there[1]) if there else 0)

    def take(self, kind: str, key: str, step: int) -> bytes:
        """The lines of the document as of that step; empty when they are not here."""
        with self._lock:
            there, lines = self._lines.get((kind, key), (step + 1, b""))
            if there > step:
                return b""
            del self._lines[kind, key]
            self._room += len(lines)
            return lines if there == step else b""

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._lines.clear()
            self._room = self._most


class Making:
    """Makes lines of what is being written. `room`: how many octets."""

    def __init__(self, config: ElasticCluster, room: int) -> None:
        self._config, self._room = config, room
        self.lines: dict[tuple[str, str], tuple[int, bytes]] = {}

    def __call__(self, kind: str, key: str, document: dict[str, Any], text: str, step: int) -> None:
        """One document."""
        if self._room > 0:
            lines = layout.action(self._config, kind, key, step, text, document)
            self.lines[kind, key] = step, lines
            self._room -= len(lines)
