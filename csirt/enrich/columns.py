"""Classes of ends as Arrow columns: one table look-up per row and column, no text until the dictionary.

A class is everything the register can say of one end: class 0 no address, 1 outside, then one per host, then one per
member of which only the membership is known (from a mail domain or a HER-id).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from csirt.enrich import kernels
from csirt.enrich.register import Register
from csirt.model.batch import Array

NAMES = ("member.id", "member.name", "member.kind", "site", "role", "zone")


class Classes:
    """The classes of one register. `member`: the member's number per class, -1 when unknown."""

    def __init__(self, register: Register) -> None:
        hosts, members = register.hosts, register.members()
        self.members = [member.id for member in members]
        self.number = {id: number for number, id in enumerate(self.members)}
        self.first_member = len(hosts) + 2
        self.total = self.first_member + len(members)
        rows: list[tuple[str, ...]] = [("",) * 6, ("", "", "", "", "", "outside")]
        rows += [(host.member, host.name, host.kind, host.site, host.role, host.zone) for host in hosts]
        rows += [(member.id, member.name, member.kind, "", "", "") for member in members]
        self._names: list[pa.Array] = []
        self._codes = np.empty((len(NAMES), self.total), np.int32)
        for column in range(len(NAMES)):
            seen: dict[str, int] = {}
            codes = [seen.setdefault(row[column], len(seen)) if row[column] else -1 for row in rows]
            self._codes[column] = codes
            self._names.append(pa.array(list(seen), pa.string()))
        self.nat = np.full(self.total, -1, np.int8)
        self.nat[2 : self.first_member] = [host.nat for host in hosts]
        member_of = [-1, -1, *(self.number[host.member] for host in hosts), *range(len(members))]
        self.member = np.array(member_of, np.int32)
        self.supplier = np.array([row[2] == "supplier" for row in rows], np.bool_)

    def of_member(self, id: str) -> int:
        """The class of a member of which only the membership is known; 0 for an unknown one."""
        number = self.number.get(id)
        return 0 if number is None else self.first_member + number

    def columns(self, end: str, classes: Array) -> dict[str, pa.Array]:
        """The enrichment columns of one end (`source` or `destination`) from the class (int32) of every row."""
        rows = classes.size
        here = kernels.present(classes, self.total)
        table = np.empty((len(NAMES), self.total), np.int32)
        used = [
            kernels.compact(self._codes[column], here, len(names), table[column])
            for column, names in enumerate(self._names)
        ]
        out = np.empty((len(NAMES), rows), np.int32)
        bits = np.empty((len(NAMES), (rows + 7) // 8), np.uint8)
        kernels.fill(classes, table, out, bits)
        found: dict[str, pa.Array] = {}
        for column, name in enumerate(NAMES):
            texts = self._names[column].take(pa.array(used[column]))
            found[f"csirt.{end}.{name}"] = _dictionary(out[column], bits[column], texts)
        found[f"csirt.{end}.nat"] = boolean(self.nat[classes])
        return found


def dictionary(codes: Array, names: pa.Array) -> pa.DictionaryArray:
    """A column of `names[codes[i]]` (int32), null where the code is -1; only names in use are kept."""
    table = np.empty((1, len(names) + 1), np.int32)
    shifted = codes + np.int32(1)
    all_codes = np.arange(-1, len(names), dtype=np.int32)
    used = kernels.compact(all_codes, kernels.present(shifted, len(names) + 1), len(names), table[0])
    out = np.empty((1, codes.size), np.int32)
    bits = np.empty((1, (codes.size + 7) // 8), np.uint8)
    kernels.fill(shifted, table, out, bits)
    return _dictionary(out[0], bits[0], names.take(pa.array(used)))


def _dictionary(indices: Array, bits: Array, names: pa.Array) -> pa.DictionaryArray:
    buffers: list[Any] = [pa.py_buffer(bits), pa.py_buffer(indices)]
    codes = pa.Array.from_buffers(pa.int32(), indices.size, buffers)
    return pa.DictionaryArray.from_arrays(codes, names, safe=False)  # the codes are ours: no need to check bounds


def boolean(values: Array) -> pa.BooleanArray:
    """int8 values -1 (null), 0, 1 as a column."""
    data = np.empty((values.size + 7) // 8, np.uint8)
    valid = np.empty_like(data)
    kernels.truth(values, data, valid)
    buffers: list[Any] = [pa.py_buffer(valid), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.bool_(), values.size, buffers)
