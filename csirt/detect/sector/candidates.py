"""Rules and correlations as searches of a cluster that find at least the events their alerts are of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from sigma.exceptions import SigmaError

from csirt.detect.atoms import leaves
from csirt.detect.match import names_duplicates
from csirt.detect.rule import Correlation, Rule
from csirt.detect.rules.correlations import OWN
from csirt.detect.rules.ruleset import Ruleset
from csirt.detect.sector import wide
from csirt.errors import CsirtError
from csirt.model.search import Part, Search

GROUPED = frozenset({"keyword", "long", "ip", "boolean"})  # types of a cluster's fields that make the engine's groups
_SAFE = 1 << 62  # numbers above are cut in the cluster
_SHY = 1 - 1e-9  # sums of floats differ by the order they are added in


class Refused(CsirtError):
    """Why a rule cannot be looked for in a cluster."""

    code = "no_search"


def search(loaded: Ruleset, item: Rule | Correlation, kinds: Mapping[str, str]) -> Search:
    """The search for a rule or correlation. `kinds`: the type of each field that a cluster searches. Raises Refused."""
    below = _below(loaded, item)
    _refuse(item, below, kinds)
    parts = tuple(_part(loaded, rule, kinds) for rule in below)
    if isinstance(item, Rule):
        return Search(item.id, parts)
    group = tuple(field for _, field in item.fields(below[0].id))
    measure, least = _measured(item, kinds)
    fields = item.value_fields if measure in ("values", "sum", "greatest") else ()
    return Search(item.id, parts, group, item.timespan, measure, least, fields)


def hunt(loaded: Ruleset, kinds: Mapping[str, str]) -> Search | None:
    """The search for the events that any of the plain rules matches; None where a rule cannot be said."""
    try:
        parts = tuple(_part(loaded, rule, kinds) for rule in loaded.rules if rule.datasets)
    except Refused:
        return None
    return Search("hunt", parts) if parts and any(part.condition for part in parts) else None


def subset(loaded: Ruleset, item: Rule | Correlation) -> Ruleset:
    """The ruleset of this one alone, as it is deployed: what it is built on does not alert."""
    if isinstance(item, Rule):
        return replace(loaded, rules=[item], correlations=[])
    rules = [replace(rule, alerts=False) for rule in loaded.rules if rule.id in item.rules]
    return replace(loaded, rules=rules, correlations=[item])


def _part(loaded: Ruleset, rule: Rule, kinds: Mapping[str, str]) -> Part:
    parsed = loaded.parsed(rule)
    try:
        trees = [one.parsed for one in parsed.detection.parsed_condition]
        return Part(rule.id, wide.condition(trees, kinds), rule.datasets)
    except (SigmaError, NotImplementedError) as error:
        raise Refused(" ".join(str(error).split())) from error


def _below(loaded: Ruleset, item: Rule | Correlation) -> list[Rule]:
    """The plain rules that an item is built on, or itself. Raises Refused."""
    if isinstance(item, Correlation):
        if item.type in OWN:
            raise Refused(f"the correlation type {item.type!r} is an extension of csirt: no other engine has it")
        if any(item.id in other.rules for other in loaded.correlations):
            raise Refused("a correlation is built on it, and needs its alerts where it runs itself")
    known = {rule.id: rule for rule in loaded.rules}
    names = [item.id] if isinstance(item, Rule) else list(item.rules)
    if not names or not all(name in known for name in names):
        raise Refused("a correlation of correlations cannot be one query")
    found = [known[name] for name in names]
    unrouted = next((rule for rule in found if not rule.datasets), None)
    if unrouted is not None:
        raise Refused(f"never matches: {unrouted.unrouted}")
    return found


def _refuse(item: Rule | Correlation, below: list[Rule], kinds: Mapping[str, str]) -> None:
    """Raises Refused where the cluster cannot decide what it would be asked."""
    names = {atom.field for rule in below for atom in leaves(rule.condition) if atom.field}
    group: set[str] = set()
    if isinstance(item, Correlation):
        group = {name for rule in below for _, name in item.fields(rule.id)}
        if len({tuple(field for _, field in item.fields(rule.id)) for rule in below}) > 1:
            raise Refused("its rules have different fields for one group-by name, which one query cannot say")
        names |= group | set(item.value_fields)
    missing = sorted(names - kinds.keys())
    if missing:
        raise Refused(f"the cluster does not search {', '.join(missing)}")
    odd = {name for name in group if name in wide.MANY or kinds[name] not in GROUPED}
    if isinstance(item, Correlation) and len(item.value_fields) > 1:
        odd |= wide.MANY.intersection(item.value_fields)
    if odd:
        raise Refused(f"the cluster cannot tell values of {min(odd)} apart as the engine does")
    twice = [rule.meta.title for rule in below if names_duplicates(rule)]
    if twice:
        raise Refused(f"{twice[0]!r} asks for records of flows that others count already: the cluster has none")


def _measured(item: Correlation, kinds: Mapping[str, str]) -> tuple[str, float]:
    """What must have come to how much where the condition holds: the threshold, lowered to something that only grows
    with more events."""
    if item.type in ("temporal", "temporal_ordered"):
        if item.expression is not None:
            return "rules", 1.0
        return "rules", max(1.0, _floor(item)) if item.bounds else float(len(item.rules))
    floor = _floor(item)
    if item.type == "event_count":
        return "events", max(1.0, floor)
    if item.type == "value_count":
        return "values", max(1.0, floor)
    if not 0 < floor < _SAFE or kinds[item.value_fields[0]] not in ("long", "double"):  # it may be anywhere
        return "events", 1.0
    return ("sum" if item.type == "value_sum" else "greatest"), floor * _SHY


def _floor(item: Correlation) -> float:
    """What is counted is at least this much where the condition holds; counts are whole numbers."""
    found = -math.inf
    for operator, bound in item.bounds:
        if operator in ("gte", "eq"):
            found = max(found, float(bound))
        elif operator == "gt":
            whole = item.type in ("event_count", "value_count", "temporal")
            found = max(found, math.floor(bound) + 1.0 if whole else float(bound))
    return found
