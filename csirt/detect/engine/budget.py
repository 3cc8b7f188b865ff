"""How much CPU a rule's regular expressions may take of one batch. RE2 is linear in the text, but not free."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from csirt.clock import SYSTEM
from csirt.detect.atoms import Atom
from csirt.model.batch import Array

# Values are looked at in pieces of about so many bytes; the clock is read after each.
PIECE = 1 << 18


class Budget:
    """CPU seconds per expression. `start` begins a batch; an expression that took more than `limit` of one is in
    `spent` from then on and holds nowhere. `limit` None: no bound."""

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        self.spent: dict[Atom, None] = {}
        self._used: dict[Atom, float] = {}

    def start(self) -> None:
        """A batch begins."""
        self._used.clear()

    def each(self, atom: Atom, texts: Iterable[bytes], search: Callable[[bytes], object]) -> list[bool]:
        """As `run`, of a few values one by one."""
        if self.limit is None:
            return [search(text) is not None for text in texts]
        found: list[bool] = []
        begin, size = SYSTEM.thread_cpu(), 0
        before = self._used.get(atom, 0.0)
        for text in texts:
            found.append(atom not in self.spent and search(text) is not None)
            size += len(text)
            if size > PIECE:
                size = 0
                if before + SYSTEM.thread_cpu() - begin > self.limit:
                    self.spent[atom] = None
        self._used[atom] = before + SYSTEM.thread_cpu() - begin
        if self._used[atom] > self.limit:
            self.spent[atom] = None
        return [False] * len(found) if atom in self.spent else found

    def run(self, atom: Atom, texts: pa.StringArray, test: Callable[[Atom, pa.StringArray], Array]) -> Array:
        """The test over the values; nothing of it holds once the budget is spent."""
        count = len(texts)
        if atom in self.spent:
            return np.zeros(count, bool)
        if self.limit is None or not count:
            return test(atom, texts)
        step = max(1, count * PIECE // max(texts.nbytes, 1))
        result = np.zeros(count, bool)
        begin = SYSTEM.thread_cpu()
        before = self._used.get(atom, 0.0)
        for at in range(0, count, step):
            result[at : at + step] = test(atom, texts.slice(at, step))
            if before + SYSTEM.thread_cpu() - begin > self.limit:
                self.spent[atom] = None
                return np.zeros(count, bool)
        self._used[atom] = before + SYSTEM.thread_cpu() - begin
        return result
