"""Acknowledgement: somebody has it, nobody else is woken."""

from __future__ import annotations

from typing import Any

from csirt.model.audit import AuditEntry
from csirt.model.records import Notification
from csirt.notify.silences import LOCK
from csirt.stores.base import Commit, Store

_WAITING = ("pending", "sending", "sent", "unknown", "failed", "silenced")


def answered(case: dict[str, Any] | None) -> str:
    """Who has answered for a case: its closer or acknowledger; empty while nobody has, or alerts have come since."""
    if case is None:
        return "system"
    if case["state"] in ("closed", "merged"):
        return str(case.get("acked_by") or case.get("owner") or "system")
    if case["state"] == "acknowledged" and not case.get("news"):
        return str(case["acked_by"] or "system")
    return ""


def mark(document: dict[str, Any], who: str) -> Notification:
    """A notification as acknowledged: no escalation follows it, and what was not sent yet need not be."""
    state = "suppressed" if document["state"] in ("pending", "silenced") else document["state"]
    return Notification.model_validate({**document, "acked_by": who, "state": state, "due": 0})


def acknowledge(store: Store, case: str, who: str, entry: AuditEntry) -> list[Notification]:
    """Acknowledge every notification of a case that nobody has; one commit with the audit entry, none without any."""
    with LOCK:
        waiting = [
            mark(document, who)
            for document in store.find("notification", {"case": case})
            if not document["acked_by"] and document["state"] in _WAITING
        ]
        if waiting:
            entry.detail = {**entry.detail, "notifications": [item.id for item in waiting]}
            store.commit(Commit(notifications=waiting, audit=[entry]))
        return waiting
