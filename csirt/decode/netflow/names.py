"""What options data calls the numbers in flows: interfaces, VRFs, applications, samplers.

Kept per exporter and bounded in entries and length; looked up once per distinct number. A name counts from the datagram
that brings it on, as a sampling rate does.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csirt.decode.netflow import numbering, sampling
from csirt.decode.netflow.elements import Roles
from csirt.decode.netflow.rows import Rows
from csirt.decode.netflow.state import Exporter
from csirt.model.batch import Array, codes, distinct

MAX_LISTED = 16_384  # names of one listed exporter
MAX_OTHER = 512  # of one that is not listed
MAX_LENGTH = 96  # characters of a name
FEW = 4_096  # names that are looked up together however few rows there are
# Column of a flow -> the kind of name that fills it and the column or element that holds the number.
FILLED = {
    "observer.ingress.interface.name": ("interface", "observer.ingress.interface.id"),
    "observer.egress.interface.name": ("interface", "observer.egress.interface.id"),
    "csirt.flow.ingress_vrf": ("vrf", "ingress_vrfid"),
    "csirt.flow.egress_vrf": ("vrf", "egress_vrfid"),
    "network.application": ("application", "application_id"),
}
Said = tuple[int, int, str, int, str]  # datagram, exporter, kind, number, name
Change = tuple[int, int, str, int, str | None]  # the same with the name it had before


def announced(rows: Rows, columns: Mapping[str, Any], roles: Roles, buffer: Array) -> list[Said]:
    """What options data calls things, in order, repeats left out. `columns`: the rows as they are stored."""
    found: list[Said] = []
    at, exporter = rows.spread(rows.sets.at), rows.spread(rows.sets.exporter)
    for kind, role in roles.names.items():
        text = _texts(rows, columns, role["name"])
        number = _numbers(rows, role["id"], buffer) if text is not None else None
        if text is None or number is None:
            continue
        indices, names = text
        which = np.flatnonzero((indices >= 0) & (number >= 0))
        order = which[np.lexsort((which, at[which], number[which], exporter[which]))]
        same = np.zeros(len(order), bool)
        same[1:] = (
            (number[order][1:] == number[order][:-1])
            & (exporter[order][1:] == exporter[order][:-1])
            & (indices[order][1:] == indices[order][:-1])
        )
        found += [
            (int(at[i]), int(exporter[i]), kind, int(number[i]), names[indices[i]]) for i in np.sort(order[~same])
        ]
    return found


def follow(exporters: list[Exporter], said: list[Said]) -> list[Change]:
    """Take the names over into the exporters' tables; what changed, in order of the datagrams."""
    changes: list[Change] = []
    for at, number, kind, ident, name in sorted(said, key=lambda item: item[0]):
        exporter = exporters[number]
        table = exporter.names.setdefault(kind, {})
        old = table.get(ident)
        if old == name:
            continue
        room = MAX_LISTED if exporter.listed else MAX_OTHER
        if old is None and sum(len(known) for known in exporter.names.values()) >= room:
            continue
        table[ident] = name
        exporter.renamed = True
        changes.append((at, number, kind, ident, old))
    return changes


def fill(
    rows: Rows, columns: dict[str, Any], roles: Roles, buffer: Array, tables: list[dict[str, dict[int, str]]],
    changes: list[Change],
) -> None:  # fmt: skip
    """Add the columns of FILLED. `tables`: by exporter, after the chunk; `changes`: what changed in it, by exporter."""
    for column, (kind, source) in FILLED.items():
        if not any(kind in table for table in tables):
            continue
        number = _numbers(rows, roles.columns.get(source, (source,)), buffer)
        if number is None:
            continue
        mine = [change for change in changes if change[2] == kind]
        known = [table.get(kind, {}) for table in tables]
        if (stages := _stages(rows, known, mine)) is not None:
            _put_known(rows, columns, column, number, *stages)
            continue
        step = np.searchsorted(np.array([change[0] for change in mine], np.int64), rows.sets.at, side="right")
        keys = rows.spread(rows.sets.exporter), number.astype(np.int64), rows.spread(step.astype(np.int64))
        place, first = np.empty(rows.count, np.int64), np.empty(rows.count, np.int64)
        count = numbering.number_keys(*keys, np.zeros(rows.count, np.int64), place, first)
        distinct = zip(*(key[first[:count]].tolist() for key in keys), strict=True)
        before = _history(mine)
        names = [_name(known, before, *key) for key in distinct]
        if any(names):
            _put(columns, column, codes(place, names))


def _stages(
    rows: Rows, known: list[dict[int, str]], changes: list[Change]
) -> tuple[Array, list[dict[int, str]]] | None:
    """(a number for each set, the names that count for the sets of each number): those of its exporter after the chunk,
    or as they were before one of the changes. None where they were more than there are rows."""
    exporter, at = rows.sets.exporter, rows.sets.at
    mine: dict[int, list[Change]] = {}
    for change in changes:
        mine.setdefault(change[1], []).append(change)
    when = {number: sorted({change[0] for change in some}) for number, some in mine.items()}
    more = sum((len(known[number]) + len(some)) * len(when[number]) for number, some in mine.items())
    if more + sum(map(len, known)) > max(rows.count, FEW):
        return None
    stages, ends, steps = list(known), np.zeros(len(known), np.int64), []
    for number in sorted(mine):
        stages += _undone(known[number], mine[number], when[number])
        steps += [number << 32 | datagram for datagram in when[number]]
        ends[number] = len(steps)
    passed = np.searchsorted(np.array(steps, np.int64), exporter << 32 | at, side="right")
    return (np.where(passed < ends[exporter], len(known) + passed, exporter) if steps else exporter), stages


def _undone(names: dict[int, str], changes: list[Change], when: list[int]) -> list[dict[int, str]]:
    """The names as they were before what changed at each of these datagrams, in their order."""
    found: list[dict[int, str]] = []
    names, rest = dict(names), list(changes)
    for at in reversed(when):
        while rest and rest[-1][0] >= at:
            _, _, _, ident, old = rest.pop()
            if old is None:
                names.pop(ident, None)
            else:
                names[ident] = old
        found.append(dict(names))
    return found[::-1]


def _put_known(
    rows: Rows, columns: dict[str, Any], column: str, number: Array, group: Array, known: list[dict[int, str]]
) -> None:
    """Add the column, where there are fewer names than rows. `group`: of each set, which of `known` names it."""
    ids = np.array([ident for names in known for ident in names], np.int64)
    owner = np.repeat(np.arange(len(known)), [len(names) for names in known])
    names, text = distinct([name for names in known for name in names.values()])
    codes, order = np.empty(rows.count, np.int32), np.empty(len(names), np.int32)
    valid = np.empty(-(-rows.count // 8), np.uint8)
    count = numbering.find_texts(group, rows.sets.records, number, owner, ids, text, codes, valid, order)
    if count:
        some = pa.Array.from_buffers(pa.int32(), rows.count, [pa.py_buffer(valid), pa.py_buffer(codes)])
        array = pa.DictionaryArray.from_arrays(some, names.take(pa.array(order[:count])), safe=False)
        _put(columns, column, array)


def _history(changes: list[Change]) -> dict[tuple[int, int], list[tuple[int, str | None]]]:
    """By exporter and number: (how many changes came before, the name until then), the last first."""
    found: dict[tuple[int, int], list[tuple[int, str | None]]] = {}
    for place, (_, exporter, _, ident, old) in reversed(list(enumerate(changes))):
        found.setdefault((exporter, ident), []).append((place, old))
    return found


def _name(
    known: list[dict[int, str]], before: dict[tuple[int, int], list[tuple[int, str | None]]],
    exporter: int, ident: int, step: int,
) -> str | None:  # fmt: skip
    name = known[exporter].get(ident)
    for _, old in takewhile(lambda change: change[0] >= step, before.get((exporter, ident), ())):
        name = old
    return name


def _put(columns: dict[str, Any], name: str, array: pa.DictionaryArray) -> None:
    """Fill a column where it has nothing yet."""
    if name in columns:
        both = pc.coalesce(pc.cast(columns[name], pa.string()), pc.cast(array, pa.string()))
        array = both.dictionary_encode()
    columns[name] = array


def _texts(rows: Rows, columns: Mapping[str, Any], elements: tuple[str, ...]) -> tuple[Array, list[str]] | None:
    """Of the first of these elements that rows have: each row's index (-1 none) into the texts, cut to length."""
    column = next((shape.names[name] for name in elements for shape in rows.shapes if name in shape.names), None)
    array = columns.get(column) if column else None
    if array is None or not pa.types.is_dictionary(array.type):
        return None
    names = [(text or "").replace("\x00", "").strip()[:MAX_LENGTH] for text in array.dictionary.to_pylist()]
    indices = np.asarray(pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False)).astype(np.int64)
    empty = np.array([not name for name in names] or [True], bool)
    return np.where((indices >= 0) & ~empty[np.maximum(indices, 0)], indices, -1), names


def _as_sent(rows: Rows, elements: tuple[str, ...]) -> Array | None:
    """The column of four octets that is the first of these elements in every row, as interfaces mostly are."""
    shapes = rows.shapes
    found = {next((shape.names[name] for name in elements if name in shape.names), None) for shape in shapes}
    column = rows.columns.get(found.pop() or "") if len(found) == 1 else None
    if column is None or column.storage != "uint" or column.parts[0].dtype != np.uint32:
        return None
    return column.parts[0]


def _numbers(rows: Rows, elements: tuple[str, ...], buffer: Array) -> Array | None:
    """The number each row means, -1 where it has none. One in octets (an application's) is its octets and length."""
    found = _as_sent(rows, elements)
    if found is None:
        found = sampling.numbers(rows, elements, -1)
    for name in elements:
        column = rows.columns.get(f"netflow.{name}")
        if column is None or column.storage != "hex":
            continue
        offset, length = column.parts[0], column.parts[1].astype(np.int64)
        value = np.zeros(rows.count, np.int64)
        for octet in range(int(min(length.max(initial=0), 7))):
            here = length > octet
            value = np.where(here, value << 8 | buffer[np.where(here, offset + octet, 0)], value)
        good = (length > 0) & (length <= 7) & rows.by_shape(column.present)
        found = np.where(good, length << 56 | value, -1 if found is None else found)
    return found
