"""Filter text to a tree: a small recursive parser that says where it stopped and what name was nearest."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace

from csirt.errors import Usage
from csirt.model.filter_nodes import AllOf, AnyOf, Compare, Flag, Node, Not, Text
from csirt.model.literal import Literal, literal

MAX_LENGTH = 8192
MAX_DEPTH = 40
MAX_TERMS = 500

_FIELD = re.compile(r"([A-Za-z_@][A-Za-z0-9_.@-]*)(:|!=|>=|<=|=|<|>)")
_WORD = re.compile(r"[^\s()\"]+")
_VALUE = re.compile(r"[^\s(),\"]+")
_SPACE = re.compile(r"\s*")
_OR = re.compile(r"or(?=[\s(\"]|$)", re.IGNORECASE)
_AND = re.compile(r"and(?=[\s(\"]|$)", re.IGNORECASE)


class Parser:
    """One text; `known`: the field names that exist, None for any."""

    def __init__(self, text: str, known: frozenset[str] | None, aliases: Mapping[str, tuple[str, ...]]) -> None:
        self._text = text
        self._known = known
        self._aliases = aliases
        self._at = 0
        self._terms = 0

    def parse(self) -> Node:
        """The tree. Raises Usage with the position, from 1."""
        if len(self._text) > MAX_LENGTH:
            raise Usage(f"filter: longer than {MAX_LENGTH} characters; split it")
        self._skip()
        node = AllOf(()) if self._done() else self._either(0)
        if not self._done():
            raise self._error("this ')' closes nothing; remove it")
        return node

    def _either(self, depth: int) -> Node:
        parts = [self._both(depth)]
        while (match := _OR.match(self._text, self._at)) is not None:
            self._at = match.end()
            self._skip()
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _both(self, depth: int) -> Node:
        parts: list[Node] = []
        while not self._done() and self._text[self._at] != ")" and not _OR.match(self._text, self._at):
            if parts and (match := _AND.match(self._text, self._at)) is not None:
                self._at = match.end()
                self._skip()
                if self._done():
                    break
                continue
            parts.append(self._term(depth))
            self._skip()
        if not parts:
            raise self._error('a term is missing here, such as severity>=high or "free text"')
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _term(self, depth: int) -> Node:
        self._terms += 1
        if self._terms > MAX_TERMS or depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_TERMS} terms or {MAX_DEPTH} levels; make the filter simpler")
        text, start = self._text, self._at
        if text[start] == "(":
            return self._group(depth)
        if text[start] == "-" and start + 1 < len(text) and not text[start + 1].isspace():
            self._at += 1
            return Not(self._term(depth + 1))
        if text[start] == '"':
            return Text(literal(self._quoted(), quoted=True))
        word = _WORD.match(text, start)
        if word is not None and _is_address(word.group()):
            self._at = word.end()
            return Text(literal(word.group(), quoted=True))
        match = _FIELD.match(text, start)
        if match is None:
            assert word is not None
            self._at = word.end()
            return Text(literal(word.group()))
        name, op = match.groups()
        self._at = match.end()
        if name.lower() in ("not", "is") and op == ":":
            return self._flag(name.lower() == "not", depth)
        fields = self._resolve(name, start)
        values = self._values(name + op)
        if op == "!=":
            return Not(Compare(fields, "=", values))
        if op == ":":
            return Compare(fields, "=", tuple(replace(value, loose=True) for value in values))
        return Compare(fields, op, values)

    def _group(self, depth: int) -> Node:
        opened = self._at
        self._at += 1
        self._skip()
        node = self._either(depth + 1)
        if self._done():
            raise self._error("this '(' is never closed; add ')'", opened)
        self._at += 1
        return node

    def _flag(self, negated: bool, depth: int) -> Node:
        """After `is:` or `not:`: a flag's name, or any whole term."""
        start = self._at
        word = _WORD.match(self._text, start)
        if self._done() or (word is None and self._text[start] not in '("'):
            raise self._error("a name is missing after is: or not:, such as not:ack")
        node: Node
        if word is None or word.group()[0] == "-" or _FIELD.match(self._text, start):
            node = self._term(depth + 1)
        else:
            self._at = word.end()
            node = Flag(self._resolve(word.group(), start))
        return Not(node) if negated else node

    def _values(self, term: str) -> tuple[Literal, ...]:
        values: list[Literal] = []
        while True:
            if not self._done() and self._text[self._at] == '"':
                values.append(literal(self._quoted(), quoted=True))
            else:
                match = _VALUE.match(self._text, self._at)
                if match is None:
                    raise self._error(f"a value is missing after {term!r}")
                self._at = match.end()
                values.append(literal(match.group()))
            if self._done() or self._text[self._at] != ",":
                return tuple(values)
            self._at += 1

    def _quoted(self) -> str:
        opened = self._at
        self._at += 1
        out: list[str] = []
        while not self._done():
            char = self._text[self._at]
            self._at += 1
            if char == '"':
                return "".join(out)
            if char == "\\" and not self._done():
                char = self._text[self._at]
                self._at += 1
            out.append(char)
        raise self._error("this quotation mark is never closed", opened)

    def _resolve(self, name: str, at: int) -> tuple[str, ...]:
        fields = self._aliases.get(name, (name,))
        if self._known is None:
            return fields
        present = tuple(field for field in fields if field in self._known or field.startswith("netflow."))
        if present:
            return present
        names = sorted(self._known | {alias for alias, to in self._aliases.items() if self._known & set(to)})
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names[:30])}"
        raise self._error(f"unknown field {name!r}; {hint}", at)

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _done(self) -> bool:
        return self._at >= len(self._text)

    def _error(self, message: str, at: int | None = None) -> Usage:
        position = (self._at if at is None else at) + 1
        return Usage(f"filter: position {position}: {message}", position=position, filter=self._text)


def _is_address(word: str) -> bool:
    if "." not in word and ":" not in word:
        return False
    try:
        ipaddress.ip_network(word, strict=False)
    except ValueError:
        return False
    return True
