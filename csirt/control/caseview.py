"""Reading cases: the queue, one case with everything an analyst needs at 03:00, the hand-over of a shift."""

from __future__ import annotations

from typing import Any

from csirt.cases.urgency import order
from csirt.control.casework import OPEN, row
from csirt.control.verbs import Context
from csirt.errors import CsirtError
from csirt.model.filter import Filter
from csirt.model.filter_nodes import AllOf, Compare, Node
from csirt.model.severity import PRIORITY, SEVERITIES

# Beyond this many open cases the order is the store's: severity, then the latest; urgency is still shown.
SORTED = 5_000
EVIDENCE = 10
FIELDS = (
    *(
        "id",
        "number",
        "state",
        "severity",
        "priority",
        "title",
        "owner",
        "acked_by",
        "ack",
        "members",
        "member",
        "first",
    ),
    *("last", "created", "updated", "alerts", "notes", "news", "verdict", "rsit", "clinical", "tlp", "rules", "rule"),
    *("tactics", "techniques", "ip", "merged_into"),
)
_FROM_INCIDENTS = {"rules", "rule", "tactics", "techniques", "ip"}


def queue(context: Context, where: str, everything: bool, limit: int | None) -> tuple[list[dict[str, Any]], int]:
    """Rows of the cases that pass, most urgent first, at most `limit`, and how many there are in all.

    Without `everything`, and unless the filter asks for a state, only open and acknowledged cases.
    """
    chosen = Filter.parse(where, context.clock.now(), FIELDS) if where.strip() else None
    states = None if everything or (chosen and "state" in chosen.names()) else list(OPEN)
    indexed = {"state": states} if states else {}
    if chosen is not None:
        indexed.update(_indexed(chosen.node))
        rows = passing(context, _ordered(context, indexed, None), where)
        return rows[:limit], len(rows)
    rows = _ordered(context, indexed, limit)
    total = len(rows) if limit is None or len(rows) < limit else _count(context, indexed)
    return rows[:limit], total


def passing(context: Context, rows: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """The rows that a filter lets pass."""
    if not rows or not where.strip():
        return rows
    chosen = Filter.parse(where, context.clock.now(), FIELDS)
    looked_at = chosen.names() | ({"member", "rules"} if chosen.searches_text else set())
    details = described(context, rows, looked_at)
    return [item for item, detail in zip(rows, details, strict=True) if chosen.matches(detail)]


def _ordered(context: Context, indexed: dict[str, Any], limit: int | None) -> list[dict[str, Any]]:
    if _count(context, indexed) <= SORTED:
        return [row(case) for case in sorted(context.store.find("case", indexed), key=order)]
    if limit is None:
        return [row(case) for case in context.store.find("case", indexed, order="-severity,-last")]
    merged: list[dict[str, Any]] = []
    for state in indexed.get("state") or ("open", "acknowledged", "closed", "merged"):
        # One state at a time, so that the index gives the order and nothing is sorted.
        merged += context.store.find("case", {**indexed, "state": state}, order="-severity,-last", limit=limit)
    merged.sort(key=lambda case: (-SEVERITIES.index(case["severity"]), -case["last"], case["id"]))
    return [row(case) for case in merged[:limit]]


def _count(context: Context, indexed: dict[str, Any]) -> int:
    return int(context.store.count("case", indexed))


def _indexed(node: Node) -> dict[str, Any]:
    """What the store's indexes can do of a filter: severity at least, owner; the rest is matched here."""
    found: dict[str, Any] = {}
    for part in node.parts if isinstance(node, AllOf) else (node,):
        if isinstance(part, Compare) and len(part.values) == 1:
            value = part.values[0].folded
            if part.fields == ("severity",) and part.op == ">=" and value in SEVERITIES:
                found["severity__gte"] = value
    return found


def described(context: Context, items: list[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    """Rows with what only a filter looks at: members by name and kind, rules, tactics, hosts."""
    incidents: dict[str, list[dict[str, Any]]] = {}
    if names & _FROM_INCIDENTS:
        for start in range(0, len(items), 500):
            wanted = [item["id"] for item in items[start : start + 500]]
            for incident in context.store.find("incident", {"case": wanted}):
                incidents.setdefault(incident["case"], []).append(incident)
    register = part(context, "register") if "member" in names or "members" in names else None
    result = []
    for item in items:
        mine = incidents.get(item["id"], [])
        rules = [rule for incident in mine for rule in incident["rules"]]
        known = [register.member(name) for name in item["members"]] if register is not None else []
        result.append(
            {
                **item,
                "ack": bool(item["acked_by"]),
                "rules": rules,
                "rule": rules,
                "tactics": [value for incident in mine for value in incident["tactics"]],
                "techniques": [value for incident in mine for value in incident["techniques"]],
                "ip": [one["value"] for incident in mine for one in incident["entities"] if one["kind"] == "host"],
                "member": [
                    *item["members"],
                    *(text for one in known if one is not None for text in (one.name, one.kind)),
                ],
            }
        )
    return result


def part(context: Context, name: str) -> Any:
    """A live component, or None when it cannot be built: a broken register must not hide a case."""
    try:
        return context.part(name)
    except CsirtError:
        return None


def whole(context: Context, case: dict[str, Any]) -> dict[str, Any]:
    """Everything of one case, times in microseconds."""
    incidents = context.store.find("incident", {"id": case["incidents"]}, order="first") if case["incidents"] else []
    alerts = _alerts(context, incidents)
    events = context.store.case_events(case["id"])
    gone = {event["undoes"] for event in events if event["undoes"] is not None}
    merged = [event["data"] for event in events if event["kind"] == "merged"]
    names = [case["id"], *(data["from"] for data in merged if data.get("from"))]
    runs = sorted(context.store.find("run", {"case": names}), key=lambda run: run["number"] or run["id"])
    told = context.store.find("notification", {"case": names})
    document = {
        "schema": "csirt.case/1",
        "case": row(case),
        "incidents": [_incident(item) for item in incidents],
        "alerts": alerts,
        "members": [_member(context, name) for name in case["members"]],
        "runs": [_run(context, item) for item in runs],
        "notifications": [_notification(item) for item in told],
        "history": [{**event, "taken_back": event["seq"] in gone} for event in events],
        "on_call": _on_call(context, case, incidents),
    }
    document["confidence"] = confidence(context, incidents, alerts)
    document["next"] = _next(document)
    return document


def _alerts(context: Context, incidents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The alerts of the incidents, worst first, without their samples of events beyond ten."""
    names = [name for incident in incidents for name in incident["alerts"]]
    found: list[dict[str, Any]] = context.store.find("alert", {"id": names}) if names else []
    found.sort(key=lambda one: (-SEVERITIES.index(one["severity"]), one["first"], one["id"]))
    return [{**one, "events": one["events"][:EVIDENCE], "priority": PRIORITY[one["severity"]]} for one in found]


def _incident(incident: dict[str, Any]) -> dict[str, Any]:
    shown = [entity for entity in incident["entities"] if entity["kind"] not in ("her_pair", "alert")]
    return {**incident, "entities": shown}


def _member(context: Context, name: str) -> dict[str, Any]:
    register = part(context, "register")
    found = register.member(name) if register is not None else None
    if found is None:
        return {"id": name, "name": name, "kind": "", "language": "", "contacts": [], "known": False}
    contacts = [
        {"name": one.name, "role": one.role, "phone": one.phone, "out_of_band": one.out_of_band}
        for one in found.contacts
    ]
    fields = {"id": found.id, "name": found.name, "kind": found.kind, "language": found.language, "known": True}
    return {**fields, "contacts": contacts}


def _run(context: Context, run: dict[str, Any]) -> dict[str, Any]:
    receipts = context.store.find("receipt", {"run": run["id"]})
    return {**run, "receipts": receipts}


def _notification(item: dict[str, Any]) -> dict[str, Any]:
    return {
        key: item[key]
        for key in ("id", "route", "channel", "recipient", "level", "state", "acked_by", "created", "priority")
    }


def _on_call(context: Context, case: dict[str, Any], incidents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who is on call now for the routes that take this case."""
    router = part(context, "router")
    if router is None:
        return []
    from csirt.notify.oncall import contact, on_call
    from csirt.notify.router import subject_of

    result = []
    for route in router.routes_for(subject_of(case, incidents)):
        names = on_call(context.config, route.name, context.clock.now())
        people = [found for name in names if (found := contact(context.config, name)) is not None]
        result.append({"route": route.name, "contacts": [{"name": one.name, "channel": one.channel} for one in people]})
    return result


def confidence(context: Context, incidents: list[dict[str, Any]], alerts: list[dict[str, Any]]) -> dict[str, Any]:
    """How sure we are, and what speaks for and against it: `{level, for, against}`, each a list of reason keys.

    high: two independent kinds of data, or three rules, agree; medium: two rules, or ten matches; else low. One step
    lower when the acting address stands for many machines or belongs to a known scanner.
    """
    rules = {alert["rule_id"] for alert in alerts}
    datasets = {alert["dataset"] for alert in alerts}
    matches = sum(alert["count"] for alert in alerts)
    level = 2 if len(datasets) >= 2 or len(rules) >= 3 else 1 if len(rules) == 2 or matches >= 10 else 0
    speaks_for: list[dict[str, Any]] = [
        {"reason": "rules", "value": len(rules)},
        {"reason": "matches", "value": matches},
    ]
    if len(datasets) >= 2:
        speaks_for.append({"reason": "datasets", "value": ", ".join(sorted(datasets))})
    against = _against(context, incidents, alerts)
    if len(rules) == 1:
        against.append({"reason": "one_rule", "value": 1})
    if len(datasets) == 1:
        against.append({"reason": "one_dataset", "value": next(iter(datasets))})
    if matches == 1:
        against.append({"reason": "once", "value": 1})
    if any(item["reason"] in ("nat", "scanner", "window") for item in against):
        level = max(level - 1, 0)
    return {"level": ("low", "medium", "high")[level], "for": speaks_for, "against": against}


def _against(context: Context, incidents: list[dict[str, Any]], alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the register and the flows know that makes a false alarm more likely."""
    found: list[dict[str, Any]] = []
    register = part(context, "register")
    actors = sorted(
        {
            one["value"]
            for item in incidents
            for one in item["entities"]
            if one["kind"] == "host" and one["role"] == "actor"
        }
    )
    for address in actors if register is not None else ():
        try:
            host = register.host(address)
        except ValueError:
            continue
        if host is None:
            found.append({"reason": "outside", "value": address})
        elif host.nat:
            found.append({"reason": "nat", "value": address})
        elif host.role == "scanner":
            found.append({"reason": "scanner", "value": address})
    if any("inside" in alert.get("facts", {}).get("csirt.supplier_window", []) for alert in alerts):
        found.append({"reason": "window", "value": True})
    return found


def _next(document: dict[str, Any]) -> list[str]:
    """The next three commands, in the order they make sense now."""
    case = document["case"]
    name = case["number"] or case["id"]
    commands: list[str] = []
    if case["state"] == "merged":
        return [f"csirt cases show {case['merged_into']}"]
    if case["state"] == "closed":
        return [f"csirt cases reopen {name} -m REASON", f"csirt cases undo {name}", f"csirt cases note {name} -m TEXT"]
    if case["state"] == "open" or case["news"]:
        commands.append(f"csirt cases ack {name}")
    for run in document["runs"]:
        if run["state"] == "awaiting_approval":
            commands.append(f"csirt playbooks show {run['number'] or run['id']}")
            break
    commands.append(f"csirt cases note {name} -m TEXT")
    if document["members"]:
        commands.append(f"csirt report build {name} --member {document['members'][0]['id']}")
    commands.append(f"csirt cases close {name} --verdict true --rsit CLASS -m REASON")
    return commands[:3]
