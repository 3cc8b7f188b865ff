"""The rules the daemon runs with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from csirt.control.verbs import Context, verb
from csirt.errors import Usage
from csirt.model.audit import AuditEntry

if TYPE_CHECKING:
    from csirt.detect.rules.ruleset import Ruleset
    from csirt.stores.hunt.select import Hunted


@verb("rules.list", right="status")
def list_(context: Context) -> dict[str, Any]:
    """`csirt.rules/1`: every rule and correlation in use."""
    from csirt.detect.authors.describe import items

    ruleset: Ruleset = context.part("ruleset")
    rows = items(ruleset)
    return {"schema": "csirt.rules/1", "count": len(rows), "refused": ruleset.refused, "items": rows}


@verb("rules.coverage", right="status")
def coverage(context: Context) -> dict[str, Any]:
    """`csirt.rules-coverage/1`: ATT&CK techniques of the rules in use, on datasets the store has events of."""
    from csirt.detect.authors.coverage import coverage as covered
    from csirt.stores.embedded.info import info
    from csirt.stores.embedded.store import as_embedded

    seen = {item["dataset"]: item["rows"] for item in info(as_embedded(context.store))["datasets"]}
    return covered(context.part("ruleset"), seen)


@verb("rules.deploy", right="rules")
def deploy(
    context: Context, rule: str, state: str, reason: str, yes: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """`csirt.rules-deploy/1`: put a rule in shadow, to work or off, unless `lacks` says what speaks against it."""
    from csirt.control.evidence import evidence, lacks
    from csirt.detect.authors.describe import pick
    from csirt.detect.rules import deployfile
    from csirt.detect.rules.deploy import STATES, Deployed

    if state not in STATES or not reason.strip():
        raise Usage(f"a rule is deployed to one of {', '.join(STATES)}, with a reason: -m REASON")
    ruleset: Ruleset = context.part("ruleset")
    item, now, who = pick(ruleset, rule), context.clock.now(), context.principal
    before = ruleset.deployment.of(item.meta)
    found = evidence(context.store, ruleset, item, now)
    missing = lacks(found, before, state) if state != before.state else []
    changed = state != before.state and not dry_run and (yes or not missing)
    document = {
        "schema": "csirt.rules-deploy/1",
        "rule": item.id,
        "title": item.meta.title,
        "before": before.state,
        "after": state,
        "changed": changed,
        "evidence": found,
        "lacks": missing,
        "problems": [],
    }
    if not changed:
        return document
    after = Deployed(cast(Any, state), now, before.scope, who.name, reason.strip())
    deployfile.write(context.config.path("deploy.yml"), item.id, item.meta.title, after)
    detail = {"before": before.state, "after": state, "reason": after.reason, "evidence": found, "lacks": missing}
    context.store.append_audit(
        [
            AuditEntry(
                time=now,
                actor=who.name,
                uid=who.uid,
                on_behalf=who.delegate,
                category="operation",
                action="rules.deploy",
                subject=item.id,
                detail=detail,
            )
        ]
    )
    daemon = context.part("daemon")
    document["problems"] = daemon.reload() if daemon else []
    return document


@verb("rules.backtest", right="read", access=True)
def backtest(
    context: Context, text: str, since: str, until: str | None = None, against: str | None = None, origin: str = "store"
) -> dict[str, Any]:
    """`csirt.rules-backtest/1`: what the rules of a YAML text find in stored events; `against`: of another one too.
    `origin`: store or cluster."""
    from csirt.clock import iso
    from csirt.control.hunted import hunted
    from csirt.stores.hunt.when import moment

    now, zone = context.clock.now(), context.config.timezone
    start, end = moment(since, now, zone), moment(until, now, zone) if until else None
    store = hunted(context.store, origin)
    found = [_backtest(context, store, rules, start, end) for rules in (text, against) if rules is not None]
    return {
        "schema": "csirt.rules-backtest/1",
        "since": iso(start),
        "until": None if end is None else iso(end),
        "rules": found[0],
        "against": found[1] if against is not None else None,
    }


def placeholders(context: Context) -> dict[str, Sequence[str]]:
    """What is configured, and the lists of indicators."""
    book = context.part("indicators")
    return {**(book.placeholders() if book else {}), **context.config.detect.placeholders}


def _backtest(context: Context, store: Hunted, text: str, start: int, end: int | None) -> list[dict[str, Any]]:
    from csirt.detect.authors.backtest import Backtest
    from csirt.detect.rules.load import parse_rules

    loaded = parse_rules(text, "rule", placeholders=placeholders(context))
    wrong = [str(problem) for problem in loaded.problems if problem.level == "error"]
    if wrong or not loaded.rules:
        raise Usage("\n".join(wrong) or "the file has no rule")
    test = Backtest(loaded)
    for dataset in test.datasets:
        for batch in store.events(dataset, since=start, until=end, columns=test.columns(dataset)):
            test.add(batch)
    return test.report()
