"""The one filter grammar: lists, bulk verbs, silences, routes, subscriptions, hunts.

    severity>=high member:dental age<2h not:ack rule:net-05 "free text" -word (state:open or state:acknowledged)

Terms side by side must all hold; `or` binds weaker; parentheses group; `-TERM` turns a term round; `a,b` means any of.
`=` is equality without regard to case (`*` stands for any run of characters, an address or prefix for what it covers),
`!=` its negation; `:` also takes text that begins with the value as whole words (`rule:net-05`). `< <= > >=` order
numbers, times, severities (and priorities) and, last, text.
A duration on a time is its age (`last<2h`: less than two hours ago; `last:2h`: at most). `is:NAME` and `not:NAME` ask
whether a flag is set. An absent field equals nothing and is neither smaller nor greater than anything.

One parsed filter answers for a mapping (`matches`) and for a whole event table (`mask`), with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from csirt.model.filter_nodes import AllOf, AnyOf, Compare, Flag, Node, Not, Text
from csirt.model.literal import TIMES, compare

if TYPE_CHECKING:
    import pyarrow as pa

    from csirt.model.batch import Array

# Names people say -> the fields they may mean, in documents and in event tables. Any of them may hold.
ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("id", "number", "event.id"),
    "age": ("first", "@timestamp", "time"),
    "time": ("time", "@timestamp"),
    "ack": ("ack", "acked_by"),
    "member": (
        "member",
        "members",
        "csirt.source.member.id",
        "csirt.source.member.name",
        "csirt.source.member.kind",
        "csirt.destination.member.id",
        "csirt.destination.member.name",
        "csirt.destination.member.kind",
    ),
    "rule": ("rule", "rules", "rule_id", "rule_name"),
    "tactic": ("tactic", "tactics"),
    "technique": ("technique", "techniques"),
    "ip": ("ip", "source.ip", "destination.ip"),
    "port": ("port", "source.port", "destination.port"),
    "site": ("site", "csirt.source.site", "csirt.destination.site"),
    "zone": ("zone", "csirt.source.zone", "csirt.destination.zone"),
    "role": ("role", "csirt.source.role", "csirt.destination.role"),
    "her": ("her", "csirt.edi.her_from", "csirt.edi.her_to"),
    "dataset": ("dataset", "event.dataset"),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter. `now`: what ages are reckoned from, microseconds since 1970 UTC."""

    text: str
    node: Node
    now: int

    @classmethod
    def parse(
        cls,
        text: str,
        now_us: int,
        fields: Iterable[str] | None = None,
        aliases: Mapping[str, tuple[str, ...]] = ALIASES,
    ) -> Filter:
        """Parse filter text. `fields`: the names that exist here; a name outside them is refused.

        Raises Usage with the position (from 1) and the nearest known field name.
        """
        from csirt.model.grammar import Parser

        known = None if fields is None else frozenset(fields)
        return cls(text, Parser(text, known, aliases).parse(), now_us)

    def matches(self, mapping: Mapping[str, Any]) -> bool:
        """Whether a document (nested or with dotted keys; lists: any element) passes."""
        return _holds(self.node, mapping, self.now)

    def mask(self, table: pa.Table) -> Array:
        """Which rows of an event table (`model/ecs.py`) pass, as a bool array; work is done per distinct text."""
        from csirt.model.filter_columns import rows

        return rows(self.node, table, self.now)

    def names(self) -> set[str]:
        """The logical fields the filter looks at (aliases resolved)."""
        return {name for node in _walk(self.node) if isinstance(node, Compare | Flag) for name in node.fields}

    @property
    def searches_text(self) -> bool:
        """Whether it has free text, and so needs every text column."""
        return any(isinstance(node, Text) for node in _walk(self.node))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, AllOf | AnyOf):
        for part in node.parts:
            yield from _walk(part)
    elif isinstance(node, Not):
        yield from _walk(node.part)


# One document


def _holds(node: Node, mapping: Mapping[str, Any], now: int) -> bool:
    match node:
        case AllOf(parts):
            return all(_holds(part, mapping, now) for part in parts)
        case AnyOf(parts):
            return any(_holds(part, mapping, now) for part in parts)
        case Not(part):
            return not _holds(part, mapping, now)
        case Compare(fields, op, values):
            return any(
                compare(value, op, literal, name in TIMES, now)
                for name in fields
                for value in _values(mapping, name)
                for literal in values
            )
        case Flag(fields):
            return any(bool(value) for name in fields for value in _values(mapping, name))
        case Text(value):
            return any(value.within(text) for text in _texts(mapping))


def _values(mapping: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Every plain value under a dotted name, lists flattened, None left out."""
    if name in mapping:
        yield from _flat(mapping[name])
    at = name.find(".")
    while at > 0:
        inner = mapping.get(name[:at])
        rest = name[at + 1 :]
        for item in inner if isinstance(inner, list | tuple) else (inner,):
            if isinstance(item, Mapping):
                yield from _values(item, rest)
        at = name.find(".", at + 1)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    elif value is not None and not isinstance(value, Mapping):
        yield value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in TIMES:
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
