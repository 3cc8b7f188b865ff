"""Alerts, incidents, cases, runs, receipts, notifications: JSON documents with the columns that are searched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

import apsw
import orjson

from csirt.errors import Usage
from csirt.model.severity import SEVERITIES

_RANK: dict[str, int] = {name: rank for rank, name in enumerate(SEVERITIES)}
_OPERATORS = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<", "ne": "<>"}
_NUMBER = re.compile(r"[CR]-(\d{4})-(\d+)")
# Hears of documents of one kind that are written: their keys (of several in one text), their content and their texts.
Told = Callable[[str, Sequence[str], Sequence[dict[str, Any]], Sequence[str]], None]
_DIRECT = 2_000  # up to this many documents the order is found on the index alone, then each is fetched by row


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document: its table, and the fields `find` may filter and order by."""

    name: str
    table: str
    fields: tuple[str, ...]
    ranked: bool = False  # has a severity, ordered through the column `urgency`
    numbered: bool = False  # its first field is a number for people

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns but the document."""
        return ("id", *self.fields, *(("urgency",) if self.ranked else ()))


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("alert", "alerts", ("rule_id", "severity", "dataset", "first", "last", "incident", "created"), True),
        Kind(
            "incident",
            "incidents",
            ("severity", "first", "last", "case", "merged_into", "created", "updated"),
            True,
        ),
        Kind(
            "case",
            "cases",
            ("number", "version", "state", "severity", "owner", "first", "last", "created", "updated"),
            True,
            True,
        ),
        Kind("run", "runs", ("number", "state", "case", "incident", "playbook", "created", "updated"), False, True),
        Kind("receipt", "receipts", ("run", "step", "outcome", "started")),
        Kind(
            "notification",
            "notifications",
            ("state", "case", "route", "priority", "level", "due", "created", "updated"),
        ),
    )
}


def kind(name: str) -> Kind:
    """The kind of that name. Raises Usage."""
    if name not in KINDS:
        raise Usage(f"no documents of kind {name!r}; kinds: {', '.join(KINDS)}")
    return KINDS[name]


def text(document: dict[str, Any]) -> str:
    """A document as it is stored: JSON, keys sorted."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def event_key(case: str, seq: int) -> str:
    """An event of a case in one text."""
    return f"{case}:{seq:09d}"


def json_list(values: Iterable[Any]) -> str:
    """Values as a JSON array, for `IN (SELECT value FROM json_each(?))`."""
    return orjson.dumps(list(values)).decode()


def put(connection: apsw.Connection, of: Kind, documents: Sequence[dict[str, Any]], told: Told | None = None) -> None:
    """Insert or replace documents of a kind, each id once. `told` hears of them."""
    writer = Writer(connection, of, told)
    writer.put(documents)
    writer.end()


class Writer:
    """Writes documents of a kind, each id once, some at a time; then `end`. `told` hears of them."""

    def __init__(self, connection: apsw.Connection, of: Kind, told: Told | None = None) -> None:
        self._connection, self._of, self._told = connection, of, told
        self._found = Found() if of.name == "incident" else None
        self._all_new = self._found is None  # as far as is known

    def add(self, documents: Sequence[dict[str, Any]]) -> bool:
        """Insert documents if all of them are new, which costs less than to ask whether they are. False when one is
        not, or one before was not: then they are to be `put`."""
        if self._all_new:
            try:
                self._write(_insert(self._of), documents)
            except apsw.ConstraintError:  # some may be inserted, as they will be put
                self._all_new = False
        return self._all_new

    def put(self, documents: Sequence[dict[str, Any]]) -> None:
        """Insert or replace documents."""
        if self._found is not None:
            self._found.take(self._connection, documents)
        self._write(_upsert(self._of), documents)

    def end(self) -> None:
        """Nothing more is written."""
        if self._found is not None:
            self._found.write(self._connection)

    def _write(self, statement: str, documents: Sequence[dict[str, Any]]) -> None:
        texts = list(map(text, documents))
        self._connection.executemany(statement, _rows(self._of, documents, texts))
        if self._told is not None:
            self._told(self._of.name, [document["id"] for document in documents], documents, texts)


def _rows(of: Kind, documents: Sequence[dict[str, Any]], texts: Sequence[str]) -> list[tuple[Any, ...]]:
    get = _searched(of)
    try:
        rows = list(map(get, documents))
    except KeyError:  # one of an older csirt
        rows = [tuple(map(document.get, ("id", *of.fields))) for document in documents]
    if of.numbered:
        rows = [(id, number or None, *more) for id, number, *more in rows]
    if of.ranked:
        ranks = (_RANK[document["severity"]] for document in documents)
        return [(*row, rank, written) for row, rank, written in zip(rows, ranks, texts, strict=True)]
    return [(*row, written) for row, written in zip(rows, texts, strict=True)]


@cache
def _searched(of: Kind) -> itemgetter[tuple[Any, ...]]:
    return itemgetter("id", *of.fields)


def count_numbers(connection: apsw.Connection, kind: str, found: list[dict[str, Any]]) -> None:
    """The next case or run, wherever it is made, gets the next number."""
    for document in found:
        said = _NUMBER.fullmatch(document.get("number") or "")
        if said:
            connection.execute(
                """INSERT INTO number VALUES (?, ?, ?) ON CONFLICT (kind, year) DO UPDATE SET
                   last = max(last, excluded.last)""",
                (kind, int(said[1]), int(said[2])),
            )


def stored(connection: apsw.Connection, of: Kind, column: str, names: Iterable[str]) -> dict[str, Any]:
    """What a column holds for those of the ids that are stored."""
    query = f'SELECT id, "{column}" FROM {of.table} WHERE id IN (SELECT value FROM json_each(?))'  # noqa: S608
    return dict(connection.execute(query, (json_list(names),)))


def column_values(of: Kind, document: dict[str, Any]) -> list[Any]:
    """What the searched columns of a document hold; a number not yet given is null, because numbers are unique."""
    values = list(map(document.get, ("id", *of.fields)))
    if of.ranked:
        values.append(_RANK[document["severity"]])
    if of.numbered and not values[1]:
        values[1] = None
    return values


@cache
def _insert(of: Kind) -> str:
    names = [*of.columns, "doc"]
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"INSERT INTO {of.table} ({quoted}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608


@cache
def _upsert(of: Kind) -> str:
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in (*of.columns[1:], "doc"))
    return f"{_insert(of)} ON CONFLICT (id) DO UPDATE SET {changes}"


Entities = set[tuple[str, str, str]]
"""(kind, value, incident): rows by which incidents are found."""
_DROP_ENTITY = "DELETE FROM incident_entity WHERE kind = ? AND value = ? AND incident = ?"


def _entities(incident: dict[str, Any]) -> Entities:
    return {(entity["kind"], entity["value"], incident["id"]) for entity in incident["entities"]}


def _entities_of(connection: apsw.Connection, names: Iterable[str]) -> dict[str, Entities]:
    """By what those of the incidents are found that are stored."""
    texts = stored(connection, KINDS["incident"], "doc", names)
    return {name: _entities(orjson.loads(text)) for name, text in texts.items()}


def drop_incidents(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Delete incidents, and what they are found by."""
    bindings = [(name,) for name in names]
    for found in _entities_of(connection, names).values():
        connection.executemany(_DROP_ENTITY, found)
    connection.executemany("DELETE FROM incidents WHERE id = ?", bindings)
    connection.executemany("DELETE FROM incident_alias WHERE incident = ?", bindings)


class Found:
    """What incidents that are written will be found by."""

    def __init__(self) -> None:
        self._gone: list[tuple[str, str, str]] = []
        self._fresh: list[tuple[str, str, str]] = []
        self._aliases: list[tuple[str, str]] = []

    def take(self, connection: apsw.Connection, incidents: Sequence[dict[str, Any]]) -> None:
        """Incidents, before they are written, each once."""
        before = _entities_of(connection, [incident["id"] for incident in incidents])
        for incident in incidents:
            want, have = _entities(incident), before.get(incident["id"])
            if have is None:
                self._fresh += want
            else:
                self._gone += have - want
                self._fresh += want - have
            self._aliases += [(alias, incident["id"]) for alias in incident["aliases"] if alias != incident["id"]]

    def write(self, connection: apsw.Connection) -> None:
        """All at once, in the table's order: rows that lie together are written together."""
        connection.executemany(_DROP_ENTITY, self._gone)
        self._fresh.sort()
        connection.executemany("INSERT INTO incident_entity VALUES (?, ?, ?)", self._fresh)
        connection.executemany(
            "INSERT INTO incident_alias VALUES (?, ?) ON CONFLICT (alias) DO UPDATE SET incident = excluded.incident",
            self._aliases,
        )


def raw(connection: apsw.Connection, of: Kind, id: str) -> dict[str, Any] | None:
    """The document of exactly that id."""
    for (document,) in connection.execute(f"SELECT doc FROM {of.table} WHERE id = ?", (id,)):  # noqa: S608
        found: dict[str, Any] = orjson.loads(document)
        return found
    return None


def get(connection: apsw.Connection, of: Kind, id: str) -> dict[str, Any] | None:
    """The document of that id; an incident merged into another resolves to the one that took it over."""
    found = raw(connection, of, id)
    if of.name != "incident":
        return found
    seen = {id}
    while True:
        if found is not None and not found["merged_into"]:
            return found
        target = found["merged_into"] if found is not None else _alias(connection, id)
        if not target or target in seen:
            return found
        seen.add(target)
        id, found = target, raw(connection, of, target)


def _alias(connection: apsw.Connection, id: str) -> str:
    row = connection.execute("SELECT incident FROM incident_alias WHERE alias = ?", (id,)).fetchone()
    return str(row[0]) if row else ""


def find(
    connection: apsw.Connection,
    of: Kind,
    where: dict[str, Any] | None,
    order: str,
    descending: bool,
    limit: int | None,
    offset: int,
) -> Iterator[str]:
    """JSON texts of the documents that match, in order."""
    condition, bindings = _where(of, where or {})
    ordering = _order(of, order, descending)
    tail = f"{condition} ORDER BY {ordering} LIMIT {-1 if limit is None else int(limit)} OFFSET {int(offset)}"
    if limit is not None and limit <= _DIRECT:
        # Sorting carries the columns it selects: find the rows first, so that no document is sorted.
        rows = connection.execute(f"SELECT rowid FROM {of.table} {tail}", bindings).fetchall()  # noqa: S608
        fetch = f"SELECT doc FROM {of.table} WHERE rowid = ?"  # noqa: S608
        for row in rows:
            yield from (document for (document,) in connection.execute(fetch, row))
        return
    for (document,) in connection.execute(f"SELECT doc FROM {of.table} {tail}", bindings):  # noqa: S608
        yield document


def count(connection: apsw.Connection, of: Kind, where: dict[str, Any] | None) -> int:
    """How many documents match."""
    condition, bindings = _where(of, where or {})
    return int(connection.execute(f"SELECT count(*) FROM {of.table} {condition}", bindings).get)  # noqa: S608


def _where(of: Kind, where: dict[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause from the contract's mapping. Raises Usage for a field that is not indexed."""
    clauses: list[str] = []
    bindings: list[Any] = []
    for key, value in where.items():
        field, _, suffix = key.partition("__")
        operator = _OPERATORS.get(suffix) if suffix else "="
        if operator is None or (field != "id" and field not in of.fields):
            known = ", ".join(("id", *of.fields))
            raise Usage(f"{of.name}: cannot find by {key!r}; fields: {known}, with __gte, __gt, __lte, __lt, __ne")
        column = f'"{field}"'
        if of.ranked and field == "severity" and suffix not in ("", "ne"):
            column, value = "urgency", _rank(value)
        if isinstance(value, list | tuple | set | frozenset) and not suffix:
            clauses.append(f"{column} IN (SELECT value FROM json_each(?))")  # noqa: S608
            bindings.append(json_list(value))
        else:
            clauses.append(f"{column} {operator} ?")
            bindings.append(value)
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), bindings


def _rank(severity: str) -> int:
    if severity not in _RANK:
        raise Usage(f"unknown severity {severity!r}; severities: {', '.join(SEVERITIES)}")
    return _RANK[severity]


def _order(of: Kind, order: str, descending: bool) -> str:
    """`field`, or several separated by commas, each with `-` before it to turn it round; the id decides ties."""
    parts: list[str] = []
    for item in order.split(","):
        field = item.strip()
        down = descending != field.startswith("-")
        field = field.lstrip("-")
        if field != "id" and field not in of.fields:
            raise Usage(f"{of.name}: cannot order by {field!r}; fields: {', '.join(('id', *of.fields))}")
        column = "urgency" if of.ranked and field == "severity" else field
        parts.append(f'"{column}" {"DESC" if down else "ASC"}')
        if field == "id":
            return ", ".join(parts)
    return ", ".join([*parts, '"id" ASC'])


def incidents_with(
    connection: apsw.Connection, entities: list[tuple[str, str]], since: int, until: int
) -> list[dict[str, Any]]:
    """Incidents not merged away that have any of the entities and overlap [since, until], in id order. Of kind `alert`:
    that hold the alert of that id; after mergers, those that took it over."""
    pairs = json_list(list(pair) for pair in entities if pair[0] != "alert")
    alerts = json_list(value for kind, value in entities if kind == "alert")
    rows = connection.execute(
        """WITH RECURSIVE
             own (id) AS (
               SELECT a.incident FROM json_each(?4) AS j CROSS JOIN alerts AS a ON a.id = j.value
               UNION SELECT i.merged_into FROM own CROSS JOIN incidents AS i ON i.id = own.id
                 WHERE i.merged_into <> ''),
             found (id) AS (
               SELECT e.incident FROM json_each(?3) AS j CROSS JOIN incident_entity AS e
                 WHERE e.kind = json_extract(j.value, '$[0]') AND e.value = json_extract(j.value, '$[1]')
               UNION SELECT id FROM own)
           SELECT doc FROM incidents WHERE merged_into = '' AND last >= ?1 AND first <= ?2
             AND id IN (SELECT id FROM found) ORDER BY id""",
        (since, until, pairs, alerts),
    )
    return [orjson.loads(document) for (document,) in rows]


def resolve(connection: apsw.Connection, of: Kind, prefix: str) -> list[str]:
    """Ids whose number or id starts with the text, letter case ignored; a whole number or id stands alone; at most
    20."""
    if not prefix:
        return []
    low, up = prefix.lower(), prefix.upper()
    exact = [row[0] for row in connection.execute(f"SELECT id FROM {of.table} WHERE id = ?", (low,))]  # noqa: S608
    if not exact and "number" in of.fields:
        exact = [row[0] for row in connection.execute(f"SELECT id FROM {of.table} WHERE number = ?", (up,))]  # noqa: S608
    if exact:
        return exact
    found = _prefixed(connection, of.table, "id", "id", low)
    if "number" in of.fields:
        found += _prefixed(connection, of.table, "id", "number", up)
    if of.name == "incident":
        found += _prefixed(connection, "incident_alias", "incident", "alias", low)
    return list(dict.fromkeys(found))[:20]


def _prefixed(connection: apsw.Connection, table: str, result: str, column: str, prefix: str) -> list[str]:
    rows = connection.execute(
        f"SELECT {result} FROM {table} WHERE {column} >= ? AND {column} < ? ORDER BY {column} LIMIT 20",  # noqa: S608
        (prefix, prefix + "\U0010ffff"),
    )
    return [str(row[0]) for row in rows]
