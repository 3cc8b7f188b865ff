"""Rules as JSON items, for lists and completion; the rule that somebody means."""

from __future__ import annotations

from typing import Any

from csirt.clock import iso
from csirt.detect.rule import Correlation, Rule
from csirt.detect.rules import chain
from csirt.detect.rules.deploy import code
from csirt.detect.rules.ruleset import Ruleset
from csirt.errors import NotFound, Usage


def items(ruleset: Ruleset) -> list[dict[str, Any]]:
    """Every rule and correlation, by title."""
    datasets = {rule.id: sorted(rule.datasets) for rule in ruleset.rules}
    result = [_item(rule, "rule", datasets[rule.id]) | {"alerts": rule.alerts} for rule in ruleset.rules]
    for item in chain.in_order(ruleset.correlations):
        datasets[item.id] = sorted({name for base in item.rules for name in datasets[base]})
        result.append(_item(item, item.type, datasets[item.id]) | {"alerts": item.alerts, "rules": list(item.rules)})
    metas = {item.id: item.meta for item in ruleset.everything()}
    for row in result:
        deployed = ruleset.deployment.of(metas[row["id"]])
        since = None if deployed.since is None else iso(deployed.since)
        row |= {"state": deployed.state, "scope": deployed.scope, "since": since}
    return sorted(result, key=lambda item: (item["title"], item["id"]))


def pick(ruleset: Ruleset, name: str) -> Rule | Correlation:
    """The rule whose name, title or code (`net-01`) that is, or whose id begins so. Raises Usage when several are
    meant, NotFound when none is."""
    wanted = name.strip().lower()
    found = [
        item
        for item in ruleset.everything()
        if wanted in (item.id.lower(), item.meta.name.lower(), item.meta.title.lower(), code(item.meta.title))
    ] or [item for item in ruleset.everything() if len(wanted) >= 4 and item.id.lower().startswith(wanted)]
    if not found:
        raise NotFound(f"no file and no loaded rule is called {name!r}; csirt rules list")
    if len(found) > 1:
        shown = ", ".join(f"{item.id[:8]} {item.meta.title}" for item in found)
        raise Usage(f"{name!r} may be any of: {shown}", candidates=[item.id for item in found])
    return found[0]


def _item(rule: Rule | Correlation, kind: str, datasets: list[str]) -> dict[str, Any]:
    meta = rule.meta
    return {
        "id": meta.id,
        "title": meta.title,
        "kind": kind,
        "level": meta.level,
        "status": meta.status,
        "datasets": datasets,
        "author": meta.author,
        "license": meta.license,
        "tactics": list(meta.tactics),
        "techniques": list(meta.techniques),
        "rsit": meta.custom.rsit,
        "playbook": meta.custom.playbook,
        "tell": list(meta.custom.tell),
    }
