"""Who consumes the matches of a rule: its own alerts, and the correlations it feeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from csirt.detect.rule import DEFAULT_GROUP_BY, FACTS, GROUP_BY, Correlation, Rule
from csirt.model import tlp


@dataclass(frozen=True, slots=True)
class Stream:
    """A consumer of a rule's matches. `group`: (name in the group, field). `value`: fields whose joint text is counted
    or paired, or, where `numeric`, whose number is added up; rows without one are not hits. `facts`: fields shown to
    people. `number`: a field whose number is asked for beside the value; rows without one are not hits either.
    `baseline`: whose buckets the rows are condensed to. `counted`: nothing but their time and group is asked
    for, as of what a ratio divides by, which may be every event there is. `mark`: stands in front of the name in the
    hits."""

    name: str
    rule: str
    group: tuple[tuple[str, str], ...]
    value: tuple[str, ...]
    facts: tuple[str, ...]
    numeric: bool = False
    baseline: Correlation | None = None
    counted: bool = False
    number: str = ""
    mark: str = ""

    @property
    def owner(self) -> str:
        """The id of the rule or correlation whose alerts come of it, or the name that all have who divide by it."""
        return self.name.partition("/")[0]


def streams(rule: Rule, correlations: Sequence[Correlation], dataset: str) -> list[Stream]:
    """Who consumes the matches of a rule in a dataset: its own alerts, and every correlation it feeds."""
    result: list[Stream] = []
    facts = rule.meta.custom.facts if rule.meta.custom.facts is not None else FACTS.get(dataset, ())
    own = rule.meta.custom.group_by
    plain = own if own is not None else GROUP_BY.get(dataset, DEFAULT_GROUP_BY)
    if rule.alerts:
        result.append(Stream(rule.id, rule.id, tuple((name, name) for name in plain), (), _labelled(facts)))
    for item in correlations:
        if rule.id not in item.rules:
            continue
        custom = item.meta.custom
        counted = item.divides_by(rule.id)
        group, value = item.fields(rule.id), () if counted else item.value_fields
        if item.type == "absence":
            value = tuple(name for _, name in group)
            names = custom.group_by if custom.group_by is not None else plain
            if item.hours is not None and item.hours.field:  # an alert is of one calendar
                names = tuple(dict.fromkeys((*names, item.hours.field)))
            group = tuple((name, name) for name in names)
        shown = custom.facts if custom.facts is not None else facts
        name = item.stream(rule.id)
        if any(known.name == name for known in result):
            continue
        baseline = item if item.baseline else None
        number = item.beacon.field if item.beacon else ""
        result.append(Stream(name, rule.id, group, value, _labelled(shown), item.numeric, baseline, counted, number))
    return result


def _labelled(facts: tuple[str, ...]) -> tuple[str, ...]:
    """Facts with the label of an indicator that the event meets: who may be told hangs on it, whatever the rule."""
    return facts if tlp.FIELD in facts else (*facts, tlp.FIELD)
