"""Hits of a rule's matches: one row per (stream, event), made column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from csirt.detect.columns.columns import AddressColumn
from csirt.detect.columns.frame import BatchFrame
from csirt.detect.columns.values import number_of
from csirt.detect.engine.program import Frame
from csirt.detect.streams import Stream
from csirt.detect.windows.condense import numbers_of, picked
from csirt.detect.windows.divided import packed
from csirt.model.batch import Array
from csirt.model.hits import HITS

# dataset -> (kind, field) of the actor, of the target, and of a further entity two alerts can share.
ACTOR = {"edi": ("her", "csirt.edi.her_from")}
TARGET = {
    "dns": ("domain", "dns.question.name"),
    "tls": ("domain", "tls.client.server_name"),
    "http": ("domain", "url.domain"),
    "mail": ("domain", "csirt.mail.to.domain"),
    "edi": ("her", "csirt.edi.her_to"),
}
# What every hit has, where its events do.
SHARED = (
    "csirt.source.member.id",
    "csirt.destination.member.id",
    "email.message_id",
    "csirt.edi.message_id",
    "csirt.edi.ref_to_id",
)
FEW = 16  # texts: sooner written one by one
HOST_ACTOR, HOST_TARGET = ("host", "source.ip"), ("host", "destination.ip")


def shared(dataset: str) -> set[str]:
    """The fields of a dataset's events that every hit is made of."""
    return {ACTOR.get(dataset, HOST_ACTOR)[1], TARGET.get(dataset, HOST_TARGET)[1], *SHARED}


def hits(
    frame: Frame, dataset: str, consumers: Sequence[Stream], rows: Array, times: Array, events: pa.Array
) -> pa.Table:
    """The hits of one rule: `rows` of the frame with their event times (microseconds) and ids, for each consumer."""
    tables = _tables(frame, dataset, consumers, rows, times, events)
    return pa.concat_tables(tables) if len(tables) > 1 else tables[0]


def together(frame: BatchFrame, found: Sequence[tuple[Sequence[Stream], Array]]) -> list[pa.Table]:
    """The hits of several rules, each of its consumers and rows, in that order. Rules whose hits are made of the same
    fields have them made at once."""
    alike: dict[Any, list[int]] = {}
    for place, (consumers, _) in enumerate(found):
        shape = tuple(
            (item.group, item.value, item.facts, item.numeric, item.counted, item.number) for item in consumers
        )
        alike.setdefault(shape, []).append(place)
    made: dict[int, list[pa.Table]] = {}
    for places in alike.values():
        rows = np.concatenate([found[place][1] for place in places])
        tables = _tables(frame, frame.dataset, found[places[0]][0], rows, frame.times(rows), frame.event_ids(rows))
        if len(places) == 1:
            made[places[0]] = tables
        elif all(table.num_rows == len(rows) for table in tables):
            end = 0
            for place in places:
                start, end = end, end + len(found[place][1])
                parts = [table.slice(start, end - start) for table in tables]
                made[place] = [_of(part, item) for part, item in zip(parts, found[place][0], strict=True)]
        else:  # rows without a value are no hits, or rows with several are several
            for place in places:
                consumers, rows = found[place]
                times, events = frame.times(rows), frame.event_ids(rows)
                made[place] = _tables(frame, frame.dataset, consumers, rows, times, events)
    return [table for place in range(len(found)) for table in made[place]]


def _of(table: pa.Table, consumer: Stream) -> pa.Table:
    """The hits as those of another consumer."""
    columns = table.columns
    columns[:2] = [
        pa.repeat(pa.scalar(name), table.num_rows) for name in (consumer.mark + consumer.name, consumer.rule)
    ]
    return pa.table(columns, schema=HITS)


def _tables(
    frame: Frame, dataset: str, consumers: Sequence[Stream], rows: Array, times: Array, events: pa.Array
) -> list[pa.Table]:
    count = len(rows)
    texts = _Texts(frame, rows)
    known = {"time": pa.array(times.astype(np.int64, copy=False)), "event": events}
    said = {} if all(consumer.counted for consumer in consumers) else _said(texts, dataset)
    made: dict[Any, pa.Array] = {}
    tables: list[pa.Table] = []
    for consumer in consumers:
        wanted = [consumer.group] if consumer.counted else [consumer.group, _same(consumer.facts)]
        for fields in wanted:
            if fields not in made:
                made[fields] = _objects(texts, fields, count)
        columns = known | {
            "stream": pa.repeat(pa.scalar(consumer.mark + consumer.name), count),
            "rule": pa.repeat(pa.scalar(consumer.rule), count),
            "group": made[consumer.group],
        }
        if not consumer.counted:
            columns |= said | {"facts": made[_same(consumer.facts)]}
        if consumer.number:
            columns["number"] = _numbers(frame, rows, consumer.number)
        table = _table(columns, count)
        if consumer.value:
            table = _with_value(table, texts, consumer.value)
        if consumer.numeric:
            table = _with_number(table)
        if consumer.number and table.column("number").null_count:
            table = table.filter(pc.is_valid(table.column("number")))
        tables.append(table)
    return tables


def _said(texts: _Texts, dataset: str) -> dict[str, pa.Array]:
    """What hits say of their events whoever asks, but the facts."""
    return {
        "source": _entity(texts, *ACTOR.get(dataset, HOST_ACTOR)),
        "target": _entity(texts, *TARGET.get(dataset, HOST_TARGET)),
        "source_member": texts.plain("csirt.source.member.id"),
        "target_member": texts.plain("csirt.destination.member.id"),
        "link": _link(texts, dataset),
    }


def _same(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Fields under their own names."""
    return tuple((name, name) for name in names)


def condensed(frame: BatchFrame, consumer: Stream, rows: Array) -> pa.Table:
    """The hits of a baseline, one for many events."""
    assert consumer.baseline is not None
    times = frame.times(rows)
    group, value = (
        [frame.column(name) for name in names] for names in ([n for _, n in consumer.group], consumer.value)
    )
    found = picked(consumer.baseline, group, value, rows, times, lambda some: frame.event_ids(rows[some]))
    if found is None:
        return hits(frame, frame.dataset, [consumer], rows, times, frame.event_ids(rows))
    chosen, times = rows[found.places], times[found.places]
    counted = {"count": pa.array(found.counts), "total": pa.array(found.totals)}
    speaker = consumer
    if value and not consumer.numeric:
        speaker = replace(consumer, value=())
        texts = _values(_Texts(frame, rows[found.members]), consumer.value)
        counted["values"] = pa.ListArray.from_arrays(pa.array(found.offsets), texts)
    table = hits(frame, frame.dataset, [speaker], chosen, times, frame.event_ids(chosen))
    for name, column in counted.items():
        table = table.set_column(HITS.names.index(name), HITS.field(name), column)
    return table


def counted(frame: BatchFrame, consumers: Sequence[Stream], rows: Array) -> list[pa.Table]:
    """The hits of what a ratio divides by, one for the events of a step of event time."""
    times = frame.times(rows)
    made: dict[Any, dict[str, pa.Array] | None] = {}
    tables: list[pa.Table] = []
    for consumer in consumers:
        if consumer.group not in made:
            made[consumer.group] = packed(
                [frame.column(name) for _, name in consumer.group],
                rows,
                times,
                lambda some, group=consumer.group: _objects(_Texts(frame, rows[some]), group, len(some)),  # type: ignore[misc]
            )
        columns = made[consumer.group]
        if columns is None:
            tables.append(hits(frame, frame.dataset, [consumer], rows, times, frame.event_ids(rows)))
            continue
        count = len(columns["time"])
        columns = columns | {
            "stream": pa.repeat(pa.scalar(consumer.mark + consumer.name), count),
            "rule": pa.repeat(pa.scalar(consumer.rule), count),
        }
        tables.append(_table(columns, count))
    return tables


def _table(columns: Mapping[str, pa.Array], count: int) -> pa.Table:
    """Hits of these columns, with nothing in the others."""
    arrays = [columns[one.name] if one.name in columns else pa.nulls(count, one.type) for one in HITS]
    return pa.table(arrays, schema=HITS)


class _Texts:
    """Text of a frame's columns at some rows, each made once."""

    def __init__(self, frame: Frame, rows: Array) -> None:
        self.frame = frame
        self.rows = rows
        self._made: dict[str, pa.DictionaryArray] = {}

    def get(self, name: str) -> pa.DictionaryArray:
        if name not in self._made:
            column = self.frame.column(name)
            if column is None:
                self._made[name] = pa.nulls(len(self.rows), pa.dictionary(pa.int32(), pa.string()))
            else:
                self._made[name] = column.texts(self.rows)
        return self._made[name]

    def there(self, name: str) -> bool:
        """Whether any row can have the column."""
        return self.frame.column(name) is not None

    def plain(self, name: str) -> pa.StringArray:
        if not self.there(name):
            return pa.nulls(len(self.rows), pa.string())
        found = self.written(name)
        return self.get(name).cast(pa.string()) if found is None else found

    def written(self, name: str, before: str = "", after: str = "") -> pa.StringArray | None:
        """The text between two others where it need not be made once per distinct value: of addresses of IPv4."""
        column = self.frame.column(name)
        return column.written(self.rows, before, after) if isinstance(column, AddressColumn) else None

    def first(self, name: str) -> pa.StringArray:
        """As `plain`, but of a list only its first member."""
        column = self.frame.column(name)
        if column is None or not column.many:
            return self.plain(name)
        return pa.array([item[0] if item else None for item in column.lists(self.rows)], pa.string())


def _entity(texts: _Texts, kind: str, name: str) -> pa.StringArray:
    """ "kind:value" of a field, null where there is none; of a list the first member."""
    made = texts.written(name, f"{kind}:")
    if made is not None:
        return made
    found = texts.plain(name) if name.endswith(".ip") else texts.first(name)
    return pc.binary_join_element_wise(pa.scalar(f"{kind}:"), found, "")


def _link(texts: _Texts, dataset: str) -> pa.StringArray:
    if dataset == "mail":
        return _entity(texts, "message", "email.message_id")
    if dataset != "edi":
        return pa.nulls(len(texts.rows), pa.string())
    # A receipt belongs to the message it refers to.
    refers = texts.plain("csirt.edi.ref_to_id")
    return pc.binary_join_element_wise(
        pa.scalar("message:"), pc.coalesce(refers, texts.plain("csirt.edi.message_id")), ""
    )


def _objects(texts: _Texts, fields: Sequence[tuple[str, str]], count: int) -> pa.StringArray:
    """The canonical JSON object of the fields per row, built once per distinct combination; null fields left out."""
    if len(fields) == 1:
        made = texts.written(fields[0][1], f'{{{orjson.dumps(fields[0][0]).decode()}:"', '"}')
        if made is not None:
            return made
    found = {name: texts.get(field) for name, field in fields if texts.there(field)}
    columns = {name: column for name, column in found.items() if column.null_count < count}
    if len(columns) == 1:
        ((name, column),) = columns.items()
        if not column.indices.null_count and not column.dictionary.null_count:
            return _members(name, column, "{", "}").take(column.indices)
    codes = np.zeros(count, np.int64)
    for column in columns.values():
        indices = pc.fill_null(column.indices, -1) if column.indices.null_count else column.indices
        own = np.asarray(indices.to_numpy()).astype(np.int64) + 1
        joined = pa.array(codes * (len(column.dictionary) + 1) + own).dictionary_encode()
        codes = np.asarray(joined.indices).astype(np.int64)
    first = np.empty(int(codes.max(initial=-1)) + 1, np.int64)
    first[codes[::-1]] = np.arange(count - 1, -1, -1)
    rows = pa.array(first)
    known = [(_members(name, column), column.indices.take(rows)) for name, column in sorted(columns.items())]
    if known and not any(texts.null_count or indices.null_count for texts, indices in known):
        for place, braces in ((0, ("{", "")), (-1, ("", "}"))):  # put to each text, of which there are fewer
            known[place] = pc.binary_join_element_wise(braces[0], known[place][0], braces[1], ""), known[place][1]
        made = pc.binary_join_element_wise(*(texts.take(indices) for texts, indices in known), ",")
        return made if len(first) == count else made.take(pa.array(codes))
    members = [texts.take(indices) for texts, indices in known]
    # Arrow leaves out rows of which nothing is joined: the brace is always there.
    brace = pa.repeat(pa.scalar("{"), len(first))
    open_ = pc.binary_join_element_wise(brace, *members, ",", null_handling="skip")
    open_ = pc.replace_substring(open_, "{,", "{", max_replacements=1)
    return pc.binary_join_element_wise(open_, "}", "").take(pa.array(codes))


def _members(name: str, column: pa.DictionaryArray, before: str = "", after: str = "") -> pa.StringArray:
    """The member of a JSON object that each text of the column's dictionary is, between two others."""
    known = column.dictionary
    if len(known) > FEW and _as_is(known):
        return pc.binary_join_element_wise(f'{before}{orjson.dumps(name).decode()}:"', known, f'"{after}', "")
    return pa.array(
        [
            None if text is None else f"{before}{orjson.dumps({name: text})[1:-1].decode()}{after}"
            for text in known.to_pylist()
        ],
        pa.string(),
    )


def _as_is(texts: pa.StringArray) -> bool:
    """Whether JSON writes all of the texts as they are."""
    _, offsets, data = texts.buffers()
    edges = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if data is None or texts.null_count:
        return False
    bytes_ = np.frombuffer(data, np.uint8)[edges[0] : edges[-1]]
    return not ((bytes_ < 32) | (bytes_ == 34) | (bytes_ == 92)).any()


def _with_value(table: pa.Table, texts: _Texts, fields: tuple[str, ...]) -> pa.Table:
    """The table with its values; rows without one left out; a list's members are one row each."""
    place = HITS.names.index("value")
    column = texts.frame.column(fields[0]) if len(fields) == 1 else None
    if column is not None and column.many:
        lists = pa.array([sorted(set(item)) for item in column.lists(texts.rows)], pa.list_(pa.string()))
        return table.take(pc.list_parent_indices(lists)).set_column(place, "value", pc.list_flatten(lists))
    value = _values(texts, fields)
    table = table.set_column(place, "value", value)
    return table.filter(pc.is_valid(value)) if value.null_count else table


def _values(texts: _Texts, fields: Sequence[str]) -> pa.StringArray:
    """The fields' joint text per row, null where one of them has none."""
    if len(fields) == 1:
        return texts.plain(fields[0])
    quoted = [_quoted(texts.get(name)) for name in fields]
    return pc.binary_join_element_wise("[", pc.binary_join_element_wise(*quoted, ","), "]", "")


def _quoted(column: pa.DictionaryArray) -> pa.StringArray:
    """Each row's text as JSON writes it; every text of the dictionary is written once."""
    written = [None if text is None else orjson.dumps(text).decode() for text in column.dictionary.to_pylist()]
    return pa.array(written, pa.string()).take(column.indices)


def _numbers(frame: Frame, rows: Array, name: str) -> pa.DoubleArray:
    """A field's numbers at the rows, null where there is none."""
    numbers, there = numbers_of(frame.column(name), rows)
    return pa.array(numbers, mask=~there)


def _with_number(table: pa.Table) -> pa.Table:
    """The table with its values as numbers; rows whose value is none left out."""
    values = pc.dictionary_encode(table.column("value").combine_chunks())
    known = [number_of(text) for text in values.dictionary.to_pylist()]
    numbers = pa.array(known, pa.float64()).take(values.indices)
    nothing = pa.nulls(table.num_rows, pa.string())
    for name, column in (("value", nothing), ("number", numbers)):
        table = table.set_column(HITS.names.index(name), name, column)
    return table.filter(pc.is_valid(numbers)) if numbers.null_count else table
