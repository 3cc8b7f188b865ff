"""Rules and correlations that were read, and what was wrong with those that were not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from csirt import ids
from csirt.content import Document, parse_yaml
from csirt.detect.rule import Correlation, Meta, Rule
from csirt.detect.rules import chain
from csirt.detect.rules.deploy import Deployment
from csirt.errors import Problem

if TYPE_CHECKING:
    from sigma.filters import SigmaFilter
    from sigma.rule import SigmaRule

# Where a document is: its file, and the how manieth in it.
Place = tuple[str, int]
Part = TypeVar("Part", Rule, Correlation)


@dataclass
class Ruleset:
    """Rules and correlations that can run, and what was wrong with those that cannot.

    `refused` counts documents that are not rules now because of an error. `places`: where the document of each rule is,
    by id; `filters`: where those of filters are; `texts`: the files. `placeholders` and `mapped`: what rules were
    compiled with, for `parsed`.
    """

    rules: list[Rule] = field(default_factory=list)
    correlations: list[Correlation] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    refused: int = 0
    places: dict[str, Place] = field(default_factory=dict)
    filters: list[Place] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict, repr=False)
    placeholders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mapped: bool = True
    deployment: Deployment = field(default_factory=Deployment)
    opened: dict[str, list[Document]] = field(default_factory=dict, repr=False)  # files that were looked into

    def digest(self) -> str:
        """What runs, as a short text: the same where the same rules are deployed alike, wherever their files are."""
        texts = {name: ids.digest(raw) for name, raw in self.texts.items()}
        lines = [
            f"{item.id} {self.deployment.of(item.meta).state} {texts.get(self.places[item.id][0], '')}"
            for item in self.everything()
        ]
        lines += [texts.get(name, "") for name, _ in self.filters]
        return ids.digest(*sorted(lines), size=8)

    def document(self, rule_id: str) -> Document:
        """The source of a loaded rule or correlation."""
        return self._document(self.places[rule_id])

    def _document(self, place: Place) -> Document:
        name, index = place
        if name not in self.opened:
            self.opened[name] = parse_yaml(self.texts[name], name)
        return self.opened[name][index]

    def parsed(self, rule: Rule) -> SigmaRule:
        """A loaded rule as pySigma reads it, as it was compiled: filters applied, fields mapped."""
        from csirt.detect.rules import mapping
        from csirt.detect.rules import sigma as reader

        problems: list[Problem] = []
        found = reader.rule(self.document(rule.id), problems)
        assert found is not None, problems
        for place in self.filters:
            item: SigmaFilter | None = reader.filter_(self._document(place), problems)
            assert item is not None, problems
            item.apply_on_rule(found)
        if self.mapped:
            mapping.apply(found)
        return found

    def meta(self, rule_id: str) -> Meta | None:
        """The rule or correlation of that id, what both share."""
        return next((item.meta for item in self.everything() if item.id == rule_id), None)

    @cached_property
    def running(self) -> Ruleset:
        """What really runs, as it is deployed: rules that are off only where a correlation that is not needs them."""
        states = {item.id: self.deployment.of(item.meta).state for item in self.everything()}
        needed = {item.id for item in self.everything() if item.alerts and states[item.id] != "off"}
        for item in reversed(chain.in_order(self.correlations)):
            needed.update(item.rules if item.id in needed else ())

        def deployed(item: Part) -> Part:
            state = states[item.id]
            meta = replace(item.meta, shadow=state == "shadow")
            return replace(item, meta=meta, alerts=item.alerts and state != "off")

        return replace(
            self,
            rules=[deployed(rule) for rule in self.rules if rule.id in needed],
            correlations=[deployed(item) for item in self.correlations if item.id in needed],
        )

    def everything(self) -> list[Rule | Correlation]:
        """Rules, then correlations."""
        return [*self.rules, *self.correlations]
