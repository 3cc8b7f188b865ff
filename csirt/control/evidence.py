"""What speaks for putting a rule to work: how long it was in shadow, what it found, what analysts said of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from csirt.clock import DAY, iso

if TYPE_CHECKING:
    from csirt.detect.rule import Correlation, Rule
    from csirt.detect.rules.deploy import Deployed
    from csirt.detect.rules.ruleset import Ruleset
    from csirt.stores.base import Store

ENOUGH_DAYS = 14
MANY_A_DAY = 20
MANY_FALSE = 0.5
MIN_VERDICTS = 3
SAMPLE = 10_000  # alerts that are looked at, the newest


def evidence(store: Store, ruleset: Ruleset, item: Rule | Correlation, now: int) -> dict[str, Any]:
    """Facts of the rule as it is deployed now: alerts and hits since then, verdicts ever."""
    deployed = ruleset.deployment.of(item.meta)
    alerts = store.find("alert", {"rule_id": item.id}, order="last", descending=True, limit=SAMPLE)
    since = deployed.since
    if since is None and deployed.state == "shadow":
        since = min((alert["created"] for alert in alerts if alert.get("shadow")), default=None)
    here = [alert for alert in alerts if since is None or alert["last"] >= since]
    days = None if since is None else max(now - since, 0) / DAY
    members = {member for alert in here for member in alert["members"]}
    return {
        "state": deployed.state,
        "since": None if since is None else iso(since),
        "days": None if days is None else round(days, 2),
        "alerts": len(here),
        "hits": sum(alert["count"] for alert in here),
        "alerts_per_day": None if days is None else round(len(here) / max(days, 1.0), 2),
        "members": len(members),
        "truncated": len(alerts) == SAMPLE,
        "verdicts": dict(sorted(_verdicts(store, alerts).items())),
        "datasets": {name: _seen(store, name) for name in sorted(_datasets(ruleset, item))},
    }


def lacks(found: dict[str, Any], deployed: Deployed, state: str) -> list[str]:
    """What is missing for that state; switching off and trying out need no evidence."""
    if state != "on":
        return []
    return list(_lacks(found, deployed))


def _lacks(found: dict[str, Any], deployed: Deployed) -> Iterator[str]:
    if deployed.state != "shadow":
        yield "it was not in shadow"
    elif found["days"] is None:
        yield "nothing says since when it is in shadow"
    elif found["days"] < ENOUGH_DAYS:
        yield f"in shadow for {found['days']:.1f} days, of {ENOUGH_DAYS}"
    deaf = [name for name, seen in found["datasets"].items() if not seen]
    if deaf and len(deaf) == len(found["datasets"]):
        yield f"it saw no events: the store has none of {', '.join(deaf)}"
    if (found["alerts_per_day"] or 0) > MANY_A_DAY:
        yield f"{found['alerts_per_day']:.0f} alerts a day, more than {MANY_A_DAY}"
    verdicts = found["verdicts"]
    total = sum(verdicts.values())
    wrong = verdicts.get("false", 0)
    if total >= MIN_VERDICTS and wrong > MANY_FALSE * total:
        yield f"{wrong} of {total} verdicts call it false"


def _verdicts(store: Store, alerts: list[dict[str, Any]]) -> Counter[str]:
    """How often a case with an alert of the rule was closed with each verdict."""
    incidents = sorted({alert["incident"] for alert in alerts if alert["incident"]})
    known = store.find("incident", {"id": incidents}) if incidents else []
    cases = sorted({incident["case"] for incident in known if incident["case"]})
    found = store.find("case", {"id": cases}) if cases else []
    return Counter(case["verdict"] for case in found if case["verdict"])


def _datasets(ruleset: Ruleset, item: Rule | Correlation) -> set[str]:
    """The datasets of the plain rules below it."""
    known = {one.id: one for one in ruleset.everything()}
    found: set[str] = set()
    waiting = [item.id]
    while waiting:
        one: Any = known[waiting.pop()]
        found |= set(getattr(one, "datasets", ()))
        waiting += getattr(one, "rules", ())
    return found


def _seen(store: Store, dataset: str) -> bool:
    return bool(store.counts().get(f"events.{dataset}"))
