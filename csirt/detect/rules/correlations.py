"""Correlation documents: Sigma's, read by pySigma, and our own types, which it never sees as such.

A condition may have two operators (a range), which pySigma 1.5 does not read. Own types: `absence` (the first rule's
event was not followed by one of the second rule with the same group-by values within the timespan), `ratio` (events of
the first rule divided by events of the second in the window), `baseline` (see `history.py`) and `beacon` (see
`beacon.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionItem,
    CorrelationConditionNOT,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)

from csirt.content import Document
from csirt.detect.rule import NUMERIC, Beacon, Correlation, Expression, History, Meta, OpenHours, Rule
from csirt.detect.rules import beacon, history
from csirt.detect.rules import sigma as reader
from csirt.errors import Problem
from csirt.model import calendar
from csirt.model import hours as hours_

SIGMA = ("event_count", "value_count", "temporal", "temporal_ordered", *NUMERIC)
OWN = ("absence", "baseline", "beacon", "ratio")
TYPES = (*SIGMA, *OWN)
OPERATORS = ("lt", "lte", "gt", "gte", "eq", "neq")
MAX_RULES = 48  # which of them have an event is one number
MAX_DEPTH = 16  # of correlations built on correlations
_NOWHERE = Meta("", "", "", "medium", "", "", 1)
Wrong = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Draft:
    """A correlation whose rule references are still names."""

    sigma: Any
    type: str
    rules: tuple[str, ...]
    bounds: tuple[tuple[str, float], ...]
    value_fields: tuple[str, ...]
    generate: bool
    share: float = 0.5
    at_least: float = 0.0
    baseline: History | None = None
    hours: OpenHours | None = None
    beacon: Beacon | None = None
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
    if isinstance(condition, str) and kind != "temporal":
        wrong("a condition over rules is for `temporal`", "write a comparison, such as `gte: 10`", "condition")
    bounds: tuple[tuple[str, float], ...] = ()
    baseline = history.read(body, wrong) if kind == "baseline" else None
    calls = beacon.read(body, wrong) if kind == "beacon" else None
    if kind not in ("absence", "baseline", "beacon") and isinstance(condition, dict):
        bounds = _bounds(condition, wrong)
    _CHECKS.get(kind, _nothing)(body, wrong)
    hours = _open_hours(body, kind, wrong)
    fields = _fields(kind, condition, wrong)
    if problems:
        return None
    parsed = reader.correlation(Document(document.file, _plain(document.value, kind), document.marks), problems)
    if parsed is None:
        return None
    references = [str(item.reference) for item in parsed.rules or ()]
    if isinstance(parsed.condition, SigmaExtendedCorrelationCondition):
        references = references or parsed.condition.get_referenced_rules()
    elif kind.startswith("temporal") and not bounds:
        bounds = (("gte", len(set(references))),)
    numbers = condition if isinstance(condition, dict) else {}
    if calls is not None and calls.session:
        fields = (calls.session,)
    return Draft(
        sigma=parsed,
        type=kind,
        rules=tuple(references),
        bounds=bounds,
        value_fields=fields,
        generate=bool(parsed.generate),
        share=float(numbers.get("percentile", 50)) / 100,
        at_least=float(numbers.get("at-least", 0)),
        baseline=baseline,
        hours=hours,
        beacon=calls,
    )


def _plain(value: dict[str, Any], kind: str) -> dict[str, Any]:
    """The document as pySigma reads it: one operator, and a type it knows."""
    plain = copy.deepcopy(value)
    if kind in OWN:
        plain["correlation"].update(type="event_count", condition={"gte": 1})
        plain["correlation"].pop("open-hours", None)
    elif isinstance(plain["correlation"].get("condition"), dict):
        condition = plain["correlation"]["condition"]
        for name in [name for name in OPERATORS if name in condition][1:]:
            del condition[name]
    return plain


def _bounds(condition: dict[str, Any], wrong: Wrong) -> tuple[tuple[str, float], ...]:
    found = [(name, condition[name]) for name in OPERATORS if name in condition]
    if not found:
        wrong("the condition compares with nothing", f"write one of {', '.join(OPERATORS)} and a number", "condition")
    if len(found) > 2:
        wrong("more than two comparisons", "a range is one lower and one upper bound", "condition")
    for name, number in found:
        if not _is_number(number):
            wrong(f"{name} needs a number", "", "condition", name)
    return tuple(found)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) < 1e300


def _fields(kind: str, condition: Any, wrong: Wrong) -> tuple[str, ...]:
    """What the condition's `field` names."""
    if kind not in ("value_count", "ratio", "baseline", *NUMERIC):
        return ()
    named = condition.get("field") if isinstance(condition, dict) else None
    names = [named] if isinstance(named, str) else named
    measure = condition.get("measure") if isinstance(condition, dict) else None
    if kind == "baseline" and measure not in ("sum", "distinct", "ratio"):
        if named is not None:
            wrong(f"the measure {measure!r} has no field", "remove it", "condition", "field")
        return ()
    if "ratio" in (kind, measure) and named is None:
        return ()
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        wrong(f"{kind} needs a field", "name it in the condition: `field: destination.ip`", "condition", "field")
        return ()
    if (kind in NUMERIC or measure in ("sum", "ratio")) and len(names) > 1:
        wrong(f"{kind} takes one field", "", "condition", "field")
    return tuple(dict.fromkeys(names))


def _nothing(body: dict[str, Any], wrong: Wrong) -> None:
    return None


def _check_absence(body: dict[str, Any], wrong: Wrong) -> None:
    rules = body.get("rules")
    if not isinstance(rules, list) or len(rules) != 2:
        wrong("absence needs two rules", "first what must be followed, then what must follow it", "rules")
    if not body.get("group-by"):
        wrong("absence needs group-by", "name what both events share, with aliases where the fields differ", "group-by")
    if "condition" in body:
        wrong("absence has no condition", "remove it", "condition")


def _open_hours(body: dict[str, Any], kind: str, wrong: Wrong) -> OpenHours | None:
    if "open-hours" not in body:
        return None
    said = body["open-hours"]
    if kind != "absence":
        wrong(f"{kind} does not wait for anybody", "`open-hours` is for absence", "open-hours")
        return None
    if not isinstance(said, dict):
        wrong("open-hours must be a mapping", "known keys: field, otherwise, holidays", "open-hours")
        return None
    for key in said:
        if key not in ("field", "otherwise", "holidays"):
            wrong(f"unknown key {key!r}", "known: field, otherwise, holidays", "open-hours", str(key))
    field_, otherwise, holidays = (str(said.get(key) or "") for key in ("field", "otherwise", "holidays"))
    if not field_ and not otherwise:
        wrong("open-hours of nobody", "name the field that says them, or write `otherwise: mon-fri 08:00-15:30`",
              "open-hours")  # fmt: skip
    if holidays not in calendar.HOLIDAYS:
        wrong(f"the holidays of {holidays!r} are not known", "there is `norway`", "open-hours", "holidays")
    try:
        hours_.parse(otherwise or hours_.ALWAYS)
    except ValueError as error:
        wrong(str(error), "", "open-hours", "otherwise")
    return OpenHours(field_, otherwise or hours_.ALWAYS, holidays)


def _check_ratio(body: dict[str, Any], wrong: Wrong) -> None:
    rules = body.get("rules")
    if not isinstance(rules, list) or len(rules) != 2:
        wrong("ratio needs two rules", "first what is counted, then what it is divided by", "rules")
    elif rules[0] == rules[1]:
        wrong("ratio divides a rule by itself", "first what is counted, then what it is divided by", "rules")
    condition = body.get("condition")
    if not isinstance(condition, dict):
        wrong("ratio needs a condition", "such as `gt: 0.8`", "condition")
        return
    for name in condition:
        if name not in (*OPERATORS, "field", "at-least"):
            wrong(f"unknown key {name!r}", "known: a comparison, field, at-least", "condition", str(name))
    if not _is_number(condition.get("at-least", 0)):
        wrong("at-least needs a number", "", "condition", "at-least")


def _check_percentile(body: dict[str, Any], wrong: Wrong) -> None:
    condition = body.get("condition")
    share = condition.get("percentile") if isinstance(condition, dict) else None
    if not _is_number(share) or not 0 <= share <= 100:  # type: ignore[operator]
        wrong("value_percentile needs `percentile`, from 0 to 100", "", "condition", "percentile")


def _check_ordered(body: dict[str, Any], wrong: Wrong) -> None:
    rules = body.get("rules")
    names = [str(name) for name in rules] if isinstance(rules, list) else []
    if len(set(names)) != len(names):
        wrong("temporal_ordered names a rule twice", "every step is another rule", "rules")
    if "condition" in body and body["condition"] != {"gte": len(names)}:
        wrong("temporal_ordered wants all its rules in order", "remove the condition, or use temporal", "condition")


_CHECKS: dict[str, Callable[[dict[str, Any], Wrong], None]] = {
    "absence": _check_absence,
    "ratio": _check_ratio,
    "value_percentile": _check_percentile,
    "temporal_ordered": _check_ordered,
}


def resolve(
    document: Document,
    item: Draft,
    known: Mapping[str, Rule | Correlation],
    skipped: set[str],
    problems: list[Problem],
) -> Correlation | None:
    """The correlation with its rules found among `known` (by id and by name); None with the problems added (or a rule
    disabled)."""

    def wrong(message: str, advice: str = "", *path: str | int, level: str = "error") -> None:
        found = document.problem(("correlation", *path), message, advice, "correlation")
        found.level = level
        problems.append(found)

    bases: list[Rule | Correlation] = []
    for index, reference in enumerate(item.rules):
        if reference in known:
            bases.append(known[reference])
            if isinstance(bases[-1], Correlation) and item.type in OWN:
                wrong(f"{reference!r} is a correlation", f"{item.type} is built on plain rules", "rules", index)
        elif reference in skipped:
            wrong(f"not loaded: its rule {reference} is disabled", "", "rules", index, level="warning")
        else:
            wrong(f"no rule has the id or name {reference!r}", "load its file too, or correct it", "rules", index)
    if len(bases) > MAX_RULES:
        wrong(f"more than {MAX_RULES} rules", "split it, and build one correlation on the parts", "rules")
    if problems:
        return None
    aliases = _aliases(item, known, bases, wrong)
    rules = tuple(dict.fromkeys(base.id for base in bases))
    expression = _expression(item, known, rules, wrong)
    if problems:
        return None
    datasets = [sorted(base.datasets) if isinstance(base, Rule) else [base.dataset] for base in bases]
    return Correlation(
        meta=item.meta,
        type=item.type,
        rules=rules,
        group_by=tuple(item.sigma.group_by or ()),
        timespan=int(item.sigma.timespan.seconds) * 1_000_000,
        bounds=item.bounds,
        value_fields=item.value_fields,
        aliases=aliases,
        dataset=next((name for names in datasets for name in names), ""),
        expression=expression,
        share=item.share,
        at_least=item.at_least,
        baseline=item.baseline,
        hours=item.hours,
        beacon=item.beacon,
    )


def _aliases(
    item: Draft, known: Mapping[str, Rule | Correlation], bases: list[Rule | Correlation], wrong: Wrong
) -> dict[str, dict[str, str]]:
    aliases: dict[str, dict[str, str]] = {}
    for alias in item.sigma.aliases:
        for reference, name in alias.mapping.items():
            if reference.reference not in known:
                wrong(f"the alias {alias.alias!r} names a rule that is not there", "", "aliases", alias.alias)
            else:
                aliases.setdefault(alias.alias, {})[known[reference.reference].id] = str(name)
    for alias_name, mapping in aliases.items():
        missing = [base.meta.name or base.id for base in bases if base.id not in mapping]
        if missing:
            wrong(f"the alias {alias_name!r} lacks a field for {', '.join(missing)}", "", "aliases", alias_name)
    return aliases


def _expression(
    item: Draft, known: Mapping[str, Rule | Correlation], rules: tuple[str, ...], wrong: Wrong
) -> Expression | None:
    """The boolean condition over the places of the rules."""
    condition = item.sigma.condition
    if item.type != "temporal" or not isinstance(condition, SigmaExtendedCorrelationCondition):
        return None

    def place(node: CorrelationConditionItem | SigmaRuleReference) -> Expression:
        if isinstance(node, SigmaRuleReference):
            found = known.get(node.reference)
            if found is None or found.id not in rules:
                wrong(f"the condition names {node.reference!r}, which `rules` does not", "", "condition")
                return 0
            return rules.index(found.id)
        operator = "or"
        if isinstance(node, CorrelationConditionNOT):
            operator = "not"
        elif isinstance(node, CorrelationConditionAND):
            operator = "and"
        return operator, tuple(place(argument) for argument in node.args)

    return place(condition.parsed)
