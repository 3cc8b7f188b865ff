"""What the verbs of cases and playbooks share: finding a case by what people say, rows, times, committing a change."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from csirt.cases.urgency import order, urgency
from csirt.cases.workflow import Desk, Result
from csirt.clock import SECOND, iso
from csirt.control.verbs import Context
from csirt.errors import Conflict, CsirtError, NotFound, Usage
from csirt.model.audit import AuditEntry
from csirt.model.severity import PRIORITY
from csirt.stores.base import Commit

if TYPE_CHECKING:
    from csirt.model.records import Case, Incident

OPEN = ("open", "acknowledged")
# Integers under these names become ISO 8601 in answers.
TIMES = frozenset(
    {"first", "last", "created", "updated", "time", "started", "finished", "due", "state_since", "expires", "since"}
)
ROW = (
    *("id", "number", "version", "state", "severity", "title", "owner", "acked_by", "incidents", "members", "first"),
    *("last", "alerts", "notes", "news", "verdict", "rsit", "clinical", "merged_into", "tlp", "created", "updated"),
)


def find_case(context: Context, said: str) -> dict[str, Any]:
    """The case people mean: a number, its last digits, an id, a unique beginning, or `@mine`.

    Raises NotFound; Usage with the candidates when it could be several.
    """
    name = said.strip()
    if name == "@mine":
        return _mine(context)
    found = _by_digits(context, name) if re.fullmatch(r"\d{1,6}", name) else []
    found = found or context.store.resolve("case", name)
    if not found:
        raise NotFound(f"no case {said!r}; `csirt cases list` shows the open ones, --all the others too")
    documents = [document for key in found if (document := context.store.get("case", key)) is not None]
    if len(documents) > 1:
        candidates = [f"{item['number']} {item['title']}" for item in documents]
        raise Usage(f"{said!r} could be " + "; ".join(candidates[:20]), candidates=candidates)
    return documents[0]


def _mine(context: Context) -> dict[str, Any]:
    mine = context.store.find("case", {"owner": context.principal.name, "state": list(OPEN)})
    if not mine:
        raise NotFound(f"no open case is yours ({context.principal.name})")
    if len(mine) > 1:
        mine.sort(key=order)
        candidates = [f"{item['number']} {item['title']}" for item in mine]
        raise Usage("@mine could be " + "; ".join(candidates[:20]), candidates=candidates)
    return mine[0]


def _by_digits(context: Context, digits: str) -> list[str]:
    """`12` is C-2026-0012: this year's, else the latest earlier year's."""
    year = datetime.fromtimestamp(context.clock.now() // SECOND, UTC).year
    wanted = digits.zfill(4)
    for candidate in range(year + 1, year - 6, -1):
        found = context.store.resolve("case", f"C-{candidate}-{wanted}")
        whole = [
            key for key in found if (context.store.get("case", key) or {}).get("number") == f"C-{candidate}-{wanted}"
        ]
        if whole:
            return whole
    return []


def row(case: dict[str, Any]) -> dict[str, Any]:
    """A case as lists give it: its fields, priority, and the urgency with its reasons. Times in microseconds."""
    reasons = urgency(case)
    points = sum(item["points"] for item in reasons)
    fields = {key: case.get(key, 0 if key == "news" else "") for key in ROW}
    return {**fields, "priority": PRIORITY[case["severity"]], "urgency": {"points": points, "reasons": reasons}}


def shown(value: Any) -> Any:
    """A document with times as ISO 8601 UTC; a time of 0 means none and becomes null."""
    if isinstance(value, dict):
        return {
            key: (iso(item) if item else None) if key in TIMES and type(item) is int else shown(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return value


def desk(context: Context, case: dict[str, Any]) -> Desk:
    """The case on the caller's desk."""
    from csirt.model.records import Case, CaseEvent

    record = Case.model_validate(case)
    events = [CaseEvent.model_validate(event) for event in context.store.case_events(record.id)]
    return Desk(record, events, context.principal, context.clock.now())


def incidents_of(context: Context, names: Iterable[str]) -> list[Incident]:
    """The incidents of these ids; of one merged into another, its own record."""
    from csirt.model.records import Incident

    wanted = list(names)
    found = {item["id"]: item for item in context.store.find("incident", {"id": wanted})} if wanted else {}
    return [Incident.model_validate(found[name]) for name in wanted if name in found]


def commit(context: Context, action: str, result: Result, subject: str, detail: dict[str, Any]) -> None:
    """Commit a change of cases with its one audit entry."""
    who = context.principal
    entry = AuditEntry(
        time=context.clock.now(),
        actor=who.name,
        uid=who.uid,
        on_behalf=who.delegate,
        category="change",
        action=action,
        subject=subject,
        detail=detail,
    )
    change = Commit(case_events=result.events, cases=result.cases, incidents=result.incidents, audit=[entry])
    try:
        context.store.commit(change)
    except Conflict as error:
        raise Raced(error.message, **error.details) from error


def each(context: Context, cases: list[str], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A change of one or many cases, one commit each: `csirt.case-change/1` with `items` and `failed`.

    One case's failure is raised; of several, failures are collected and the others go on. A case that the pipeline
    changed at the same moment is read again, up to three times.
    """
    if not cases:
        raise Usage("no case given; name one, or use --where FILTER")
    items: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for name in dict.fromkeys(cases):
        try:
            items.append(_retried(context, name, change))
        except CsirtError as error:
            if len(cases) == 1:
                raise
            failed.append({"case": name, "code": error.code, "exit_code": error.exit_code, "message": error.message})
    return shown({"schema": "csirt.case-change/1", "count": len(items), "items": items, "failed": failed})  # type: ignore[no-any-return]


class Raced(Conflict):
    """The store refused a commit because the case moved on; reading it again may help."""


def _retried(context: Context, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    for attempt in range(3):
        try:
            return change(find_case(context, name))
        except Raced as error:
            if attempt == 2:
                raise Conflict(error.message, **error.details) from error
    raise AssertionError("unreachable")


def answer(before: dict[str, Any], after: Case, kind: str, changed: bool, dry_run: bool, **more: Any) -> dict[str, Any]:
    """One item of a change's answer."""
    document = after.model_dump()
    fields = ("state", "owner", "severity", "verdict", "rsit", "acked_by", "version", "merged_into")
    moved = {key: [before.get(key, ""), document[key]] for key in fields if before.get(key, "") != document[key]}
    return {
        "id": before["id"],
        "number": before["number"] or document["number"],
        "title": before["title"],
        "kind": kind,
        "changed": changed,
        "dry_run": dry_run,
        "version": before["version"] if dry_run else document["version"],
        "moved": moved,
        **more,
    }
