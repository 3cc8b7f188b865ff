"""Where the columns of some shapes lie: one block of memory for all that one call of the kernels fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from csirt.decode.netflow import fill
from csirt.decode.netflow.plan import Shape
from csirt.model.batch import Array

_ALIGN = 64
_IPV4, _FAMILY = 4, 4  # octets of an address, its family
_DTYPES: dict[str, dict[int, type]] = {
    "uint": {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64},
    "sint": {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64},
    "float": {4: np.float32, 8: np.float64},
}
NUMBERS = [kind for kinds in _DTYPES.values() for kind in kinds.values()]


@dataclass(slots=True)
class Column:
    """One raw column: its storage (see `plan.Output`), its arrays, and which shapes fill it (bool by shape)."""

    storage: str
    parts: list[Array]
    present: Array


def _parts(storage: str, width: int) -> list[type]:
    if storage in _DTYPES:
        return [_DTYPES[storage][width]]
    if storage == "address":
        return [np.uint8, np.uint64, np.uint64]
    if storage == "bool":
        return [np.uint8]
    if storage == "mac":
        return [np.uint64]
    if storage == "time":
        return [np.int64]
    return [np.int64, np.uint32]  # text, hex, cut: offset and length in the buffer


class Layout:
    """Of the columns of `shapes`. It depends on nothing else, and the same shapes come with each chunk.

    `first`: by shape, where its columns begin among the places that `allocate` returns.
    """

    def __init__(self, shapes: list[Shape]) -> None:
        wanted: dict[str, tuple[str, int]] = {}
        present: dict[str, Array] = {}
        lengths: dict[str, list[tuple[int, int]]] = {}  # of addresses: (shape, octets)
        for number, shape in enumerate(shapes):
            for name, stored, size in shape.columns:
                storage, width = wanted.get(name, (stored, 0))
                wanted[name] = (storage, max(width, size))
                present.setdefault(name, np.zeros(len(shapes), bool))[number] = True
                lengths.setdefault(name, []).append((number, size))
        self._kinds: list[np.dtype[Any]] = []
        self._values: list[int | None] = []  # what a part is filled with first
        self._shared: dict[object, int] = {}
        self._columns = [
            (name, storage, self._parts(storage, width, lengths[name], whole=bool(present[name].all())), present[name])
            for name, (storage, width) in wanted.items()
        ]
        self._sizes = np.array([kind.itemsize for kind in self._kinds], np.int64)
        parts = {name: [int(self._sizes[mine[0]]), *mine] for name, _, mine, _ in self._columns}
        rows = [parts[name] + [-1] * (fill.PLACE_WIDTH - len(parts[name])) for s in shapes for name, _, _ in s.columns]
        self._place = np.array(rows, np.int64).reshape(-1, fill.PLACE_WIDTH)
        widths = np.array([len(shape.columns) for shape in shapes], np.int64)
        self.first = np.cumsum(widths) - widths

    def _parts(self, storage: str, width: int, lengths: list[tuple[int, int]], *, whole: bool) -> list[int]:
        """The numbers of a column's arrays."""
        if storage != "address":
            return [self._part(kind, None if whole else 0) for kind in _parts(storage, width)]
        only = width == _IPV4
        # Addresses of the same families in the same rows say so once; nobody fills the high half of an IPv4 address.
        family = self._share(_IPV4 if only else tuple(lengths), np.uint8, None if whole and not only else _FAMILY)
        high = self._share("zeros", np.uint64, 0) if only else self._part(np.uint64, 0)
        return [family, high, self._part(np.uint64, None if whole else 0)]

    def _share(self, key: object, kind: type, value: int | None) -> int:
        if key not in self._shared:
            self._shared[key] = self._part(kind, value)
        return self._shared[key]

    def _part(self, kind: type, value: int | None) -> int:
        self._kinds.append(np.dtype(kind))
        self._values.append(value)
        return len(self._kinds) - 1

    def allocate(self, count: int) -> tuple[Array, dict[str, Column], Array]:
        """Memory for `count` rows, the columns in it, and the places of each shape's columns for the kernels (see
        `fill`)."""
        room = -(-count * self._sizes // _ALIGN) * _ALIGN
        starts = np.cumsum(room) - room
        memory = np.empty(int(room.sum()) + _ALIGN, np.uint8)
        arrays: list[Array] = []
        for start, kind, value in zip(starts.tolist(), self._kinds, self._values, strict=True):
            arrays.append(memory[start : start + count * kind.itemsize].view(kind))
            if value is not None:
                arrays[-1].fill(value)
        columns = {
            name: Column(storage, [arrays[part] for part in parts], present)
            for name, storage, parts, present in self._columns
        }
        place = self._place.copy()
        place[:, 1:] = np.append(starts // self._sizes, 0)[self._place[:, 1:]]
        return memory, columns, place
