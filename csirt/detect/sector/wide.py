"""A rule's condition as ES|QL that misses no event the rule matches: pySigma's backend, made wider.

The backend says a rule the way a person would in Elasticsearch, where case counts, `not` of an absent field is nothing,
and a text that is too long is absent. The engine says otherwise (docs/rule-authors.md), and what a query does not find
nobody confirms. So every test becomes one that holds wherever the engine's does, below a `not` one that holds nowhere
else, and what cannot be said so is left out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from sigma import types
from sigma.backends.elasticsearch.elasticsearch_esql import ESQLBackend
from sigma.conditions import ConditionFieldEqualsValueExpression
from sigma.conversion.state import ConversionState

from csirt.detect.columns import values
from csirt.detect.engine.views import fold
from csirt.model import ecs
from csirt.model.search import quoted

_SAFE = 1 << 62  # numbers above are cut in the cluster
_LATIN = 0x250  # letters above may be lowered otherwise there
_ANY = types.SpecialChars.WILDCARD_MULTI
_FAMILIES = {4: "ipv4", 6: "ipv6"}


def condition(trees: Sequence[Any], kinds: Mapping[str, str]) -> str:
    """ES|QL that is true of every event that one of the parsed conditions matches; empty: of every event. `kinds`: the
    cluster's type of each field that it searches."""
    backend = Wide(kinds)
    found = [backend.convert_condition(tree, ConversionState()) for tree in trees if tree is not None]
    if not found or None in found:
        return ""
    return " or ".join(f"({text!s})" for text in found)


class Wide(ESQLBackend):
    """What a branch or leaf becomes; None: nothing can be said. `_wide` false, below a `not`: what it becomes holds
    nowhere but where the engine's test does."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        super().__init__()
        self._kinds = kinds
        self._wide = True

    # -- branches -------------------------------------------------------------------------------------------------

    def decide_convert_condition_as_in_expression(self, cond: Any, state: Any) -> bool:
        """Never: each value is a leaf of its own."""
        return False

    def convert_condition_and(self, cond: Any, state: Any) -> Any:
        """What can be said of all; below a `not` all must be said."""
        return self._joined(" and ", cond.args, state, whole=not self._wide)

    def convert_condition_or(self, cond: Any, state: Any) -> Any:
        """All must be said; below a `not` what can be said of any."""
        return self._joined(" or ", cond.args, state, whole=self._wide)

    def _joined(self, word: str, args: Sequence[Any], state: Any, *, whole: bool) -> str | None:
        found: list[Any] = [self.convert_condition(item, state) for item in args]
        said = [text for text in found if text is not None]
        if not said or (whole and len(said) < len(found)):
            return None
        return "(" + word.join(said) + ")" if len(said) > 1 else str(said[0])

    def convert_condition_not(self, cond: Any, state: Any) -> Any:
        """What is not known to be is not: an absent field has no value."""
        with self._turned():
            inner = self.convert_condition(cond.args[0], state)
        return None if inner is None else f"not coalesce({inner}, false)"

    @contextmanager
    def _turned(self) -> Iterator[None]:
        self._wide = not self._wide
        try:
            yield
        finally:
            self._wide = not self._wide

    # -- leaves ---------------------------------------------------------------------------------------------------

    def convert_condition_val(self, cond: Any, state: Any) -> Any:
        """A keyword may be in any field, also in those that the cluster does not search."""
        return None

    def convert_condition_field_eq_val(self, cond: Any, state: Any) -> Any:
        """A test of a field."""
        value = cond.value
        if isinstance(value, types.SigmaExpansion):
            return self.convert_condition_field_eq_expansion(cond, state)
        kind = self._kinds.get(cond.field, "")
        if not kind or isinstance(value, types.SigmaNull | types.SigmaExists):
            return None  # the cluster does not know whether a field was there without a value
        said: str | None = None
        if cond.field not in MANY:
            make = _LEAVES.get(kind)
            said = make(quoted(cond.field), value, self._wide) if make is not None else None
        if said is None and self._wide:
            return f"{quoted(cond.field)} is not null" if not isinstance(value, types.SigmaFieldReference) else None
        return said

    def convert_condition_field_eq_expansion(self, cond: Any, state: Any) -> Any:
        """One of the values."""
        found = [ConditionFieldEqualsValueExpression(cond.field, value) for value in cond.value.values]
        return self._joined(" or ", found, state, whole=self._wide)


def _several() -> frozenset[str]:
    lists = {name for columns in ecs.DATASETS.values() for name, kind in columns.items() if kind == ecs.LIST}
    return frozenset({*lists, "related.ip"})


MANY = _several()  # fields with several values: a test of one is no test of all


def _word(field: str, value: Any, wide: bool) -> str | None:
    """A test of a text."""
    if isinstance(value, types.SigmaBool):
        value = types.SigmaString("true" if value.boolean else "false")
    if isinstance(value, types.SigmaNumber):
        value = types.SigmaString(values.number_text(value.number))
    if not isinstance(value, types.SigmaString) or value.contains_placeholder():
        return None
    texts = [part for part in value.s if isinstance(part, str)]
    whole = "".join(texts)
    if not wide:
        plain = len(texts) == len(value.s) and whole and whole.isprintable()
        return f"{field} == {_literal(whole)}" if plain else None
    pattern = "".join(fold(part) if isinstance(part, str) else "*" for part in value.s)
    if not whole or not whole.isprintable() or any(letter in "*?\\" or ord(letter) >= _LATIN for letter in whole):
        return None
    said = f"to_lower({field}) {'==' if len(texts) == len(value.s) else 'like'} {_literal(pattern)}"
    # The dotted capital I is one letter to the engine and two to the cluster.
    return f'({said} or {field} like "*\u0130*")' if "i" in pattern else said


def _number(field: str, value: Any, wide: bool) -> str | None:
    """A test of a whole number."""
    if isinstance(value, types.SigmaCompareExpression):
        number: Any = getattr(value.number, "number", None)
        operator = _OPERATORS.get(value.op.name)
        known = isinstance(number, int | float) and operator is not None and float(number).is_integer()
        return f"{field} {operator} {int(number)}" if known and abs(number) < _SAFE else None
    found: Any = None
    if isinstance(value, types.SigmaNumber):
        found = value.number
    elif isinstance(value, types.SigmaString) and len(value.s) == 1 and isinstance(value.s[0], str):
        found = values.parse_number(value.s[0])
        found = found if found is not None and str(found) == value.s[0] else None
    if isinstance(found, int | float) and float(found).is_integer() and abs(found) < _SAFE:
        return f"{field} == {int(found)}"
    return None


def _address(field: str, value: Any, wide: bool) -> str | None:
    """A test of an address. The cluster takes an IPv4 address in IPv6 for the same; where that must not be, the family
    is asked, which it knows of the source."""
    if isinstance(value, types.SigmaCIDRExpression):
        text = value.cidr
    elif isinstance(value, types.SigmaString) and len(value.s) == 1 and isinstance(value.s[0], str):
        text = value.s[0]
    else:
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    said = f"cidr_match({field}, {_literal(str(network))})"
    if wide:
        return said
    return f'({said} and network.type == "{_FAMILIES[network.version]}")' if field == "source.ip" else None


def _boolean(field: str, value: Any, wide: bool) -> str | None:
    """A test of yes or no."""
    if isinstance(value, types.SigmaBool):
        return f"{field} == {'true' if value.boolean else 'false'}"
    return None


def _literal(text: str) -> str:
    return orjson.dumps(text).decode()


_OPERATORS = {"LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_LEAVES: dict[str, Callable[[str, Any, bool], str | None]] = {
    "keyword": _word,
    "long": _number,
    "ip": _address,
    "boolean": _boolean,
}
