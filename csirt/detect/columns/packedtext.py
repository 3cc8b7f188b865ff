"""Text columns of a frame that a reader made at once: dictionaries, and codes of what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from csirt.detect.columns.coded import Distinct, Packed
from csirt.detect.columns.columns import Column, TextColumn
from csirt.detect.columns.physical import WIDTH, Physical, address
from csirt.model.batch import Array


@dataclass(frozen=True)
class Text:
    """Text columns by name. Of each: `words` and `ranks` of `coded.Packed`, the `codes` from `firsts` on, so many
    `texts` whose `bounds` begin at `heads`, their bytes in `data`."""

    names: tuple[str, ...]
    rows: int
    words: Array
    ranks: Array
    codes: Array
    firsts: Array
    heads: Array
    texts: Array
    bounds: Array
    data: Array

    def physical(self) -> Physical:
        """As a table of addresses."""
        table = np.zeros((len(self.names), WIDTH), np.int64)
        lines = np.arange(len(self.names))
        table[:, 0] = address(self.codes) + 4 * self.firsts[:-1]
        table[:, 1] = address(self.words) + 8 * self.words.shape[1] * lines
        table[:, 4] = self.rows
        table[:, 5] = address(self.ranks) + 4 * self.ranks.shape[1] * lines
        table[:, 6] = address(self.bounds) + 4 * self.heads[:-1]
        table[:, 7] = address(self.data)
        table[:, 8] = self.texts
        names = tuple(name.replace(" ", "") for name in self.names)
        return Physical(names, table, np.diff(self.firsts), self)

    def makers(self) -> dict[str, Callable[[], Column | None]]:
        """What makes each column; a space is no part of a name."""
        return {name.replace(" ", ""): partial(self._column, place) for place, name in enumerate(self.names)}

    def _column(self, place: int) -> Column | None:
        first, last = int(self.firsts[place]), int(self.firsts[place + 1])
        if first == last:
            return None
        head, count = int(self.heads[place]), int(self.texts[place])
        # A slice: some of Arrow's functions take an array that begins elsewhere than at its first byte amiss.
        texts = pa.StringArray.from_buffers(count, pa.py_buffer(self.bounds), pa.py_buffer(self.data), offset=head)
        codes = Packed.of(self.rows, self.words[place], self.ranks[place], self.codes[first:last])
        return TextColumn(self.rows, Distinct(texts, None, sparse=codes))


def readable(data: Array, bounds: Array) -> bool:
    """Whether each text is UTF-8."""
    from csirt.detect.columns import kernels

    some = np.empty(len(bounds), np.int64)
    some = some[: kernels.beyond_ascii(data, bounds, some)]
    firsts, lasts = bounds[some].tolist(), bounds[some + 1].tolist()
    raw = data.data
    try:
        for first, last in zip(firsts, lasts, strict=True):
            str(raw[first:last], "utf-8")
    except UnicodeDecodeError:
        return False
    return True
