"""What each thread has read of documents without a version: who writes them again must have seen their last change."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from csirt.errors import Conflict

Name = tuple[str, str]
MOST = 100_000  # documents remembered, by change and by thread


class Changes:
    """By document, the entry that changed it last."""

    def __init__(self) -> None:
        self._last: dict[Name, int] = {}
        self._floor = 0  # what is not in `_last` was not changed after this entry, or was forgotten up to it
        self._threads = threading.local()

    def note(self, number: int, names: Iterable[Name]) -> None:
        """An entry changed these."""
        for name in names:
            self._last.pop(name, None)
            self._last[name] = number
        while len(self._last) > MOST:
            name = next(iter(self._last))
            self._floor = self._last.pop(name)

    def read(self, number: int, names: Iterable[Name]) -> None:
        """This thread has read these as they are after that entry, or wrote them with it."""
        known = self._known()
        if len(known) > MOST:
            known.clear()
        known.update(dict.fromkeys(names, number))

    def check(self, names: Iterable[Name]) -> None:
        """Raises Conflict when one of these was changed since this thread read it."""
        known = self._known()
        for name in names:
            if name in known and self._last.get(name, self._floor) > known[name]:
                raise Conflict(
                    f"{name[0]} {name[1]} was changed on another node meanwhile; read it again",
                    kind=name[0],
                    id=name[1],
                )

    def _known(self) -> dict[Name, Any]:
        if not hasattr(self._threads, "known"):
            self._threads.known = {}
        found: dict[Name, Any] = self._threads.known
        return found
