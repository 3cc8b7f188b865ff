"""The rules the daemon runs with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from csirt.control.verbs import Context, verb

if TYPE_CHECKING:
    from csirt.detect.load import Ruleset


@verb("rules.list", right="status")
def list_(context: Context) -> dict[str, Any]:
    """`csirt.rules/1`: every rule and correlation in use."""
    from csirt.detect.describe import items

    ruleset: Ruleset = context.part("ruleset")
    rows = items(ruleset)
    return {"schema": "csirt.rules/1", "count": len(rows), "refused": ruleset.refused, "items": rows}


@verb("rules.coverage", right="status")
def coverage(context: Context) -> dict[str, Any]:
    """`csirt.rules-coverage/1`: ATT&CK techniques of the rules in use, on datasets the store has events of."""
    from csirt.detect.coverage import coverage as covered
    from csirt.stores.embedded.info import info
    from csirt.stores.embedded.store import as_embedded

    seen = {item["dataset"]: item["rows"] for item in info(as_embedded(context.store))["datasets"]}
    return covered(context.part("ruleset"), seen)
