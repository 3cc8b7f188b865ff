"""Which rules run where: on the stream, or, those deployed with `scope: sector`, in the cluster over the events of all.

Without a cluster, or with one that cannot look for a rule, the stream runs it: nothing is found by neither. Every
daemon of one configuration and one set of rules decides alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from csirt.config import Config, duration
from csirt.detect.rules.ruleset import Ruleset
from csirt.errors import Problem

if TYPE_CHECKING:
    from csirt.detect.rule import Correlation, Rule
    from csirt.model.search import Search

SECTOR = "sector"
KEPT = "[retention]"
NOTHING = 'the cluster gets no events (`content = "none"`)'


@dataclass
class Scope:
    """`running`: the rules as they are deployed. `searches`: what the cluster is asked for, by rule or correlation.
    `refused`: those with `scope: sector` that the stream runs all the same, and why. `since`: up to which event time
    the stream had looked when this was decided."""

    running: Ruleset
    searches: dict[str, Search] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    since: int = 0

    @cached_property
    def streaming(self) -> Ruleset:
        """What the stream runs."""
        if not self.searches:
            return self.running
        return replace(
            self.running,
            rules=[rule for rule in self.running.rules if rule.id not in self.searches],
            correlations=[item for item in self.running.correlations if item.id not in self.searches],
        )

    def item(self, name: str) -> Rule | Correlation | None:
        """A rule or correlation that is in use."""
        return next((one for one in self.running.everything() if one.id == name and one.alerts), None)

    def title(self, name: str) -> str:
        """What people call it."""
        found = self.item(name)
        return found.meta.title if found is not None else name


def scope(loaded: Ruleset, config: Config, *, cluster: bool, since: int = 0) -> Scope:
    """Decide it. `cluster`: whether one follows the store."""
    running = loaded.running
    result = Scope(running, since=since)
    chosen = [item for item in running.everything() if item.alerts and running.deployment.of(item.meta).scope == SECTOR]
    for item in chosen if cluster else ():
        found = looked_for(running, item, config)
        if isinstance(found, str):
            result.refused[item.id] = found
        else:
            result.searches[item.id] = found
    return result


def problems(loaded: Ruleset, config: Config, *, held: bool = False) -> list[Problem]:
    """Warnings for rules with `scope: sector` that the stream runs all the same. `held`: only where what the cluster
    holds is the reason, and not the rule."""
    if config.stores.kind != "elasticsearch":
        return []
    found = []
    decided = scope(loaded, config, cluster=True)
    for name, reason in decided.refused.items():
        item = decided.item(name)
        if item is not None and (not held or reason == NOTHING or reason.startswith(KEPT)):
            deployed = loaded.deployment.of(item.meta)
            message = f"{item.meta.title!r} has `scope: sector` and runs on the stream: {reason}"
            found.append(Problem(deployed.file, deployed.line, message, level="warning", check="sector"))
    return found


def looked_for(running: Ruleset, item: Rule | Correlation, config: Config) -> Search | str:
    """What the cluster is asked for a rule, or why it cannot look for it."""
    from csirt.detect.sector import candidates
    from csirt.stores.elastic.events import mapping

    if config.stores.elasticsearch.content == "none":
        return NOTHING
    try:
        search = candidates.search(running, item, mapping.kinds())
    except candidates.Refused as error:
        return error.message
    kept, dataset = min((kept_for(config, name), name) for name in search.datasets)
    needed = search.timespan + duration(config.detect.lateness) + duration(config.detect.sector_every)
    return f"{KEPT} {dataset} is shorter than its timespan" if needed > kept else search


def kept_for(config: Config, dataset: str) -> int:
    """How long the cluster keeps events, in microseconds."""
    from csirt.stores.embedded.retention import kept_for as kept

    return kept(config.retention, dataset)
