"""From YAML to a Parser: every key, reference and pattern is checked, every problem says where and what to do."""

from __future__ import annotations

import difflib
from typing import Any

from csirt.config import duration
from csirt.content import Document
from csirt.decode.parser import KINDS, ROLES, Field, Join, Parser, Pattern, Rule, plain
from csirt.errors import Problem
from csirt.model import ecs

Path = tuple[str | int, ...]

_TOP = {
    "parser", "title", "form", "dataset", "program", "time", "host", "require", "fields", "classes", "patterns",
    "join", "derive",
}  # fmt: skip
_FIELD = {"kind", "column", "domain", "match", "classes", "key"}
_PATTERN = {"name", "role", "match", "program", "set"}
_JOIN = {"key", "context", "outcome", "collect", "settle", "age", "limit"}
_RESERVED = {"time", "host", "role", "clock", "segment", "position", "received", "key", "path", "origin", "had"}
# kind -> Arrow types of columns it can fill
_FITS: dict[str, tuple[Any, ...]] = {
    "text": (ecs.TEXT, ecs.FREE, ecs.LIST),
    "host": (ecs.TEXT, ecs.FREE),
    "mailbox": (ecs.TEXT, ecs.FREE, ecs.LIST),
    "message_id": (ecs.TEXT, ecs.FREE),
    "integer": (ecs.U8, ecs.U16, ecs.U32, ecs.U64),
    "number": (ecs.DATASETS["mail"]["csirt.mail.delay"],),
    "class": (ecs.TEXT,),
    "list": (ecs.LIST,),
}


class _Check:
    """Collects problems of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def say(self, path: Path, message: str, advice: str = "", check: str = "") -> None:
        self.problems.append(self.document.problem(path, message, advice, check))

    def keys(self, value: Any, allowed: set[str], path: Path) -> dict[str, Any]:
        """The mapping, with a problem for every key nobody knows."""
        if not isinstance(value, dict):
            self.say(path, "a mapping is needed here", "write `key: value` lines", "type")
            return {}
        for key in value:
            if key not in allowed:
                near = difflib.get_close_matches(str(key), allowed, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(allowed))}"
                self.say((*path, key), f"unknown key {key!r}", hint, "key")
        return value

    def text(self, value: Any, path: Path, *, default: str = "") -> str:
        """A string."""
        if value is None:
            return default
        if not isinstance(value, str):
            self.say(path, "text is needed here", "quote it", "type")
            return default
        return value

    def one_of(self, value: Any, allowed: tuple[str, ...], path: Path, default: str) -> str:
        """A string out of a few."""
        text = self.text(value, path, default=default)
        if text not in allowed:
            self.say(path, f"{text!r} is not known here", f"one of: {', '.join(allowed)}", "value")
            return default
        return text

    def texts(self, value: Any, path: Path) -> tuple[str, ...]:
        """A string or a list of strings."""
        items = value if isinstance(value, list) else [] if value is None else [value]
        return tuple(plain(item) for item in items)

    def regex(self, value: Any, path: Path) -> str:
        """A pattern both linear-time engines accept."""
        import polars as pl
        import re2

        text = self.text(value, path)
        try:
            re2.compile(text)
            pl.Series([""]).str.contains(text)
        except Exception as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else "not a regular expression"
            self.say(path, f"bad pattern: {reason}", "RE2 syntax: no look-around, no back references", "pattern")
            return ""
        return text

    def names(self, value: Any, fields: dict[str, Field], path: Path) -> tuple[str, ...]:
        """Names of declared fields."""
        found = self.texts(value, path)
        for name in found:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"did you mean {near[0]!r}?" if near else "declare it under `fields`"
                self.say(path, f"no field {name!r}", hint, "field")
        return tuple(name for name in found if name in fields)


def build(document: Document) -> tuple[Parser | None, list[Problem]]:
    """A parser from its YAML, or None with its problems."""
    check = _Check(document)
    top = check.keys(document.value, _TOP, ())
    name = check.text(top.get("parser"), ("parser",))
    if not name or not name.replace("-", "_").isidentifier():
        check.say(("parser",), "`parser` names the parser: letters, digits, - and _", "parser: postfix", "name")
    form = check.one_of(top.get("form"), ("text", "ndjson"), ("form",), "text")
    dataset = check.one_of(top.get("dataset"), ("mail", "edi"), ("dataset",), "mail")
    classes = _classes(check, top.get("classes") or {})
    fields = _fields(check, top.get("fields") or {}, dataset, form, classes)
    parser = Parser(
        name, check.text(top.get("title"), ("title",), default=name), document.file, form, dataset, fields,
        program=check.regex(top.get("program"), ("program",)) if top.get("program") else "",
        time=check.text(top.get("time"), ("time",)), host=check.text(top.get("host"), ("host",)),
        require=check.names(top.get("require"), fields, ("require",)),
    )  # fmt: skip
    parser.derive = _derive(check, top.get("derive") or {}, fields, dataset)
    if form == "text":
        parser.patterns = _patterns(check, top.get("patterns"), fields, parser)
        if "join" in top:
            parser.join = _join(check, top["join"], fields)
        elif any(pattern.role in ("open", "context", "outcome", "close") for pattern in parser.patterns):
            check.say(("patterns",), "patterns of a transaction need `join`", "see docs/parsers.md", "join")
    elif not parser.time:
        check.say((), "an ndjson parser needs `time`, the key of the event time", "time: ts", "time")
    errors = [problem for problem in check.problems if problem.level == "error"]
    return (None if errors else parser), check.problems


def _classes(check: _Check, value: Any) -> dict[str, tuple[tuple[str, str], ...]]:
    result: dict[str, tuple[tuple[str, str], ...]] = {}
    for name, body in check.keys(value, set(value) if isinstance(value, dict) else set(), ("classes",)).items():
        entries = body if isinstance(body, dict) else {}
        if not entries:
            check.say(("classes", name), "a class list is a mapping of names and patterns", "", "type")
        result[name] = tuple((key, check.regex(text, ("classes", name, key))) for key, text in entries.items())
    return result


def _fields(
    check: _Check, value: Any, dataset: str, form: str, classes: dict[str, tuple[tuple[str, str], ...]]
) -> dict[str, Field]:
    result: dict[str, Field] = {}
    for name, body in check.keys(value, set(value) if isinstance(value, dict) else set(), ("fields",)).items():
        path: Path = ("fields", name)
        if not str(name).isidentifier() or name in _RESERVED:
            check.say(path, f"{name!r} cannot name a field", "letters, digits and _; not a reserved word", "field")
            continue
        item = check.keys(body, _FIELD, path)
        kind = check.one_of(item.get("kind"), tuple(KINDS), (*path, "kind"), "text")
        column = check.text(item.get("column"), (*path, "column"))
        _column(check, column, kind, dataset, (*path, "column"))
        domain = check.text(item.get("domain"), (*path, "domain"))
        if domain and kind != "mailbox":
            check.say((*path, "domain"), "only a mailbox has a domain", "remove the key", "kind")
        _column(check, domain, "text", dataset, (*path, "domain"))
        group = check.text(item.get("classes"), (*path, "classes"))
        if (kind == "class") != bool(group) or (group and group not in classes):
            check.say(
                (*path, "classes"), "a field of kind class names a list under `classes`, no other does", "", "kind"
            )
        if kind == "list" and form != "ndjson":
            check.say((*path, "kind"), "a list occurs in ndjson only", "use text", "kind")
        match = check.regex(item["match"], (*path, "match")) if "match" in item else ""
        key = check.text(item.get("key"), (*path, "key"), default=str(name))
        result[str(name)] = Field(str(name), kind, column, domain, match, key, classes.get(group, ()))
    return result


def _column(check: _Check, column: str, kind: str, dataset: str, path: Path) -> None:
    if not column:
        return
    if kind == "address":
        if column not in ecs.ADDRESSES:
            check.say(path, f"{column!r} does not hold an address", f"one of: {', '.join(ecs.ADDRESSES)}", "column")
        return
    schema = ecs.DATASETS[dataset]
    if column not in schema or column in ecs.COMMON or column in ecs.ENRICHED:
        near = difflib.get_close_matches(column, schema, 1)
        hint = f"did you mean {near[0]!r}?" if near else "see docs/parsers.md for the columns"
        check.say(path, f"the dataset {dataset} has no column {column!r} a parser may fill", hint, "column")
    elif schema[column] not in _FITS[kind]:
        check.say(path, f"a field of kind {kind} cannot fill {column!r} ({schema[column]})", "change the kind", "kind")


def _patterns(check: _Check, value: Any, fields: dict[str, Field], parser: Parser) -> tuple[Pattern, ...]:
    import re2

    if not isinstance(value, list) or not value:
        check.say(("patterns",), "a text parser needs a list of patterns", "see docs/parsers.md", "type")
        return ()
    result: list[Pattern] = []
    for index, body in enumerate(value):
        path: Path = ("patterns", index)
        item = check.keys(body, _PATTERN, path)
        name = check.text(item.get("name"), (*path, "name"))
        if not name or name in parser.pattern_marks:
            check.say((*path, "name"), "every pattern needs a name of its own", "", "name")
        parser.pattern_marks[name] = check.document.mark(path)
        role = check.one_of(item.get("role"), ROLES, (*path, "role"), "ignore")
        match = check.regex(item.get("match"), (*path, "match"))
        groups = list(re2.compile(match).groupindex) if match else []
        check.names([group for group in groups if group != "host"], fields, (*path, "match"))
        values = item.get("set") or {}
        check.names(list(check.keys(values, set(values), (*path, "set"))), fields, (*path, "set"))
        if role == "ignore" and (groups or values):
            check.say((*path, "match"), "an ignored line has no fields", "use (?:…) groups", "role")
        constants = tuple((key, plain(text)) for key, text in values.items())
        result.append(Pattern(name, role, match, check.texts(item.get("program"), path), constants))
    return tuple(result)


def _join(check: _Check, value: Any, fields: dict[str, Field]) -> Join | None:
    item = check.keys(value, _JOIN, ("join",))
    times = {}
    for name, default in (("settle", "2m"), ("age", "6d")):
        try:
            times[name] = duration(item.get(name, default))
            if times[name] <= 0:
                raise ValueError("the duration must be positive")
        except ValueError as error:
            check.say(("join", name), str(error), "", "duration")
    limit = item.get("limit", 20_000)
    if not isinstance(limit, int) or not 10 <= limit <= 1_000_000:
        check.say(("join", "limit"), "limit is a number of transactions, 10 to 1000000", "limit: 20000", "value")
    key = check.names(item.get("key"), fields, ("join", "key"))
    outcome = check.names(item.get("outcome"), fields, ("join", "outcome"))
    context = check.names(item.get("context"), fields, ("join", "context"))
    collect = check.names(item.get("collect"), fields, ("join", "collect"))
    if len(key) != 1 or not outcome:
        check.say(("join",), "join needs one `key` and at least one `outcome` field", "", "join")
    overlap = (set(context) & set(outcome)) | (set(collect) & (set(context) | set(outcome)))
    if overlap:
        check.say(("join",), f"{', '.join(sorted(overlap))}: a field has one part in a join", "", "join")
    if len(key) != 1 or len(times) != 2 or not isinstance(limit, int):
        return None
    return Join(key[0], context, outcome, collect, times["settle"], times["age"], limit)


def _derive(check: _Check, value: Any, fields: dict[str, Field], dataset: str) -> dict[str, tuple[Rule, ...]]:
    result: dict[str, tuple[Rule, ...]] = {}
    for column, rules in check.keys(value, set(value) if isinstance(value, dict) else set(), ("derive",)).items():
        path: Path = ("derive", column)
        _column(check, column, "class", dataset, path)
        found: list[Rule] = []
        for index, body in enumerate(rules if isinstance(rules, list) else []):
            item = check.keys(body, {"when", "value"}, (*path, index))
            when = item.get("when") or {}
            check.names(list(when), fields, (*path, index, "when"))
            tests = tuple((name, check.texts(wanted, path)) for name, wanted in when.items())
            found.append(Rule(tests, plain(item.get("value", ""))))
        if not found:
            check.say(path, "a derived column needs a list of rules", "- {when: {field: [a, b]}, value: c}", "type")
        result[column] = tuple(found)
    return result
