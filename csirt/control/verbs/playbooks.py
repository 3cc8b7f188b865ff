"""Verbs of the noun `playbooks`: what there is, what it would do, runs, and the approvals that set them free."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from typing import Any

from csirt import ids
from csirt.clock import HOUR, SECOND
from csirt.control.casework import find_case, incidents_of, shown
from csirt.control.verbs import Context, verb
from csirt.errors import Conflict, NotFound, Usage
from csirt.model.audit import AuditEntry
from csirt.model.records import Alert, Case, Incident, Run
from csirt.model.severity import SEVERITIES
from csirt.respond import runs as work
from csirt.respond.plan import Plan, Responder
from csirt.stores.base import Commit

WAITS = ("planned", "awaiting_approval")
# Two approvals at the same moment must not both see a plan that waits.
_ONE_AT_A_TIME = threading.Lock()


@verb("playbooks.list", right="status")
def list_(context: Context) -> dict[str, Any]:
    """`csirt.playbooks-list/1`: the loaded playbooks by name."""
    items = [
        {
            "id": playbook.id,
            "name": playbook.name,
            "title": playbook.title,
            "description": playbook.description,
            "steps": sum(step.type == "action" for step in playbook.steps.values()),
            "containment": sum(step.kind == "acl" for step in playbook.steps.values()),
        }
        for playbook in context.part("playbooks").values()
    ]
    return {"schema": "csirt.playbooks-list/1", "count": len(items), "items": items}


@verb("playbooks.plan", right="read", access=True)
def plan(context: Context, case: str, playbook: str = "") -> dict[str, Any]:
    """`csirt.playbooks-plan/1`: what the case's playbooks (or the one named) would do now; nothing is stored."""
    document = find_case(context, case)
    items: list[dict[str, Any]] = []
    for incident in incidents_of(context, document["incidents"]):
        for run in _plan(context, document, incident, playbook).runs:
            items.append(_whole(context, run, receipts=False))
    answer = {"case": document["id"], "case_number": document["number"], "count": len(items), "items": items}
    return {"schema": "csirt.playbooks-plan/1", **answer}


@verb("playbooks.run", right="triage")
def run(context: Context, playbook: str, case: str, incident: str = "", dry_run: bool = False) -> dict[str, Any]:
    """`csirt.playbooks-run/1`: ask for a playbook on a case. Its containment waits for somebody else's approval.

    A plan of the pipeline that still waits becomes one's own, made afresh. Raises Conflict when another person has
    already asked, or when it is being carried out.
    """
    document = find_case(context, case)
    chosen = _incident(context, document, incident)
    with _ONE_AT_A_TIME:
        existing, turn = _earlier(context, playbook, chosen.id)
        made = _plan(context, document, chosen, playbook, turn)
        fresh = made.runs[0]
        if existing is not None:
            who = context.principal.name
            if existing.requested_by not in ("system", who):
                raise Conflict(f"{existing.number} was already requested by {existing.requested_by} and waits")
            fresh.number, fresh.created = existing.number, existing.created
        if not dry_run:
            detail = {"playbook": playbook, "case": document["number"], "plan_hash": fresh.plan_hash}
            entry = _audit(context, "playbooks.run", fresh.id, detail)
            context.store.commit(Commit(runs=[fresh], receipts=made.receipts, audit=[entry]))
    return _answer(context, fresh, changed=not dry_run, dry_run=dry_run)


@verb("playbooks.runs", right="read", access=True)
def runs(context: Context, case: str = "", state: str = "") -> dict[str, Any]:
    """`csirt.playbooks/1`: runs, newest first; of a case, or in a state."""
    where: dict[str, Any] = {}
    if case:
        where["case"] = find_case(context, case)["id"]
    if state:
        where["state"] = state
    found = context.store.find("run", where, order="created", descending=True)
    items = [_whole(context, Run.model_validate(item), receipts=False) for item in found]
    return {"schema": "csirt.playbooks/1", "count": len(items), "items": items}


@verb("playbooks.show", right="read", access=True)
def show(context: Context, run: str) -> dict[str, Any]:
    """`csirt.playbooks-run/1`: one run with its actions and receipts."""
    return _answer(context, find_run(context, run), changed=False, dry_run=False)


@verb("playbooks.approve", right="approve")
def approve(context: Context, run: str, plan_hash: str = "", dry_run: bool = False) -> dict[str, Any]:
    """Set the containment of a plan free: the access lists are written to the outbox for a person to apply.

    `plan_hash`: the plan that was read (a beginning suffices); another one is refused. Raises NotAllowed for the
    requester and when the guard refuses.
    """
    with _ONE_AT_A_TIME:
        found = find_run(context, run)
        guard, now = context.part("responder").guard, context.clock.now()
        if dry_run:
            touched = work.touched_since(context.store, guard, now - HOUR, found.id)
            for action in work.containment(found):
                action.refused = guard.refuse(action, touched)
            return _answer(context, found, changed=False, dry_run=True)
        done = work.approve(context.store, context.config, guard, found, context.principal, now, plan_hash)
    return _answer(context, done, changed=True, dry_run=False)


@verb("playbooks.reject", right="approve")
def reject(context: Context, run: str, reason: str, dry_run: bool = False) -> dict[str, Any]:
    """Turn a plan down, with the reason."""
    with _ONE_AT_A_TIME:
        found = find_run(context, run)
        if not dry_run:
            found = work.reject(context.store, found, context.principal, context.clock.now(), reason)
    return _answer(context, found, changed=not dry_run, dry_run=dry_run)


@verb("playbooks.undo", right="take_back")
def undo(context: Context, run: str, reason: str = "", dry_run: bool = False) -> dict[str, Any]:
    """Take containment back: the rollback lines are written to the outbox. An analyst may, and who may
    approve: taking back harms no one's care."""
    with _ONE_AT_A_TIME:
        found = find_run(context, run)
        if not dry_run:
            found = work.undo(context.store, context.config, found, context.principal, context.clock.now(), reason)
    return _answer(context, found, changed=not dry_run, dry_run=dry_run)


def find_run(context: Context, said: str) -> Run:
    """The run people mean: its number, its last digits, an id, or a unique beginning. Raises NotFound, Usage."""
    name = said.strip()
    found: list[str] = []
    if re.fullmatch(r"\d{1,6}", name):
        year = datetime.fromtimestamp(context.clock.now() // SECOND, UTC).year
        for candidate in range(year + 1, year - 6, -1):
            found = found or context.store.resolve("run", f"R-{candidate}-{name.zfill(4)}")
    found = found or context.store.resolve("run", name)
    documents = [item for key in found if (item := context.store.get("run", key)) is not None]
    if not documents:
        raise NotFound(f"no run {said!r}; `csirt playbooks runs` lists them")
    if len(documents) > 1:
        candidates = [f"{item['number']} {item['playbook']} {item['state']}" for item in documents]
        raise Usage(f"{said!r} could be " + "; ".join(candidates[:20]), candidates=candidates)
    return Run.model_validate(documents[0])


def _earlier(context: Context, playbook: str, incident: str) -> tuple[Run | None, int]:
    """The run that still waits, with its turn; or None and a new one's turn. Raises Conflict for one under way."""
    turn = 0
    while True:
        parts = (playbook, incident) if not turn else (playbook, incident, turn)
        document = context.store.get("run", ids.digest("run", *parts))
        if document is None:
            return None, turn
        if document["state"] in WAITS:
            return Run.model_validate(document), turn
        if document["state"] in ("approved", "running"):
            raise Conflict(f"{document['number']} is being carried out; wait for its outcome")
        turn += 1


def _incident(context: Context, case: dict[str, Any], said: str) -> Incident:
    """The incident of a case that was named, else its worst."""
    found = incidents_of(context, [name for name in case["incidents"] if name.startswith(said)])
    if said and len(found) != 1:
        raise (Usage if found else NotFound)(f"{said!r} names {len(found)} incidents of {case['number']}")
    if not found:
        raise NotFound(f"{case['number']} has no incident any more")
    return min(found, key=lambda one: (-SEVERITIES.index(one.severity), one.first, one.id))


def _plan(context: Context, case: dict[str, Any], incident: Incident, playbook: str, turn: int = 0) -> Plan:
    responder: Responder = context.part("responder")
    if playbook and playbook not in responder.playbooks:
        raise NotFound(f"no playbook {playbook!r}; there are {', '.join(responder.playbooks)}")
    alerts = [Alert.model_validate(item) for item in context.store.find("alert", {"id": incident.alerts})]
    record, now = Case.model_validate(case), context.clock.now()
    if playbook:
        return responder.ask(playbook, incident, record, alerts, now, context.principal.name, turn)
    return responder.plan(incident, record, alerts, now)


def _whole(context: Context, run: Run, *, receipts: bool = True) -> dict[str, Any]:
    case = context.store.get("case", run.case)
    document = {**run.model_dump(), "case_number": case["number"] if case else ""}
    if receipts:
        document["receipts"] = context.store.find("receipt", {"run": run.id}, order="id")
    answer: dict[str, Any] = shown(document)
    return answer


def _answer(context: Context, run: Run, *, changed: bool, dry_run: bool) -> dict[str, Any]:
    return {"schema": "csirt.playbooks-run/1", **_whole(context, run), "changed": changed, "dry_run": dry_run}


def _audit(context: Context, action: str, subject: str, detail: dict[str, Any]) -> AuditEntry:
    who = context.principal
    return AuditEntry(
        time=context.clock.now(),
        actor=who.name,
        uid=who.uid,
        on_behalf=who.delegate,
        category="change",
        action=action,
        subject=subject,
        detail=detail,
    )
