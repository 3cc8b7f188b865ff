"""What a rule file becomes: rules and correlations as plain values, without pySigma's objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from csirt import ids
from csirt.detect.atoms import Node
from csirt.model.severity import Severity

# Alerts of a dataset are grouped by these fields unless the rule says otherwise.
GROUP_BY: dict[str, tuple[str, ...]] = {
    "mail": ("source.ip",),
    "edi": ("csirt.edi.her_from", "csirt.edi.her_to"),
    "self": ("csirt.self.subject",),
}
DEFAULT_GROUP_BY = ("source.ip",)
# Facts shown to people unless the rule says otherwise.
FACTS: dict[str, tuple[str, ...]] = {
    "flow": ("destination.port", "network.transport"),
    "dns": ("dns.question.name", "dns.response_code"),
    "tls": ("tls.client.server_name",),
    "http": ("url.domain", "http.request.method"),
    "mail": ("csirt.mail.status", "csirt.mail.reason", "csirt.mail.to.domain"),
    "edi": ("csirt.edi.action", "csirt.edi.status"),
    "self": ("event.action",),
}
HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Custom:
    """A rule's attributes under `csirt:`. `group_by`, `facts` None: the dataset's defaults. `timespan`, microseconds:
    how long without a hit ends an alert. `tell`: who is told (CSIRT, NO, member, EDI, …)."""

    rsit: str = ""
    playbook: str = ""
    group_by: tuple[str, ...] | None = None
    timespan: int = HOUR
    tell: tuple[str, ...] = ()
    clinical: bool = False
    facts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Meta:
    """What rules and correlations share, for alerts and for people. `shadow`: it is deployed so that its alerts are
    recorded and nobody is told."""

    id: str
    title: str
    name: str
    level: Severity
    status: str
    file: str
    line: int
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    references: tuple[str, ...] = ()
    tactics: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    custom: Custom = field(default_factory=Custom)
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A Sigma rule. `datasets`: whose rows it sees; empty: never matched, `unrouted` says why. `alerts`: whether its
    matches are alerts of their own, or only the input of correlations."""

    meta: Meta
    condition: Node
    datasets: frozenset[str]
    unrouted: str = ""
    alerts: bool = True

    @property
    def id(self) -> str:
        """The rule's id."""
        return self.meta.id


# A boolean condition over rules: the index of one, or an operator (and, or, not) with what it combines.
Expression = int | tuple[str, tuple[Any, ...]]
# The types whose field is a number.
NUMERIC = ("value_sum", "value_avg", "value_percentile", "value_median")


@dataclass(frozen=True, slots=True)
class Limit:
    """How far from its history a value may be: a quantile of it, or the median and so many times the median absolute
    deviation; multiplied by `times`. Or `value`, whatever was before."""

    quantile: float = 0.0
    deviations: float | None = None
    times: float = 1.0
    value: float | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What a `baseline` measures (count, sum, distinct, ratio) and compares with: see docs/rule-authors.md. `history`
    and `keep` in microseconds; `new`: the group-by name whose history decides whether a group is new, which it is for
    `new_for` microseconds after it was first seen. `enough`: what the events of a ratio's first rule come to at least.
    `in_a_row`: how many buckets of a group must follow each other."""

    measure: str
    season: str
    timezone: str
    history: int
    keep: int
    above: Limit | None = None
    below: Limit | None = None
    at_least: float = 0.0
    expected: float = 0.0
    new: str = ""
    new_for: int = 0
    enough: float = 0.0
    in_a_row: int = 1

    @property
    def learns(self) -> bool:
        """Whether what is measured is compared with what was measured before."""
        return any(limit is not None and limit.value is None for limit in (self.above, self.below))


@dataclass(frozen=True, slots=True)
class Beacon:
    """What a `beacon` looks for: the last `contacts` of a group at even intervals, whose standard deviation is less
    than `jitter` of their mean, and, where a `field` adds up, of even size, by `spread`. `session`: events that follow
    each other with one value of it are one contact. `members`: how many of them may speak with the target at most
    within `keep` microseconds, once that is known for `history`; None: that is not asked."""

    contacts: int
    jitter: float
    field: str = ""
    spread: float | None = None
    session: str = ""
    members: int | None = None
    keep: int = 0
    history: int = 0


@dataclass(frozen=True, slots=True)
class OpenHours:
    """Whose clock an `absence` counts by: the hours that `field` of the first rule's event says, else `otherwise`
    (`model/calendar.py`); `holidays`: a country whose public holidays are closed, or empty."""

    field: str
    otherwise: str
    holidays: str


@dataclass(frozen=True, slots=True)
class Correlation:
    """A Sigma correlation, or one of our own types.

    `rules`: ids of the rules and correlations it is built on; for `absence` what must be followed and what must follow
    it. `group_by`: names, each a field or an alias; `aliases`: name -> rule id -> field. `timespan` in microseconds.
    `bounds`: (operator, number) pairs that must all hold; `expression`: or this, over `rules`. `value_fields`: what is
    counted, jointly, or the number that is added up or ranked. `share`: which quantile. `at_least`: how much a ratio
    needs before it is one. `alerts`: whether its alerts are shown, or only the input of others.
    """

    meta: Meta
    type: str
    rules: tuple[str, ...]
    group_by: tuple[str, ...]
    timespan: int
    bounds: tuple[tuple[str, float], ...] = ()
    value_fields: tuple[str, ...] = ()
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    dataset: str = ""
    expression: Expression | None = None
    share: float = 0.5
    at_least: float = 0.0
    alerts: bool = True
    baseline: History | None = None
    hours: OpenHours | None = None
    beacon: Beacon | None = None

    @property
    def id(self) -> str:
        """The correlation's id."""
        return self.meta.id

    @property
    def numeric(self) -> bool:
        """Whether its field is a number."""
        if self.baseline is not None:
            return self.baseline.measure == "sum" or (self.baseline.measure == "ratio" and bool(self.value_fields))
        return self.type in NUMERIC

    def fields(self, rule: str) -> tuple[tuple[str, str], ...]:
        """(name in the group, field of that rule's events) for each group-by name."""
        return tuple((name, self.aliases.get(name, {}).get(rule, name)) for name in self.group_by)

    def divides_by(self, rule: str) -> bool:
        """Whether it only counts the events of that rule, to divide by."""
        return self.type == "ratio" and rule != self.rules[0]

    def stream(self, rule: str) -> str:
        """The name of its input by that rule: its own, but what is divided by is one input of all that do so. Most of
        what may be contacts of a beacon is of no interest, and stays here."""
        owner = ids.digest("divided", str(self.fields(rule))) if self.divides_by(rule) else self.id
        return f"{owner}/{rule}{ids.LAKE_ONLY if self.beacon else ''}"


_TECHNIQUE = re.compile(r"t\d{4}(\.\d{3})?")


def attack(tags: list[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(tactics, techniques) of `attack.*` tags, techniques in capitals; groups and software are neither."""
    names = [str(tag)[len("attack.") :] for tag in tags if str(tag).startswith("attack.")]
    techniques = tuple(name.upper() for name in names if _TECHNIQUE.fullmatch(name))
    tactics = tuple(name.replace("_", "-") for name in names if not re.match(r"(t|g|s|ta)\d", name))
    return tactics, techniques
