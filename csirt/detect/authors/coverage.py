"""Which ATT&CK techniques the loaded rules look for on telemetry that is there: an ATT&CK Navigator layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from csirt.detect.rules.ruleset import Ruleset

LAYER = "4.5"
NAVIGATOR = "5.1.0"
COVERED, BLIND = "#74c476", "#d9d9d9"


def coverage(loaded: Ruleset, seen: Mapping[str, int]) -> dict[str, Any]:
    """`csirt.rules-coverage/1`. `seen`: events per dataset. A rule covers its techniques where every rule it is built
    on has events to look at; what is loaded and has none is said apart."""
    needs = _needs(loaded)
    covering: dict[str, list[dict[str, Any]]] = defaultdict(list)
    untagged = 0
    for item in loaded.everything():
        if not item.alerts:
            continue
        missing = sorted({" or ".join(sorted(names)) for names in needs[item.id] if not _any(names, seen)})
        rule = {"id": item.id, "title": item.meta.title, "level": item.meta.level, "missing": missing}
        for technique in item.meta.techniques:
            covering[technique].append(rule)
        untagged += not item.meta.techniques
    techniques = [_technique(name, covering[name]) for name in sorted(covering)]
    return {
        "schema": "csirt.rules-coverage/1",
        "datasets": [{"dataset": name, "events": count} for name, count in sorted(seen.items()) if count],
        "covered": sum(bool(item["score"]) for item in techniques),
        "blind": sum(not item["score"] for item in techniques),
        "untagged": untagged,
        "techniques": techniques,
        "layer": _layer(techniques),
    }


def _any(names: frozenset[str], seen: Mapping[str, int]) -> bool:
    return any(seen.get(name) for name in names)


def _needs(loaded: Ruleset) -> dict[str, list[frozenset[str]]]:
    """For each rule and correlation the datasets of each plain rule below it; a rule that never matches needs one that
    nothing fills."""
    found = {rule.id: [rule.datasets or frozenset({"none"})] for rule in loaded.rules}
    for item in loaded.correlations:  # those it is built on come before it
        found[item.id] = [names for name in item.rules for names in found[name]]
    return found


def _technique(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    rules = sorted(rules, key=lambda rule: (rule["title"], rule["id"]))
    return {"id": name, "score": sum(not rule["missing"] for rule in rules), "rules": rules}


def _layer(techniques: list[dict[str, Any]]) -> dict[str, Any]:
    """The layer as ATT&CK Navigator reads it: the score is the number of rules that see their events."""
    return {
        "name": "csirt",
        "versions": {"navigator": NAVIGATOR, "layer": LAYER},
        "domain": "enterprise-attack",
        "description": "Rules that are loaded, on telemetry that is in the store",
        "techniques": [
            {
                "techniqueID": item["id"],
                "score": item["score"],
                "color": COVERED if item["score"] else BLIND,
                "comment": _comment(item),
                "enabled": True,
                "metadata": [{"name": "rule", "value": f"{rule['title']} ({rule['id']})"} for rule in item["rules"]],
                "showSubtechniques": True,
            }
            for item in techniques
        ],
        "gradient": {
            "colors": ["#ffffff", COVERED],
            "minValue": 0,
            "maxValue": max([1, *(item["score"] for item in techniques)]),
        },
        "legendItems": [
            {"label": "looked for", "color": COVERED},
            {"label": "a rule is loaded, its events are not there", "color": BLIND},
        ],
    }


def _comment(item: dict[str, Any]) -> str:
    if item["score"]:
        return f"{item['score']} of {len(item['rules'])} rules see their events"
    missing = sorted({name for rule in item["rules"] for name in rule["missing"]})
    return f"no events of {', '.join(missing)}"
