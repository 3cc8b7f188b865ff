"""Arrays that are filled anew in every step: their memory is taken once, for the kernel asks much for each new page."""

from __future__ import annotations

from typing import Any

import numpy as np

from csirt.model.batch import Array


class Room:
    """Arrays by name. What is asked for under a name takes the place of what was asked for before."""

    def __init__(self) -> None:
        self._memory: dict[str, Array] = {}

    def array(self, name: str, shape: int | tuple[int, ...], kind: Any) -> Array:
        """An array with whatever is in it."""
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        memory = self._memory.get(name)
        if memory is None or len(memory) < size or len(memory) > max(8 * size, 1 << 20):
            memory = self._memory[name] = np.empty(size + size // 4, np.uint8)
        found: Array = memory[:size].view(kind).reshape(shape)
        return found
