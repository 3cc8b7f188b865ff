"""Rules as JSON items, for lists and completion."""

from __future__ import annotations

from typing import Any

from csirt.detect import chain
from csirt.detect.load import Ruleset
from csirt.detect.rule import Correlation, Rule


def items(ruleset: Ruleset) -> list[dict[str, Any]]:
    """Every rule and correlation, by title."""
    datasets = {rule.id: sorted(rule.datasets) for rule in ruleset.rules}
    result = [_item(rule, "rule", datasets[rule.id]) | {"alerts": rule.alerts} for rule in ruleset.rules]
    for item in chain.in_order(ruleset.correlations):
        datasets[item.id] = sorted({name for base in item.rules for name in datasets[base]})
        result.append(_item(item, item.type, datasets[item.id]) | {"alerts": item.alerts, "rules": list(item.rules)})
    return sorted(result, key=lambda item: (item["title"], item["id"]))


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
