"""What becomes of a plan: approved by someone else, written for a person to apply, undone, expired.

Each effect is a file; its intent is committed before, its outcome after (decision 5). An approval that a crash cut off
between the two is settled by `expire`, a minute later: the file is written again, the same bytes.
"""

from __future__ import annotations

from typing import Any

from csirt import ids
from csirt.clock import HOUR, MINUTE
from csirt.config import Config
from csirt.errors import Conflict, CsirtError, NotAllowed, Usage
from csirt.model.audit import AuditEntry
from csirt.model.principal import Principal
from csirt.model.records import Action, Receipt, Run
from csirt.respond import outbox
from csirt.respond.guard import Guard
from csirt.safety import file_name
from csirt.stores.base import Commit, Store

Who = Principal
CUT_OFF = (
    MINUTE  # after an approval without an outcome; until then whoever approves, here or on another node, may be at it
)


def approve(store: Store, config: Config, guard: Guard, run: Run, who: Who, now: int, plan_hash: str = "") -> Run:
    """Approve exactly this plan and write its access lists to the outbox.

    Raises NotAllowed for the requester (also behind `--as`, also as the case's owner who asked) and when the guard
    refuses every action; Conflict when the plan is not waiting, or not the one that was looked at.
    """
    _not_the_requester(store, run, who)
    if run.state != "awaiting_approval":
        raise Conflict(f"{run.number} is {run.state}; only a plan that awaits approval can be approved")
    if plan_hash and not run.plan_hash.startswith(plan_hash):
        seen = f"its hash is {run.plan_hash[:12]}, yours {plan_hash[:12]}"
        raise Conflict(f"{run.number} is no longer the plan you looked at: {seen}")
    touched = touched_since(store, guard, now - HOUR, run.id)
    for action in containment(run):
        action.refused = guard.refuse(action, touched)
        if not action.refused:
            touched |= guard.members_of(action)
            action.expires = now + int(action.parameters["expiry_us"])
    actions = containment(run)
    if not actions:
        reasons = "; ".join(sorted({action.refused for action in run.actions if action.refused}))
        raise NotAllowed(f"{run.number}: the guard refuses every action: {reasons}")
    run.approvals = [*run.approvals, who.name]
    _state(run, "approved", now)
    intents = [_intent(run, action, now) for action in actions]
    detail = {
        "plan_hash": run.plan_hash,
        "requested_by": run.requested_by,
        "lines": [line for a in actions for line in a.parameters["lines"]],
    }
    store.commit(Commit(runs=[run], receipts=intents, audit=[_audit("playbooks.approve", run, who, now, detail)]))
    return carry_out(store, config, run, now)


def carry_out(store: Store, config: Config, run: Run, now: int) -> Run:
    """Write the file of an approved run and commit the outcome. Raises CsirtError when the file cannot be written."""
    name = file_name(f"{run.number}.acl")
    actions = containment(run)
    receipts = [receipt for receipt in _receipts(store, run) if receipt.effect == "acl" and not receipt.outcome]
    try:
        outbox.write(config.path("outbox"), name, outbox.block(run, _case_number(store, run), actions))
    except OSError as error:
        for receipt in receipts:
            receipt.outcome, receipt.detail, receipt.finished = "failed", f"not written: {error.strerror}", now
        _state(run, "failed", now)
        store.commit(Commit(runs=[run], receipts=receipts))
        raise CsirtError(
            f"{run.number} is approved, but {name} could not be written to the outbox: {error.strerror}"
        ) from error
    for receipt in receipts:
        receipt.outcome, receipt.artifact, receipt.finished = "done", name, now
        receipt.detail = "written to the outbox for a person to apply"
    _state(run, "done", now)
    store.commit(Commit(runs=[run], receipts=receipts))
    return run


def reject(store: Store, run: Run, who: Who, now: int, reason: str) -> Run:
    """Turn a plan down. Raises Usage without a reason, Conflict when the plan does not wait."""
    if not reason.strip():
        raise Usage("rejecting needs a reason: -m REASON")
    if run.state not in ("awaiting_approval", "planned"):
        raise Conflict(f"{run.number} is {run.state}; only a plan that waits can be rejected")
    _state(run, "rejected", now)
    store.commit(Commit(runs=[run], audit=[_audit("playbooks.reject", run, who, now, {"reason": reason})]))
    return run


def undo(store: Store, config: Config, run: Run, who: Who, now: int, reason: str) -> Run:
    """Write the rollback of a run whose access lists are out. Raises Conflict when there is nothing to take back."""
    actions = in_force(store, run)
    if run.state not in ("done", "expired", "approved", "failed") or not actions:
        raise Conflict(f"{run.number} is {run.state}; there is nothing to undo")
    _take_back(
        store,
        config,
        run,
        actions,
        "undone",
        f"undone by {who.name}: {reason}" if reason else f"undone by {who.name}",
        now,
    )
    _state(run, "undone", now)
    store.commit(Commit(runs=[run], audit=[_audit("playbooks.undo", run, who, now, {"reason": reason})]))
    return run


def expire(store: Store, config: Config, now: int) -> list[Run]:
    """Settle what a crash cut off, and end what has run out: the run is marked and its rollback written as a
    reminder. The runs that changed."""
    changed = []
    for document in store.find("run", {"state": ["approved", "done"]}):
        run = Run.model_validate(document)
        if run.state == "approved":
            if now - run.state_since >= CUT_OFF:
                changed.append(carry_out(store, config, run, now))
            continue
        due = [action for action in in_force(store, run) if action.expires <= now]
        if not due or len(due) < len(in_force(store, run)):
            continue
        _take_back(store, config, run, due, "expired", "expired: take it back now", now)
        _state(run, "expired", now)
        entry = _audit(
            "playbooks.expire", run, None, now, {"lines": [line for a in due for line in a.parameters["rollback"]]}
        )
        store.commit(Commit(runs=[run], audit=[entry]))
        changed.append(run)
    return changed


def containment(run: Run) -> list[Action]:
    """The actions of a run that an approval sets free."""
    return [action for action in run.actions if action.containment and not action.refused]


def in_force(store: Store, run: Run) -> list[Action]:
    """The access lists of a run that were written and not yet taken back."""
    steps = {receipt.step for receipt in _receipts(store, run) if receipt.effect == "acl" and receipt.outcome == "done"}
    return [action for action in containment(run) if action.step in steps]


def touched_since(store: Store, guard: Guard, since: int, but: str = "") -> set[str]:
    """Members that approved containment has touched since a moment."""
    found: set[str] = set()
    for document in store.find("run", {"state": ["approved", "done", "expired", "undone"], "updated__gte": since}):
        run = Run.model_validate(document)
        if run.id != but and run.approvals and any(action.expires for action in run.actions):
            for action in containment(run):
                if action.expires - int(action.parameters.get("expiry_us", 0)) >= since:
                    found |= guard.members_of(action)
    return found


def _not_the_requester(store: Store, run: Run, who: Who) -> None:
    names = {who.name, who.delegate} - {""}
    if run.requested_by in names:
        raise NotAllowed(f"{run.number} was requested by {run.requested_by}; someone other must approve it")
    if who.name in run.approvals:
        raise NotAllowed(f"{run.number} was already approved by {who.name}")


def _take_back(store: Store, config: Config, run: Run, actions: list[Action], outcome: Any, why: str, now: int) -> None:
    name = file_name(f"{run.number}-rollback.acl")
    receipts = [
        Receipt(
            id=ids.digest("receipt", run.id, action.step, outcome),
            run=run.id,
            step=action.step,
            effect="rollback",
            intent={"lines": action.parameters["rollback"]},
            started=now,
        )
        for action in actions
    ]
    store.commit(Commit(receipts=receipts))
    try:
        outbox.write(config.path("outbox"), name, outbox.rollback(run, _case_number(store, run), actions, why))
    except OSError as error:
        raise CsirtError(f"{run.number}: {name} could not be written to the outbox: {error.strerror}") from error
    steps = {action.step for action in actions}
    lists = [receipt for receipt in _receipts(store, run) if receipt.effect == "acl" and receipt.step in steps]
    for receipt in receipts:
        receipt.outcome, receipt.artifact, receipt.finished = "done", name, now
    for receipt in lists:
        receipt.outcome, receipt.detail, receipt.finished = outcome, why, now
    store.commit(Commit(receipts=[*receipts, *lists]))


def _intent(run: Run, action: Action, now: int) -> Receipt:
    return Receipt(
        id=ids.digest("receipt", run.id, action.step),
        run=run.id,
        step=action.step,
        effect="acl",
        intent={"lines": action.parameters["lines"], "plan_hash": run.plan_hash, "expires": action.expires},
        started=now,
    )


def _receipts(store: Store, run: Run) -> list[Receipt]:
    return [Receipt.model_validate(item) for item in store.find("receipt", {"run": run.id})]


def _case_number(store: Store, run: Run) -> str:
    case = store.get("case", run.case)
    return str(case["number"]) if case else run.case


def _state(run: Run, state: Any, now: int) -> None:
    run.state, run.state_since, run.updated = state, now, now


def _audit(action: str, run: Run, who: Who | None, now: int, detail: dict[str, Any]) -> AuditEntry:
    return AuditEntry(
        time=now,
        actor=who.name if who else "system",
        uid=who.uid if who else -1,
        on_behalf=who.delegate if who else "",
        category="change" if who else "operation",
        action=action,
        subject=run.id,
        detail=detail,
    )
