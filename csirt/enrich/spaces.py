"""Which address space a row's ends lie in: behind an interface of an exporter, or in the exporter's or source's VRF."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.enrich import kernels
from csirt.enrich.intervals import halves
from csirt.enrich.register import Register
from csirt.model.batch import Array, address_parts

_END_SIDE = {"source": "ingress", "destination": "egress"}
# The columns in which a flow says its VRF; where it does not say which it leaves by, it stays in the one it came in.
_VRF = {
    "source": ("csirt.flow.ingress_vrf",),
    "destination": ("csirt.flow.egress_vrf", "csirt.flow.ingress_vrf"),
}


class Spaces:
    """The address spaces of one register. `vrfs`: exporter address -> VRF where it is not the source's."""

    def __init__(self, register: Register, vrfs: Mapping[str, str]) -> None:
        self._register = register
        self._vrfs = vrfs
        self._behind = {key: number for number, key in enumerate(register.interfaces)}
        self._exporters = {exporter for exporter, _ in register.interfaces}
        tables = [register.table(space) for space in register.interfaces.values()]
        self._begins4 = _begins([len(table.starts4) for table in tables])
        self._starts4 = np.array([start for table in tables for start in table.starts4], np.uint64)
        self._values4 = np.array([value for table in tables for value in table.values4], np.int32)
        self._begins6 = _begins([len(table.starts6) for table in tables])
        self._high6, self._low6 = halves([start for table in tables for start in table.starts6])
        self._values6 = np.array([value for table in tables for value in table.values6], np.int32)

    def classes(self, table: pa.Table, end: str, vrf: str) -> Array:
        """The class (int32) of each row's `source` or `destination` by its address; 0 where there is none.

        A source lies behind the ingress interface, a destination behind the egress interface; what such a space does
        not know is looked up in the VRF.
        """
        if f"{end}.ip:f" not in table.column_names:
            return np.zeros(table.num_rows, np.int32)
        parts = address_parts(table, f"{end}.ip")
        told = next((name for name in _VRF[end] if name in table.column_names), None)
        if not (self._vrfs or self._behind or told) or "observer.ip" not in table.column_names:
            return self._register.table(vrf).lookup(*parts)
        observers = pc.dictionary_encode(pc.cast(table.column("observer.ip"), pa.string())).combine_chunks()
        names = observers.dictionary.to_pylist()
        observer = _filled(observers.indices, len(names)).astype(np.int32)
        bases = [*(self._vrfs.get(name, vrf) for name in names), vrf]
        if told:
            bases, base = self._told(table.column(told), bases, observer)
            found = self._by_vrf(bases, base, parts)
        else:
            found = self._by_vrf(bases, observer, parts)
        column = f"observer.{_END_SIDE[end]}.interface.id"
        if self._exporters.intersection(names) and column in table.column_names:
            space = self._spaces(names, observer, _filled(table.column(column), -1))
            joined4 = self._begins4, self._starts4, self._values4
            joined6 = self._begins6, self._high6, self._low6, self._values6
            family, high, low = map(kernels.fixed, parts)
            kernels.overlay(space, family, high, low, *joined4, *joined6, found)
        return found

    def _told(self, column: Any, bases: list[str], observer: Array) -> tuple[list[str], Array]:
        """The VRFs that flows say themselves, where the register knows them, else the observer's: the bases by number,
        and each row's."""
        said = pc.dictionary_encode(pc.cast(column, pa.string())).combine_chunks()
        spaces = set(self._register.spaces())
        names = [None, *(name if name in spaces else None for name in said.dictionary.to_pylist())]
        row = _filled(said.indices, -1) + 1
        return [name or base for base in bases for name in names], (observer * len(names) + row).astype(np.int32)

    def _by_vrf(self, bases: list[str], observer: Array, parts: tuple[Array, Array, Array]) -> Array:
        vrfs = sorted(set(bases))
        if len(vrfs) == 1:
            return self._register.table(vrfs[0]).lookup(*parts)
        number = np.array([vrfs.index(base) for base in bases], np.int32)[observer]
        found = np.zeros(observer.size, np.int32)
        for code, name in enumerate(vrfs):
            rows = np.flatnonzero(number == code)
            if rows.size:
                found[rows] = self._register.table(name).lookup(*(part[rows] for part in parts))
        return found

    def _spaces(self, names: list[str], observer: Array, interface: Array) -> Array:
        """The number of the space behind each row's interface, -1 for none; worked out once per distinct interface."""
        pairs = pa.array(observer.astype(np.int64) << 33 | (interface + 1)).dictionary_encode()
        found = np.full(len(pairs.dictionary), -1, np.int32)
        for position, pair in enumerate(pairs.dictionary.to_pylist()):
            if pair >> 33 < len(names):
                key = names[pair >> 33], (pair & 0x1_FFFF_FFFF) - 1
                found[position] = self._behind.get(key, -1)
        return np.asarray(found[np.asarray(pairs.indices.to_numpy())])


def _begins(lengths: list[int]) -> Array:
    return np.array(list(accumulate(lengths, initial=0)), np.int64)


def _filled(column: Any, value: int) -> Array:
    """A column of whole numbers as int64, null as `value`."""
    return np.asarray(pc.fill_null(pc.cast(column, pa.int64()), value).to_numpy())
