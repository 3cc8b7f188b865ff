"""Which route takes a case, who of it is told first, and what the notification says. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from csirt import ids
from csirt.config import Config, Contact, Route, duration
from csirt.errors import Usage
from csirt.model.filter import Filter
from csirt.model.severity import PRIORITY
from csirt.notify import oncall, text
from csirt.notify.endpoints import ADDRESS, is_loopback, is_relay

if TYPE_CHECKING:
    from csirt.model.records import Alert, Case, Incident, Notification

_ALERTS = 200
Wanted = list[tuple[Route, str]]  # routes, and the ids of what each would be told


# Where cases go while no route is configured.
JOURNAL = Route(name="journal")


class Router:
    """The configured routes. `name`: a member's name by its id; ids are shown when it is not given.

    A route whose filter cannot be read takes every case, so that a slip of the pen wakes somebody rather than nobody;
    `check` says so.
    """

    def __init__(self, config: Config, name: Callable[[str], str] | None = None) -> None:
        self._config = config
        self.name = name or str
        self._problems: list[str] = []
        self._filters: dict[str, Filter | None] = {}
        for route in config.notify.routes:
            try:
                self._filters[route.name] = Filter.parse(route.match, 0)
            except Usage as error:
                self._filters[route.name] = None
                self._problems.append(f"notify.routes {route.name}: match: {error.message}")

    def check(self) -> list[str]:
        """Everything wrong with routes, shifts and contacts, a sentence each."""
        notify = self._config.notify
        problems = [*self._problems, *oncall.check(self._config)]
        problems += [sentence for contact in notify.contacts for sentence in self._check_contact(contact)]
        if any(contact.channel == "mail" for contact in notify.contacts):
            if not is_relay(notify.smtp):
                problems.append("notify.smtp: mail contacts need a relay as host:port, such as '127.0.0.1:25'")
            if not ADDRESS.fullmatch(notify.sender):
                problems.append(f"notify.sender: {notify.sender!r} is not a mail address")
        names = [route.name for route in notify.routes]
        problems += [
            f"notify.routes: the name {name!r} occurs twice"
            for name in sorted({n for n in names if names.count(n) > 1})
        ]
        for index, route in enumerate(notify.routes):
            if not route.match.strip() and not route.proceed and index + 1 < len(notify.routes):
                problems.append(f"notify.routes {route.name}: takes every case, so the routes after it never see one")
                break
        if notify.routes and all(route.match.strip() for route in notify.routes):
            problems.append(
                "notify.routes: a case that no route matches is told to nobody; add a last route without `match`"
            )
        return problems

    def _check_contact(self, contact: Contact) -> list[str]:
        where = f"notify.contacts {contact.name}"
        if contact.channel == "mail":
            return [] if ADDRESS.fullmatch(contact.address) else [f"{where}: {contact.address!r} is not a mail address"]
        url = urlsplit(contact.address)
        if url.scheme not in ("http", "https") or not url.hostname:
            return [f"{where}: {contact.address!r} is not an http or https URL"]
        if url.username or url.password:
            return [f"{where}: credentials do not belong into the URL; use a path that is secret, or a local relay"]
        if url.scheme == "http" and not is_loopback(url.hostname):
            return [f"{where}: plain http is for this machine only; use https"]
        return []

    def routes_for(self, subject: Mapping[str, Any]) -> list[Route]:
        """The routes that take a case: the first that matches, and further ones while they say `proceed`."""
        taken: list[Route] = []
        for route in self._config.notify.routes:
            found = self._filters[route.name]
            if found is None or found.matches(subject):
                taken.append(route)
                if not route.proceed:
                    break
        return taken

    def route_for(self, subject: Mapping[str, Any], at: int) -> list[dict[str, Any]]:
        """What would happen to a case at a time: `[{route, contacts}]`, contacts in the order of escalation."""
        return [
            {"route": route.name, "contacts": oncall.on_call(self._config, route.name, at)}
            for route in self.routes_for(subject)
        ]

    def intents(
        self,
        incident: Incident,
        case: Case,
        alerts: list[Alert],
        at: int,
        known: Callable[[str], bool] = lambda _: False,
    ) -> list[Notification]:
        """The notifications a changed incident asks for, but those whose id is `known`; the same content gives the same
        ids, so what is already recorded is told once.

        One per case, route and priority: more alerts of the case are folded in until `repeat` has passed in event
        time since the case began; then new evidence makes another one. `at`: now, for `due` alone.
        """
        wanted = [(route, name) for route, name in self.wanted(incident, case) if not known(name)]
        return self.made(wanted, incident, case, alerts, at)

    def wanted(self, incident: Incident, case: Case) -> Wanted:
        """The routes whom a changed incident asks to tell, each with the id of its notification."""
        if case.state in ("closed", "merged"):
            return []
        if not self._config.notify.routes:  # nobody is configured: the daemon's log at least says so
            routes = [JOURNAL]
        else:
            routes = self.routes_for(subject_of(vars(case), [vars(incident)], self.name))
        return [(route, _name(route, incident, case, PRIORITY[case.severity])) for route in routes]

    def made(self, wanted: Wanted, incident: Incident, case: Case, alerts: list[Alert], at: int) -> list[Notification]:
        """The notifications themselves."""
        return [self._intent(route, name, incident, case, alerts, at) for route, name in wanted]

    def _intent(
        self, route: Route, name: str, incident: Incident, case: Case, alerts: list[Alert], at: int
    ) -> Notification:
        from csirt.model.records import Notification

        config, priority = self._config, PRIORITY[case.severity]
        # Who is on call by event time, so that a replay says the same; sending asks again.
        first = next(iter(oncall.on_call(config, route.name, incident.last)), "")
        person = oncall.contact(config, first)
        return Notification.trusted(
            {
                "id": name,
                "case": case.id,
                "route": route.name,
                "channel": "log" if route is JOURNAL else person.channel if person else "mail",
                "recipient": first,
                "level": 0,
                "subject": text.subject(config, case, priority),
                "body": text.body(config, incident, case, alerts, priority, self.name),
                "alerts": sorted([alert.id for alert in alerts])[:_ALERTS],
                "priority": priority,
                "due": at + duration(route.group_wait),
                "state": "pending",
                "acked_by": "",
                "attempts": 0,
                "created": 0,
                "updated": 0,
            }
        )


def _name(route: Route, incident: Incident, case: Case, priority: str) -> str:
    turn = max(incident.last - case.first, 0) // max(duration(route.repeat), 1)
    return ids.digest("notification", case.id, route.name, priority, 0, turn)


def subject_of(
    case: Mapping[str, Any], incidents: Sequence[Mapping[str, Any]], name: Callable[[str], str] = str
) -> dict[str, Any]:
    """What routes and silences look at: the case's fields, `priority`, members by id and name, rules, tactics."""
    members = list(case["members"])
    merged = {
        key: sorted({value for incident in incidents for value in incident[key]})
        for key in ("rules", "tactics", "techniques")
    }
    return {
        **case,
        **merged,
        "members": [*members, *(name(item) for item in members)],
        "priority": PRIORITY[case["severity"]],
        "rsit": case.get("rsit") or next((item["rsit"] for item in incidents if item["rsit"]), ""),
        "clinical": bool(case.get("clinical")) or any(item["clinical"] for item in incidents),
    }
