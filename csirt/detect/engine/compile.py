"""pySigma's parsed conditions to atoms and branches.

pySigma decides what a rule means: values, wildcards, escapes, modifiers, selectors. This module only says what the
engine does with it, and refuses with a reason what it cannot do exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import re2
from sigma import types as sigma_types
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import SpecialChars

from csirt.detect.atoms import And, Atom, Leaf, Node, Not, Or
from csirt.detect.columns import values
from csirt.detect.engine.text import QUIET
from csirt.detect.engine.views import fold
from csirt.model.indicators import NOTHING, PREFIX

_ANY, _ONE = SpecialChars.WILDCARD_MULTI, SpecialChars.WILDCARD_SINGLE


class Refused(ValueError):
    """The engine cannot do this exactly; the text says what and why, `advice` what to write instead."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


def condition(parsed: Sequence[Any], placeholders: Mapping[str, Sequence[str]]) -> Node:
    """The node of a rule's parsed conditions (several: one of them must hold). Raises Refused."""
    nodes = [_node(item, placeholders) for item in parsed if item is not None]
    if not nodes:
        raise Refused("the condition selects nothing", "name at least one selection in it")
    return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))


def _node(item: Any, placeholders: Mapping[str, Sequence[str]]) -> Node:
    if isinstance(item, ConditionAND | ConditionOR):
        children = tuple(_node(child, placeholders) for child in item.args)
        return And(children) if isinstance(item, ConditionAND) else Or(children)
    if isinstance(item, ConditionNOT):
        return Not(_node(item.args[0], placeholders))
    if isinstance(item, ConditionFieldEqualsValueExpression):
        return _value(item.field, item.value, placeholders)
    if isinstance(item, ConditionValueExpression):
        return _value(None, item.value, placeholders)
    raise Refused(f"a condition of kind {type(item).__name__} is not known")


def _value(field: str | None, value: Any, placeholders: Mapping[str, Sequence[str]]) -> Node:
    if isinstance(value, sigma_types.SigmaExpansion):
        return _either([_value(field, inner, placeholders) for inner in value.values])
    if isinstance(value, sigma_types.SigmaString | sigma_types.SigmaRegularExpression) and value.contains_placeholder():
        cased = isinstance(value, sigma_types.SigmaCasedString)
        expanded = value.replace_placeholders(lambda item: _placeholder(item, placeholders))
        return _either([Leaf(_text(field, inner, cased)) for inner in expanded])
    if isinstance(value, sigma_types.SigmaRegularExpression | sigma_types.SigmaString):
        return Leaf(_text(field, value, isinstance(value, sigma_types.SigmaCasedString)))
    if isinstance(value, sigma_types.SigmaExists):
        exists = Leaf(Atom(field, "exists"))
        return exists if value.exists else Not(exists)
    if isinstance(value, sigma_types.SigmaTimestampPart):
        return Leaf(Atom(field, "part", (value.timestamp_part.name.lower(), "eq", int(value.number))))
    if isinstance(value, sigma_types.SigmaBool):
        return Leaf(Atom(field, "eq" if field is not None else "contains", "true" if value.boolean else "false"))
    if isinstance(value, sigma_types.SigmaNumber):
        if field is None:
            return Leaf(Atom(None, "contains", values.number_text(value.number)))
        return Leaf(Atom(field, "number", _exact(value.number)))
    if field is None:
        raise Refused(f"a keyword cannot be {_name(value)}", "name a field, or write the keyword as text")
    return Leaf(_special(field, value))


def _special(field: str, value: Any) -> Atom:
    """Values that only a field can have."""
    if isinstance(value, sigma_types.SigmaNull):
        return Atom(field, "null")
    if isinstance(value, sigma_types.SigmaCIDRExpression):
        return Atom(field, "cidr", values.network(value.cidr))
    if isinstance(value, sigma_types.SigmaCompareExpression):
        operator = value.op.name.lower()
        if operator not in ("lt", "lte", "gt", "gte"):
            raise Refused(f"the comparison {operator} is not known")
        if isinstance(value.number, sigma_types.SigmaTimestampPart):
            part = value.number.timestamp_part.name.lower()
            return Atom(field, "part", (part, operator, int(value.number.number)))
        return Atom(field, "compare", (operator, _exact(value.number.number)))
    if isinstance(value, sigma_types.SigmaFieldReference):
        modes = {(False, False): "eq", (True, False): "startswith", (False, True): "endswith", (True, True): "contains"}
        return Atom(field, "field", (value.field, modes[value.starts_with, value.ends_with]))
    raise Refused(f"{_name(value)} cannot be evaluated", "use a plain value")


def _exact(number: values.Number) -> values.Number:
    """A whole number as an integer, so that it is compared exactly."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _name(value: Any) -> str:
    return type(value).__name__.removeprefix("Sigma")


def _either(nodes: list[Node]) -> Node:
    if not nodes:
        raise Refused("a placeholder has no values", "give it values under [detect.placeholders], or disable the rule")
    return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))


def _placeholder(item: Any, placeholders: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if item.name.startswith(PREFIX) and item.name not in placeholders:
        yield NOTHING
        return
    if item.name not in placeholders:
        known = ", ".join(sorted(placeholders)) or "none"
        raise Refused(
            f"the placeholder %{item.name}% has no values (configured: {known})",
            "give it values under [detect.placeholders], or disable the rule",
        )
    yield from placeholders[item.name]


def _text(field: str | None, value: Any, cased: bool) -> Atom:
    if isinstance(value, sigma_types.SigmaRegularExpression):
        return Atom(field, "re", regex(str(value.regexp), {flag.name for flag in value.flags}))
    norm = (lambda text: text) if cased else fold
    parts = _parts(value.s)
    literals = [norm(part) for part in parts if isinstance(part, str)]
    if field is None:  # a keyword is found anywhere in a value
        parts = parts[parts[:1] == [_ANY] : len(parts) - (parts[-1:] == [_ANY])]
        if not parts:
            raise Refused("a keyword that matches everything", "remove it")
        if len(parts) == 1 and literals:
            return Atom(None, "contains", literals[0], cased)
        return Atom(None, "wild", _wild(parts, norm, anchored=False), cased)
    if not parts:
        return Atom(field, "eq", "", cased)
    if parts == [_ANY]:
        return Atom(field, "text")
    if _ONE not in parts and len(literals) == 1:
        open_left, open_right = parts[0] is _ANY, parts[-1] is _ANY
        kind = {(False, False): "eq", (False, True): "startswith", (True, False): "endswith", (True, True): "contains"}
        return Atom(field, kind[open_left, open_right], literals[0], cased)
    return Atom(field, "wild", _wild(parts, norm, anchored=True), cased)


def _parts(parts: Sequence[Any]) -> list[Any]:
    """Neighbouring texts joined, runs of `*` made one, empty texts left out."""
    result: list[Any] = []
    for part in parts:
        if part == "" or (part is _ANY and result and result[-1] is _ANY):
            continue
        if isinstance(part, str) and result and isinstance(result[-1], str):
            result[-1] += part
        else:
            result.append(part)
    return result


def _wild(parts: Sequence[Any], norm: Any, *, anchored: bool) -> tuple[str, str]:
    """(RE2 pattern, longest literal) of a text with wildcards."""
    body = "".join(re.escape(norm(part)) if isinstance(part, str) else ".*" if part is _ANY else "." for part in parts)
    literals = [norm(part) for part in parts if isinstance(part, str)]
    return f"(?s)\\A{body}\\z" if anchored else f"(?s){body}", max(literals, key=len, default="")


def regex(pattern: str, flags: set[str]) -> str:
    """The pattern with its flags in front, if RE2 can run it. Raises Refused with RE2's reason."""
    letters = "".join(letter for letter, name in _FLAGS if name in flags)
    whole = f"(?{letters}){pattern}" if letters else pattern
    try:
        re2.compile(whole, QUIET)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise Refused(
            f"the regular expression cannot run in linear time: {text}",
            "look-around, back-references and repeats over 1000 are not Sigma; write plain selections instead",
        ) from error
    return whole


_FLAGS = (("i", "IGNORECASE"), ("m", "MULTILINE"), ("s", "DOTALL"))
