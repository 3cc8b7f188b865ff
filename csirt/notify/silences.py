"""Silences: a person says what need not be told until when, and why; what was hidden is kept and reported.

They are one JSON document under the store's state key `notify`. A silence:
{id, filter, owner, reason, created, until, ended, hidden, again, cases, notifications}; times in microseconds UTC,
`ended` 0 while it holds, `hidden` how many notifications it held back, `again` how many were sent when it ended.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from csirt import ids
from csirt.clock import DAY
from csirt.errors import NotFound, Usage
from csirt.model.audit import AuditEntry
from csirt.model.filter import Filter
from csirt.model.records import Notification
from csirt.stores.base import Commit, Store

KEY = "notify"
LONGEST = 31 * DAY
KEPT = 90 * DAY  # ended silences stay listed this long
SAMPLE = 50

# Whoever reads, changes and commits notifications or silences holds it: verbs and deliverer are threads of one process.
LOCK = threading.RLock()

Silence = dict[str, Any]


def load(store: Store) -> list[Silence]:
    """All silences, oldest first."""
    raw = store.state(KEY)
    return list(json.loads(raw)["silences"]) if raw else []


def state(silences: list[Silence], now: int) -> dict[str, bytes | None]:
    """The state change for a commit; silences that ended long ago are left out."""
    kept = [item for item in silences if not item["ended"] or now - item["ended"] < KEPT]
    return {KEY: json.dumps({"silences": kept}, sort_keys=True).encode()}


def make(*, filter_text: str, owner: str, reason: str, until: int, now: int) -> Silence:
    """A new silence. Raises Usage for an empty filter or reason, a broken filter, or an end in the past or too far."""
    if not filter_text.strip():
        raise Usage("a silence needs a filter: `member:dental rule:net-05` silences that rule at that member")
    if not reason.strip():
        raise Usage("a silence needs a reason: -m REASON")
    Filter.parse(filter_text, now)
    if until <= now:
        raise Usage("the silence would already have ended: --until takes a time ahead, or a duration such as 2h")
    if until - now > LONGEST:
        raise Usage(f"a silence lasts at most {LONGEST // DAY} days; disable the rule, or change it, for longer")
    return {
        "id": f"S-{ids.digest('silence', filter_text, owner, now, size=3)}",
        "filter": filter_text,
        "owner": owner,
        "reason": reason,
        "created": now,
        "until": until,
        "ended": 0,
        "hidden": 0,
        "again": 0,
        "cases": [],
        "notifications": [],
    }


def covering(silences: list[Silence], subject: Mapping[str, Any], now: int) -> Silence | None:
    """The first silence that holds now and matches a case (see `router.subject_of`)."""
    for item in silences:
        if not item["ended"] and item["until"] > now and Filter.parse(item["filter"], now).matches(subject):
            return item
    return None


def hide(silence: Silence, notification: Notification) -> None:
    """Remember what a silence held back."""
    silence["hidden"] += 1
    silence["notifications"].append(notification.id)
    if notification.case not in silence["cases"] and len(silence["cases"]) < SAMPLE:
        silence["cases"].append(notification.case)


def end(store: Store, silence: Silence, now: int) -> list[Notification]:
    """Mark a silence as ended; the notifications it held back whose case is still open and unacknowledged are due."""
    silence["ended"] = now
    again: list[Notification] = []
    for id in silence["notifications"]:
        document = store.get("notification", id)
        if document is None or document["state"] != "silenced":
            continue
        case = store.get("case", document["case"])
        if case is not None and case["state"] == "open" and not document["acked_by"]:
            again.append(Notification.model_validate({**document, "state": "pending", "due": now}))
    silence["again"] = len(again)
    return again


def end_now(store: Store, id: str, entry: AuditEntry, now: int) -> Silence:
    """End a silence by its id before its time. Raises NotFound, and Usage when it has ended."""
    with LOCK:
        silences = load(store)
        found = [item for item in silences if item["id"].casefold() == id.casefold()]
        if not found:
            raise NotFound(f"no silence {id}; `csirt notify silences` lists them")
        if found[0]["ended"]:
            raise Usage(f"the silence {id} has already ended")
        again = end(store, found[0], now)
        entry.subject = found[0]["id"]
        entry.detail = {**entry.detail, **report(found[0])}
        store.commit(Commit(notifications=again, states=state(silences, now), audit=[entry]))
        return found[0]


def report(silence: Silence) -> dict[str, Any]:
    """What a silence hid, for the audit."""
    return {
        "filter": silence["filter"],
        "owner": silence["owner"],
        "hidden": silence["hidden"],
        "again": silence["again"],
        "cases": silence["cases"][:SAMPLE],
    }
