"""Verbs of the noun `notify`: routes, test, ack, silence, silences, oncall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from csirt.clock import iso, parse_iso
from csirt.config import duration
from csirt.control.verbs import Context, verb
from csirt.errors import NotAllowed, NotFound, Unreachable, Usage
from csirt.messages import text
from csirt.model.audit import AuditEntry
from csirt.notify import acks, oncall, silences
from csirt.notify.router import subject_of
from csirt.notify.text import local
from csirt.stores.base import Commit

if TYPE_CHECKING:
    from csirt.config import Route


@verb("notify.routes", right="status")
def routes(context: Context, case: str = "", at: str = "") -> dict[str, Any]:
    """`csirt.notify-routes/1`: every route with who is on call; with `case`, only those that take it."""
    when = _time(at, context.clock.now()) if at else context.clock.now()
    taken: list[Route] = context.config.notify.routes
    if case:
        if not context.principal.may("read"):
            raise NotAllowed("which routes take a case is for roles that may read cases")
        document = _case(context, case)
        taken = context.part("router").routes_for(_described(context, document))
    items = [
        {
            "id": route.name,
            "match": route.match,
            "proceed": route.proceed,
            "contacts": oncall.on_call(context.config, route.name, when),
            "group_wait_s": duration(route.group_wait) / 1e6,
            "repeat_s": duration(route.repeat) / 1e6,
            "escalate_s": duration(route.escalate) / 1e6,
        }
        for route in taken
    ]
    problems = [] if case else context.part("router").check()
    return {"schema": "csirt.notify-routes/1", "count": len(items), "items": items, "problems": problems}


@verb("notify.oncall", right="status")
def on_call(context: Context, route: str = "", at: str = "") -> dict[str, Any]:
    """`csirt.notify-oncall/1`: who is on call for each route, in the order of escalation, and the next change."""
    now = _time(at, context.clock.now()) if at else context.clock.now()
    names = [item.name for item in context.config.notify.routes]
    if route and route not in names:
        raise NotFound(f"no route {route!r}; routes: {', '.join(names) or 'none is configured'}")
    items: list[dict[str, Any]] = []
    for name in [route] if route else names:
        change = oncall.next_change(context.config, name, now)
        following = None
        if change is not None:
            moment, people = change
            following = {"time": iso(moment), "local": local(context.config, moment), "contacts": people}
        items.append({"id": name, "contacts": oncall.on_call(context.config, name, now), "next": following})
    return {"schema": "csirt.notify-oncall/1", "at": iso(now), "count": len(items), "items": items}


@verb("notify.test", right="notify")
def test(context: Context, target: str) -> dict[str, Any]:
    """`csirt.notify-test/1`: tell a contact, or everybody on call for a route, that nothing has happened."""
    config = context.config
    people = [target] if oncall.contact(config, target) else oncall.on_call(config, target, context.clock.now())
    if not people:
        known = sorted({item.name for item in config.notify.contacts} | {item.name for item in config.notify.routes})
        raise NotFound(f"no contact, and no route with somebody on call, is named {target!r}; known: {known}")
    items: list[dict[str, Any]] = []
    for name in people:
        contact = oncall.contact(config, name)
        if contact is None:
            raise Usage(f"the contact {name!r} is not in the configuration")
        outcome = context.part("deliverer").test(contact, route=target, user=context.principal.name, lang=context.lang)
        said = "notify.sent" if outcome.state == "sent" else "notify.not_sent"
        fields = {"contact": name, "channel": contact.channel, "detail": outcome.detail}
        items.append(
            {"id": name, **fields, "sent": outcome.state == "sent", "text": text(said, context.lang, **fields)}
        )
    entry = _entry(context, "operation", "notify.test", target)
    entry.detail = {"contacts": people, "sent": [item["id"] for item in items if item["sent"]]}
    context.store.append_audit([entry])
    if not any(item["sent"] for item in items):
        raise Unreachable("\n".join(str(item["text"]) for item in items))
    return {"schema": "csirt.notify-test/1", "count": len(items), "items": items}


@verb("notify.ack", right="notify")
def ack(context: Context, case: str) -> dict[str, Any]:
    """`csirt.notify-ack/1`: acknowledge the notifications of a case; nobody else is woken for them."""
    document = _case(context, case)
    who = context.principal.name
    entry = _entry(context, "change", "notify.ack", document["id"])
    contacts = [item.name for item in context.config.notify.contacts if item.user and item.user == who]
    entry.detail = {"number": document["number"], **({"contact": contacts[0]} if contacts else {})}
    done = acks.acknowledge(context.store, document["id"], who, entry)
    key = "notify.acked" if done else "notify.nothing_to_ack"
    number = document["number"] or document["id"]
    return {
        "schema": "csirt.notify-ack/1",
        "case": document["id"],
        "number": document["number"],
        "acked_by": who,
        "count": len(done),
        "text": text(key, context.lang, case=number, count=len(done), user=who),
    }


@verb("notify.silence", right="notify")
def silence(
    context: Context,
    filter: str = "",
    until: str = "",
    message: str = "",
    owner: str = "",
    end: str = "",
    dry_run: bool = False,
) -> dict[str, Any]:
    """`csirt.notify-silence/1`: silence what matches a filter until a time, or `end` a silence by its id."""
    now = context.clock.now()
    if not message.strip():
        raise Usage("a silence needs a reason: -m REASON")
    if end:
        entry = _entry(context, "change", "notify.silence.end", end)
        entry.detail = {"reason": message}
        found = silences.end_now(context.store, end, entry, now)
        said = text("notify.ended", context.lang, id=found["id"], count=found["hidden"], again=found["again"])
        return {"schema": "csirt.notify-silence/1", "silence": _shown(found), "text": said}
    if not until:
        raise Usage("a silence needs an end: --until 2h, or a time such as 2026-11-23T04:00Z")
    made = silences.make(
        filter_text=filter,
        owner=owner or context.principal.name,
        reason=message,
        until=_time(until, now),
        now=now,
    )
    hit = sum(
        silences.covering([made], _described(context, document), now) is not None
        for document in context.store.find("case", {"state": ["open", "acknowledged"]})
    )
    said = text(
        "notify.would_silence" if dry_run else "notify.silenced",
        context.lang,
        id=made["id"],
        until=local(context.config, made["until"]),
        count=hit,
    )
    if not dry_run:
        entry = _entry(context, "change", "notify.silence", made["id"])
        entry.detail = {
            "filter": made["filter"],
            "owner": made["owner"],
            "until": iso(made["until"]),
            "reason": message,
        }
        with silences.LOCK:
            known = silences.load(context.store)
            context.store.commit(Commit(states=silences.state([*known, made], now), audit=[entry]))
    return {"schema": "csirt.notify-silence/1", "silence": _shown(made), "matches": hit, "text": said}


@verb("notify.silences", right="read")
def list_silences(context: Context, everything: bool = False) -> dict[str, Any]:
    """`csirt.notify-silences/1`: silences that hold, oldest first; with `everything`, ended ones and what they hid."""
    items = [_shown(item) for item in silences.load(context.store) if everything or not item["ended"]]
    return {"schema": "csirt.notify-silences/1", "count": len(items), "items": items}


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    times = {key: iso(item[key]) if item[key] else None for key in ("created", "until", "ended")}
    return {**{key: value for key, value in item.items() if key != "notifications"}, **times}


def _described(context: Context, case: dict[str, Any]) -> dict[str, Any]:
    incidents = [item for name in case["incidents"] if (item := context.store.get("incident", name)) is not None]
    router = context.part("router")
    return subject_of(case, incidents, router.name if router is not None else str)


def _case(context: Context, name: str) -> dict[str, Any]:
    """A case by number, id or unique prefix. Raises NotFound, and Usage with the candidates."""
    found = context.store.resolve("case", name)
    if len(found) > 1:
        exact = [item for item in found if item == name]
        numbers = [str((context.store.get("case", item) or {}).get("number") or item) for item in found]
        if not exact:
            raise Usage(f"{name!r} is ambiguous: {', '.join(numbers)}", candidates=numbers)
        found = exact
    document = context.store.get("case", found[0]) if found else None
    if document is None:
        raise NotFound(f"no case {name!r}; `csirt cases list` shows the open ones")
    return document


def _time(value: str, now: int) -> int:
    """A time ahead: a duration from now, or ISO 8601. Raises Usage."""
    try:
        return now + duration(value)
    except ValueError:
        pass
    try:
        return parse_iso(value)
    except ValueError as error:
        raise Usage(f"{value!r} is no time: write a duration such as 2h, or 2026-11-23T04:00Z") from error


def _entry(context: Context, category: Any, action: str, subject: str) -> AuditEntry:
    who = context.principal
    return AuditEntry(
        time=context.clock.now(),
        actor=who.name,
        uid=who.uid,
        on_behalf=who.delegate,
        category=category,
        action=action,
        subject=subject,
    )
