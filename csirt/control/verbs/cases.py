"""Verbs of the noun `cases`: the queue, one case, and everything people do to cases."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from csirt.cases.rsit import resolve
from csirt.cases.workflow import Desk, Result
from csirt.clock import SECOND, iso
from csirt.config import duration
from csirt.control import caseview
from csirt.control.casework import answer, commit, desk, each, find_case, incidents_of, row, shown
from csirt.control.verbs import Context, verb
from csirt.errors import NotFound, Usage

if TYPE_CHECKING:
    from csirt.model.records import Case, CaseEvent, Incident

_TIMES = ("first", "last", "created", "updated")
LATE = 120 * SECOND  # a long step commits cases well after the moment it calls now
HEARTBEAT = 15  # seconds between signs of life of `watch`, so that a caller who left is noticed


@verb("cases.list", right="read", access=True)
def list_(context: Context, where: str = "", everything: bool = False, limit: int | None = None) -> dict[str, Any]:
    """`csirt.cases/1`: cases, most urgent first; `total` counts all that pass."""
    rows, total = caseview.queue(context, where, everything, limit)
    items = [{**item, **{key: iso(item[key]) if item[key] else None for key in _TIMES}} for item in rows]
    return {"schema": "csirt.cases/1", "count": len(rows), "total": total, "items": items}


@verb("cases.show", right="read", access=True)
def show(context: Context, case: str) -> dict[str, Any]:
    """`csirt.case/1`: one case with its incidents, alerts, members, runs, notifications, history, on call."""
    document: dict[str, Any] = shown(caseview.whole(context, find_case(context, case)))
    return document


@verb("cases.next", right="read", access=True)
def next_(context: Context, where: str = "") -> dict[str, Any]:
    """`csirt.case/1` of the one case to look at now: the most urgent that nobody looks after, else one's own with news.

    Raises NotFound when the queue is empty.
    """
    rows, _ = caseview.queue(context, where, False, None)
    me = context.principal.name
    for item in rows:
        if (item["state"] == "open" and item["owner"] in ("", me)) or (item["news"] and item["owner"] == me):
            document: dict[str, Any] = show(context, item["id"])
            return document
    raise NotFound("nothing waits for you: every open case is looked after")


@verb("cases.ack", right="triage")
def ack(context: Context, cases: list[str], version: int | None = None, dry_run: bool = False) -> dict[str, Any]:
    """Take notice of cases; an unowned case becomes one's own."""
    return _change(context, cases, "ack", lambda at: at.ack(), version, dry_run)


@verb("cases.assign", right="triage")
def assign(
    context: Context, cases: list[str], owner: str = "", version: int | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Give cases to somebody; to oneself when no name is given."""
    name = owner or context.principal.name
    known = {*context.config.control.users, context.principal.name}
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        raise Usage(f"no user {name!r} under [control.users]; {hint}")
    return _change(context, cases, "assign", lambda at: at.assign(name), version, dry_run)


@verb("cases.note", right="triage")
def note(context: Context, cases: list[str], text: str, dry_run: bool = False) -> dict[str, Any]:
    """Add a note to cases; a note never conflicts with what others do."""
    return _change(context, cases, "note", lambda at: at.note(text), None, dry_run, text=text)


@verb("cases.severity", right="triage")
def severity(
    context: Context, cases: list[str], to: str, reason: str = "", version: int | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Set the severity of cases."""
    return _change(context, cases, "severity", lambda at: at.severity(to, reason), version, dry_run, text=reason)


@verb("cases.close", right="triage")
def close(
    context: Context,
    cases: list[str],
    verdict: str,
    rsit: str,
    reason: str,
    version: int | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Judge cases and close them; tells which plans still wait."""
    kind = resolve(rsit)

    def work(at: Desk) -> dict[str, Any]:
        at.close(verdict, kind, reason)
        waiting = context.store.find("run", {"case": at.case.id, "state": "awaiting_approval"})
        return {"waiting": [run["number"] or run["id"] for run in waiting]}

    return _change(context, cases, "close", work, version, dry_run, text=reason)


@verb("cases.reopen", right="triage")
def reopen(
    context: Context, cases: list[str], reason: str = "", version: int | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Take closed cases up again."""
    return _change(context, cases, "reopen", lambda at: at.reopen(reason), version, dry_run, text=reason)


@verb("cases.merge", right="triage")
def merge(
    context: Context, cases: list[str], into: str, reason: str, version: int | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Put the incidents of cases into another case."""
    target = find_case(context, into)

    def change(case: dict[str, Any]) -> dict[str, Any]:
        one, other = desk(context, case), desk(context, find_case(context, target["id"]))
        one.expect(version, reason)
        moved = one.merge_into(other, incidents_of(context, case["incidents"]), reason)
        result = Result([*one.fresh, *other.fresh], [one.latest(), other.latest()], moved)
        detail = {"into": other.case.number, "from": one.case.number, "reason": reason}
        if not dry_run:
            commit(context, "cases.merge", result, case["id"], detail)
        return answer(case, one.case, "merge", True, dry_run, into=other.case.number)

    return each(context, cases, change)


@verb("cases.split", right="triage")
def split(
    context: Context, case: str, incident: str, reason: str = "", version: int | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Let one incident of a case go into a case of its own."""

    def change(document: dict[str, Any]) -> dict[str, Any]:
        one = desk(context, document)
        one.expect(version, reason)
        names = [name for name in document["incidents"] if name.startswith(incident)]
        if len(names) != 1:
            raise (Usage if names else NotFound)(f"{incident!r} names {len(names)} incidents of {document['number']}")
        (found,) = incidents_of(context, names)
        opened, fresh = one.split(found, reason)
        fresh.created = fresh.updated = one.now
        result = Result([*one.fresh, opened], [one.latest(), fresh], [found])
        if not dry_run:
            commit(
                context,
                "cases.split",
                result,
                document["id"],
                {"incident": found.id, "into": fresh.id, "reason": reason},
            )
        return answer(document, one.case, "split", True, dry_run, into=fresh.number or fresh.id)

    return each(context, [case], change)


@verb("cases.undo", right="triage")
def undo(context: Context, cases: list[str], version: int | None = None, dry_run: bool = False) -> dict[str, Any]:
    """Take back the last thing a person did to each case; a merge or split is taken back on both sides."""

    def change(case: dict[str, Any]) -> dict[str, Any]:
        one = desk(context, case)
        one.expect(version)
        last = one.last_change()
        one.undo(last)
        result = Result(one.fresh, [one.latest()])
        _undo_other_side(context, one, last, result)
        if not dry_run:
            commit(context, "cases.undo", result, case["id"], {"kind": last.kind, "seq": last.seq})
        return answer(case, one.case, "undo", True, dry_run, undid=last.kind)

    return each(context, cases, change)


@verb("cases.handover", right="read", access=True)
def handover(context: Context, since: str = "8h") -> dict[str, Any]:
    """`csirt.handover/1`: what the next shift must know: waiting, in work, closed, plans, what did not arrive."""
    try:
        begin = context.clock.now() - duration(since)
    except ValueError as error:
        raise Usage(f"--since: {error}") from error
    rows, _ = caseview.queue(context, "", False, None)
    changed = context.store.find("case", {"updated__gte": begin})
    runs = context.store.find("run", {"state": ["awaiting_approval", "failed", "done"]})
    active = [run for run in runs if run["state"] != "done" or any(action["expires"] for action in run["actions"])]
    unsent = context.store.find("notification", {"state": ["failed", "unknown"]})
    document = {
        "schema": "csirt.handover/1",
        "waiting": [item for item in rows if item["state"] == "open"],
        "in_work": [item for item in rows if item["state"] == "acknowledged"],
        "closed": [row(item) for item in changed if item["state"] in ("closed", "merged")],
        "plans": [
            {key: run[key] for key in ("id", "number", "case", "playbook", "state", "updated")} for run in active
        ],
        "unsent": [{key: item[key] for key in ("id", "case", "recipient", "state")} for item in unsent],
    }
    answer_: dict[str, Any] = shown(document)
    return answer_


@verb("cases.watch", right="read", access=True, stream=True)
def watch(context: Context, where: str = "") -> Iterator[Any]:
    """The queue, then every case as it changes, as `csirt.cases/1` rows; on a store opened directly, only the queue.

    An item without `id` is a sign of life.
    """
    rows, _ = caseview.queue(context, where, False, None)
    seen = {item["id"]: item["version"] for item in rows}
    yield from shown(rows)
    since, quiet = context.clock.now(), 0
    while context.live:
        context.clock.sleep(1.0)
        fresh = context.store.find("case", {"updated__gte": since - LATE})
        changed = [row(item) for item in fresh if seen.get(item["id"]) != item["version"]]
        since, quiet = context.clock.now(), quiet + 1
        for item in caseview.passing(context, changed, where):
            yield shown(item)
            quiet = 0
        seen.update({item["id"]: item["version"] for item in changed})
        if quiet >= HEARTBEAT:
            yield {"alive": True}
            quiet = 0


def _change(
    context: Context,
    cases: list[str],
    kind: str,
    work: Callable[[Desk], Any],
    version: int | None,
    dry_run: bool,
    text: str = "",
) -> dict[str, Any]:
    """One kind of change on each case; `work` returns False when nothing changes, or further fields of the answer."""

    def change(case: dict[str, Any]) -> dict[str, Any]:
        one = desk(context, case)
        one.expect(version, text)
        done = work(one)
        changed = done is not False
        more = done if isinstance(done, dict) else {}
        if changed and not dry_run:
            detail = {"number": one.case.number, **(one.fresh[-1].data if kind != "note" else {})}
            commit(context, f"cases.{kind}", Result(one.fresh, [one.latest()]), case["id"], detail)
        return answer(case, one.case, kind, changed, dry_run, **more)

    return each(context, cases, change)


def _undo_other_side(context: Context, one: Desk, last: CaseEvent, result: Result) -> None:
    """Take back the counterpart of a merge or split: incidents go where they were."""
    if last.kind == "merged":
        name = last.data.get("into") or last.data["from"]
        other = desk(context, find_case(context, name))
        key, here = ("from", one) if last.data.get("into") else ("into", one)
        gone = {event.undoes for event in other.events if event.undoes is not None}
        for event in reversed(other.events):
            if event.kind == "merged" and event.data.get(key) == here.case.id and event.seq not in gone:
                other.undo(event)
                break
        child = one if last.data.get("into") else other
        incidents = incidents_of(context, child.latest().incidents)
        _move(incidents, child.case)
        result.events += other.fresh
        result.cases.append(other.latest())
        result.incidents += incidents
    elif last.kind == "split":
        other = desk(context, find_case(context, last.data["into"]))
        other.absorbed(one.case.id)
        incidents = incidents_of(context, [last.data["incident"]])
        _move(incidents, one.case)
        result.events += other.fresh
        result.cases.append(other.latest())
        result.incidents += incidents


def _move(incidents: list[Incident], case: Case) -> None:
    for incident in incidents:
        incident.case = case.id
