"""Named checks of a ruleset that loads: what an author should know before a rule is switched on."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from csirt.content import folder, read_yaml
from csirt.detect.atoms import leaves, plans, simplify
from csirt.detect.authors import examples
from csirt.detect.columns.frame import fields
from csirt.detect.rule import Correlation, Rule
from csirt.detect.rules import chain, deploy
from csirt.detect.rules.files import PIPELINES
from csirt.detect.rules.ruleset import Ruleset
from csirt.errors import Problem


def ruleset(
    loaded: Ruleset,
    files: Sequence[Path],
    *,
    now: int = 0,
    tested: bool = True,
    searched: Callable[[], Mapping[str, str]] = dict,
) -> list[Problem]:
    """All problems of the rules: those of loading, then every check. `now`: whether exemptions have ended. `tested`:
    want examples of both kinds. `searched`: the fields that a cluster's queries may name, and the type of each."""
    problems = list(loaded.problems)
    for rule in loaded.rules:
        problems += _rule(loaded, rule)
    for item in loaded.correlations:
        problems += _correlation(loaded, item)
    problems += [*_exemptions(loaded), *deploy.ended(loaded.deployment, now), *_sector(loaded, searched)]
    if tested:
        outcomes, unreadable = examples.run(loaded, files)
        problems += unreadable
        problems += _examples(loaded, files, outcomes)
    return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column, problem.message))


def _exemptions(loaded: Ruleset) -> Iterator[Problem]:
    """Exemptions over fields that no event of their rule has: they exempt nothing."""
    datasets = {rule.id: rule.datasets for rule in loaded.rules}
    for item in loaded.deployment.exemptions:
        for base, node in item.conditions:
            known = frozenset().union(*(fields(dataset) for dataset in datasets[base]))
            for name in sorted({atom.field for atom in leaves(node) if atom.field} - known):
                near = difflib.get_close_matches(name, sorted(known), 1)
                advice = f"did you mean {near[0]!r}?" if near else "docs/rule-authors.md names the fields"
                message = f"no event of the rule has the field {name!r}"
                yield Problem(item.file, item.line, message, advice=advice, check="exemption")


def _sector(loaded: Ruleset, searched: Callable[[], Mapping[str, str]]) -> Iterator[Problem]:
    """Rules that must see the whole sector and that no cluster can look for."""
    chosen = [item for item in loaded.everything() if loaded.deployment.of(item.meta).scope == "sector"]
    if not chosen:
        return
    from csirt.detect.sector import candidates

    kinds = searched()
    for item in chosen:
        try:
            candidates.search(loaded, item, kinds)
        except candidates.Refused as error:
            deployed = loaded.deployment.of(item.meta)
            message = f"{item.meta.title!r} cannot be `scope: sector`: {error.message}"
            advice = "leave `scope` out: the stream looks for it, as it does now"
            yield Problem(deployed.file, deployed.line, message, advice=advice, check="sector")


def _at(
    loaded: Ruleset,
    rule: Rule | Correlation,
    path: tuple[str | int, ...],
    message: str,
    advice: str,
    name: str,
    level: str = "warning",
) -> Problem:
    problem = loaded.document(rule.id).problem(path, message, advice, name)
    problem.level = level
    return problem


def _rule(loaded: Ruleset, rule: Rule) -> Iterator[Problem]:
    raw = loaded.document(rule.id).value
    if not raw.get("id"):
        yield _at(loaded, rule, (), "no id", "add `id:` with a random UUID", "id")
    if not raw.get("level"):
        yield _at(loaded, rule, (), "no level: taken as medium", "add `level:`", "level")
    if not rule.datasets:
        yield _at(loaded, rule, ("logsource",), f"never matches: {rule.unrouted}", "", "logsource")
        return
    yield from _fields(loaded, rule, sorted({atom.field for atom in leaves(rule.condition) if atom.field}), "field")
    yield from _in_part(loaded, rule)
    yield from _fields(loaded, rule, list(rule.meta.custom.group_by or ()), "group-by", ("csirt", "group-by"))
    yield from _fields(loaded, rule, list(rule.meta.custom.facts or ()), "facts", ("csirt", "facts"))
    if not plans(simplify(rule.condition))[0].witnesses:
        message = "no test in it narrows the events down: every event is looked at"
        yield _at(loaded, rule, ("detection", "condition"), message, "add a field with a value that is rare", "cost")
    for atom in leaves(rule.condition):
        if atom.kind == "re" and str(atom.argument).lstrip("(?ims)").startswith(".*"):
            message = f"the regular expression for {atom.field} begins with .*"
            yield _at(loaded, rule, ("detection",), message, "leave it out: a match is found anywhere", "cost")


def _fields(
    loaded: Ruleset, rule: Rule, names: Sequence[str], check: str, path: tuple[str, ...] = ("detection",)
) -> Iterator[Problem]:
    """Names that no source fills in any dataset of the rule."""
    known = frozenset().union(*(fields(dataset) for dataset in rule.datasets))
    document = loaded.document(rule.id)
    for name in names:
        if name in known or name.startswith("netflow."):
            continue
        where = next((mark for mark in document.marks if _names(mark, name)), path)
        near = difflib.get_close_matches(name, sorted(known), 1)
        datasets = ", ".join(sorted(rule.datasets))
        if not known:
            yield _at(loaded, rule, ("logsource",), f"no source makes {datasets} events yet", "", "logsource")
            return
        advice = f"did you mean {near[0]}?" if near else "docs/rule-authors.md names the fields"
        yield _at(loaded, rule, where, f"no source fills {name!r} in {datasets}", advice, check)


def _in_part(loaded: Ruleset, rule: Rule) -> Iterator[Problem]:
    """Fields of SigmaHQ's of which the schema has a part only."""
    product = (loaded.document(rule.id).value.get("logsource") or {}).get("product")
    for mark in loaded.document(rule.id).marks if loaded.mapped and product != "csirt" else ():
        said = _part_fields().get(str(mark[-1]).split("|")[0]) if mark[:1] == ("detection",) else None
        if said is not None:
            name = str(mark[-1]).split("|")[0]
            yield _at(loaded, rule, mark, f"{name!r} is {said}", "what lies outside cannot match", "mapping")


@cache
def _part_fields() -> Mapping[str, str]:
    """Fields of SigmaHQ's that the schema has a part of: which, in words (`vars` of the pipeline of fields)."""
    found: Mapping[str, str] = read_yaml(folder("rules") / PIPELINES / "csirt.yaml")[0].value["vars"]["csirt_in_part"]
    return found


def _names(mark: tuple[str | int, ...], name: str) -> bool:
    return mark[:1] == ("detection",) and str(mark[-1]).split("|")[0] == name


def _correlation(loaded: Ruleset, item: Correlation) -> Iterator[Problem]:
    rules = {rule.id: rule for rule in loaded.rules}
    inner = {one.id: one for one in loaded.correlations}
    for base in item.rules:
        names = [*(field for _, field in item.fields(base)), *item.value_fields]
        if item.beacon is not None and item.beacon.field:
            names.append(item.beacon.field)
        if item.hours is not None and item.hours.field and base == item.rules[0]:
            names.append(item.hours.field)
        if base in inner:
            yield from _of_alerts(loaded, item, inner[base], names)
            continue
        rule = rules[base]
        if not rule.datasets:
            message = f"never fires: {rule.meta.title!r} never matches ({rule.unrouted})"
            yield _at(loaded, item, ("correlation", "rules"), message, "", "logsource")
            continue
        known = frozenset().union(*(fields(dataset) for dataset in rule.datasets))
        for name in names:
            if known and name not in known and not name.startswith("netflow."):
                message = f"{rule.meta.title!r} has no field {name!r}"
                yield _at(loaded, item, ("correlation",), message, "name a field of its dataset", "field")
    if any(operator in ("lt", "lte", "eq", "neq") for operator, _ in item.bounds) and not any(
        operator in ("gt", "gte") for operator, _ in item.bounds
    ):
        message = "a condition without a lower bound fires at the first event of every group"
        advice = "windows are counted when an event comes; use `absence` for what does not come"
        yield _at(loaded, item, ("correlation", "condition"), message, advice, "condition")


def _of_alerts(loaded: Ruleset, item: Correlation, inner: Correlation, names: Sequence[str]) -> Iterator[Problem]:
    """Names that an alert of `inner` does not say."""
    custom = inner.meta.custom
    known = {*inner.group_by, *chain.FIELDS, *(custom.group_by or ()), *(custom.facts or ())}
    for name in names:
        if name not in known:
            message = f"alerts of {inner.meta.title!r} have no field {name!r}"
            advice = "name a field of its group-by, or of csirt.facts"
            yield _at(loaded, item, ("correlation",), message, advice, "field")


def _examples(loaded: Ruleset, files: Sequence[Path], outcomes: Sequence[examples.Outcome]) -> Iterator[Problem]:
    """Failed examples, and rules that alert without an example of each kind."""
    for outcome in outcomes:
        if not outcome.passed:
            yield Problem(outcome.file, outcome.line, f"{outcome.name}: {outcome.message}", check="test")
    names = {str(path) for path in files}
    for item in loaded.everything():
        if item.meta.file not in names or not item.alerts or (isinstance(item, Rule) and not item.datasets):
            continue
        kinds = {outcome.positive for outcome in outcomes if outcome.rule == item.id}
        for positive, what in ((True, "shows that it matches"), (False, "shows what it leaves alone")):
            if positive not in kinds:
                advice = f"write one into {Path(item.meta.file).with_suffix('.test.yaml').name} beside it"
                yield _at(loaded, item, (), f"no example {what}", advice, "test", "error")
