"""Correlation documents: Sigma's, read by pySigma, and our own `absence`.

`event_count` and `value_count` run; the other types of the specification are refused by name until they do. A
condition may have two operators (a range), which pySigma 1.5 does not read. `absence` is an extension: the first rule's
event was not followed by one of the second rule with the same group-by values within the timespan.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from csirt.content import Document
from csirt.detect import sigma as reader
from csirt.detect.rule import Correlation, Meta, Rule
from csirt.errors import Problem

TYPES = ("event_count", "value_count", "absence")
OPERATORS = ("lt", "lte", "gt", "gte", "eq", "neq")
_NOWHERE = Meta("", "", "", "medium", "", "", 1)


@dataclass(frozen=True, slots=True)
class Draft:
    """A correlation whose rule references are still names."""

    sigma: Any
    type: str
    rules: tuple[str, ...]
    bounds: tuple[tuple[str, float], ...]
    value_fields: tuple[str, ...]
    generate: bool
    meta: Meta = field(default_factory=lambda: _NOWHERE)


def draft(document: Document, problems: list[Problem]) -> Draft | None:
    """The correlation of a document, or None with the problems added."""
    body = document.value["correlation"]

    def wrong(message: str, advice: str = "", *path: str) -> None:
        problems.append(document.problem(("correlation", *path), message, advice, "correlation"))

    if not isinstance(body, dict):
        wrong("must be a mapping")
        return None
    kind = body.get("type")
    if kind not in TYPES:
        wrong(f"the type {kind!r} does not run here", f"there are {', '.join(TYPES)}", "type")
        return None
    condition = body.get("condition")
    bounds: tuple[tuple[str, float], ...] = ()
    plain = copy.deepcopy(document.value)
    if kind == "absence":
        _check_absence(body, wrong)
        plain["correlation"].update(type="event_count", condition={"gte": 1})
    elif isinstance(condition, dict):
        bounds = _bounds(condition, wrong)
        surplus = [name for name in OPERATORS if name in condition][1:]
        for name in surplus:  # pySigma reads one operator
            del plain["correlation"]["condition"][name]
    if problems:
        return None
    parsed = reader.correlation(Document(document.file, plain, document.marks), problems)
    if parsed is None:
        return None
    counted = getattr(parsed.condition, "fieldref", None) if kind == "value_count" else None
    fields = (counted,) if isinstance(counted, str) else tuple(counted or ())
    if not all(isinstance(name, str) for name in fields):
        wrong("field must be a name or a list of names", "", "condition", "field")
        return None
    rules = tuple(str(reference.reference) for reference in parsed.rules or ())
    return Draft(parsed, kind, rules, bounds, fields, bool(parsed.generate))


def _bounds(condition: dict[str, Any], wrong: Any) -> tuple[tuple[str, float], ...]:
    found = [(name, condition[name]) for name in OPERATORS if name in condition]
    if not found:
        wrong("the condition compares with nothing", f"write one of {', '.join(OPERATORS)} and a number", "condition")
    if len(found) > 2:
        wrong("more than two comparisons", "a range is one lower and one upper bound", "condition")
    for name, number in found:
        if isinstance(number, bool) or not isinstance(number, int | float):
            wrong(f"{name} needs a number", "", "condition", name)
    return tuple(found)


def _check_absence(body: dict[str, Any], wrong: Any) -> None:
    rules = body.get("rules")
    if not isinstance(rules, list) or len(rules) != 2:
        wrong("absence needs two rules", "first what must be followed, then what must follow it", "rules")
    if not body.get("group-by"):
        wrong("absence needs group-by", "name what both events share, with aliases where the fields differ", "group-by")
    if "condition" in body:
        wrong("absence has no condition", "remove it", "condition")


def resolve(
    document: Document,
    item: Draft,
    rules: dict[str, Rule],
    names: dict[str, str],
    later: set[str],
    skipped: set[str],
    problems: list[Problem],
) -> Correlation | None:
    """The correlation with its rules found; None with the problems added (or a rule disabled)."""

    def wrong(message: str, advice: str = "", *path: str | int, level: str = "error") -> None:
        found = document.problem(("correlation", *path), message, advice, "correlation")
        found.level = level
        problems.append(found)

    bases: list[Rule] = []
    for index, reference in enumerate(item.rules):
        if reference in names:
            bases.append(rules[names[reference]])
        elif reference in skipped:
            wrong(f"not loaded: its rule {reference} is disabled", "", "rules", index, level="warning")
        elif reference in later:
            wrong(f"{reference!r} is a correlation", "a correlation's input is a plain rule here", "rules", index)
        else:
            wrong(f"no rule has the id or name {reference!r}", "load its file too, or correct it", "rules", index)
    if problems:
        return None
    aliases: dict[str, dict[str, str]] = {}
    for alias in item.sigma.aliases:
        for reference, name in alias.mapping.items():
            if reference.reference not in names:
                wrong(f"the alias {alias.alias!r} names a rule that is not there", "", "aliases", alias.alias)
            else:
                aliases.setdefault(alias.alias, {})[names[reference.reference]] = str(name)
    for alias_name, mapping in aliases.items():
        missing = [base.meta.name or base.id for base in bases if base.id not in mapping]
        if missing:
            wrong(f"the alias {alias_name!r} lacks a field for {', '.join(missing)}", "", "aliases", alias_name)
    if problems:
        return None
    dataset = next((name for base in bases for name in sorted(base.datasets)), "")
    return Correlation(
        meta=item.meta,
        type=item.type,
        rules=tuple(dict.fromkeys(base.id for base in bases)),
        group_by=tuple(item.sigma.group_by or ()),
        timespan=int(item.sigma.timespan.seconds) * 1_000_000,
        bounds=item.bounds,
        value_fields=item.value_fields,
        aliases=aliases,
        dataset=dataset,
    )
