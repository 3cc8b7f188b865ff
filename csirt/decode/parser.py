"""Log parsers as data: YAML in `parsers/`, read and checked before anything runs (docs/parsers.md has the format).

Content never loads code: a parser names regular expressions for a linear-time engine, fields with their kind, and
columns of the event schema. A value reaches a column only through a declared field, and every kind is scrubbed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXAMPLES = ".examples.yml"

# kind -> what becomes of the value
KINDS: dict[str, str] = {
    "text": "a short value; identity numbers and mailboxes in it are scrubbed",
    "host": "a host name; `unknown` and `-` become null",
    "mailbox": "one mail address; a person's becomes a pseudonym",
    "message_id": "a message id; parts that may name a person become a pseudonym",
    "address": "an IP address",
    "integer": "a whole number, not negative",
    "number": "a decimal number, not negative",
    "class": "free text of which only its class is kept",
    "list": "a list of short values (ndjson)",
}
ROLES = ("open", "context", "outcome", "close", "event", "ignore")


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a line. `column`: where it goes, empty when it only serves rules. `domain`: a column for the domain
    of a mailbox. `match`: what the value must look like; anything else becomes null. `classes`: names with patterns,
    first match wins, then `other`. `key`: its name in ndjson."""

    name: str
    kind: str
    column: str = ""
    domain: str = ""
    match: str = ""
    key: str = ""
    classes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pattern:
    """One form of a line. `programs`: last parts of the syslog tag it may come from (none: any). `role`: what the line
    is in a transaction. `values`: fields it sets to a constant."""

    name: str
    role: str
    match: str
    programs: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Join:
    """How lines become transactions: lines of the same relay and `key` belong together.

    Each distinct combination of the `outcome` fields is a row; `collect` fields are gathered into a list. `settle`:
    outcomes are written when the transaction closes, or has been silent this long (microseconds of event time). `age`:
    a silent transaction is forgotten. `limit`: how many wait at most; the longest silent go first.
    """

    key: str
    context: tuple[str, ...]
    outcome: tuple[str, ...]
    collect: tuple[str, ...]
    settle: int
    age: int
    limit: int


@dataclass(frozen=True, slots=True)
class Rule:
    """`value` when every field of `when` has one of its values."""

    when: tuple[tuple[str, tuple[str, ...]], ...]
    value: str


@dataclass(slots=True)
class Parser:
    """A checked parser. `derive`: column -> rules, first match wins. `examples`: the file beside it, when there is."""

    name: str
    title: str
    file: str
    form: str  # text | ndjson
    dataset: str
    fields: dict[str, Field]
    program: str = ""
    patterns: tuple[Pattern, ...] = ()
    join: Join | None = None
    derive: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    require: tuple[str, ...] = ()
    time: str = ""
    host: str = ""
    pattern_marks: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def examples(self) -> Path:
        """The examples file beside the parser."""
        return Path(self.file).with_suffix("").with_suffix(EXAMPLES)


def plain(value: Any) -> str:
    """A YAML scalar as the text a log would hold."""
    return "true" if value is True else "false" if value is False else str(value)
