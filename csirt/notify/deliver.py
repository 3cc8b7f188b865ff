"""Sends what is due, once a second: intent before, outcome after, escalation while nobody answers (decision 5).

States of a notification: `pending` until `due`; `sending` while the far end is spoken to; then `sent`, `pending` again
with a later `due`, or `failed`. A `sending` found at the start of a tick is the remnant of a crash: nobody knows
whether it arrived, so it is sent again under the same Message-ID and idempotency key. A `sent` one with a `due` waits
for its acknowledgement until then, and after it the next contact is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from csirt import ids
from csirt.clock import SECOND, Clock
from csirt.config import Config, Contact, Route, duration
from csirt.errors import Conflict
from csirt.messages import text as sentence
from csirt.metrics import Metrics, RateLimited
from csirt.model.audit import AuditEntry
from csirt.model.records import Notification
from csirt.notify import acks, mail, oncall, silences, text, webhook
from csirt.notify.outcome import Outcome
from csirt.notify.router import subject_of
from csirt.stores.base import Commit, Store

ATTEMPTS = 8
FIRST_WAIT = 5 * SECOND
LONGEST_WAIT = 300 * SECOND
ROUNDS = 3  # how often everybody on call is tried before an unanswered P1 is left to the eyes on the case list
AT_ONCE = 50  # notifications sent in one tick, so that a tick ends

LOG = logging.getLogger("csirt.notify")


class Deliverer:
    """`tick` is called about once a second by one thread. `name`: a member's name by id, for silences."""

    def __init__(
        self, store: Store, config: Config, clock: Clock, metrics: Metrics, name: Callable[[str], str] | None = None
    ) -> None:
        self._store, self._config, self._clock, self._metrics = store, config, clock, metrics
        self._name = name or str
        self._timeout = duration(config.notify.timeout) / SECOND
        self._routes = {route.name: route for route in config.notify.routes}
        self._log = RateLimited(LOG)

    def tick(self) -> None:
        """Settle what a crash left, see who has answered, escalate, end silences, send what is due."""
        with silences.LOCK:
            now = self._clock.now()
            self._settle(now)
            self._watch(now)
            self._end_silences(now)
            waiting = self._store.find("notification", {"state": "pending", "due__lt": now + 1}, order="due")
        waiting.sort(key=lambda item: (item["priority"], item["level"], item["due"], item["id"]))
        down: set[str] = set()
        for document in waiting[:AT_ONCE]:
            self._one(document["id"], down)

    def test(self, contact: Contact, *, route: str, user: str, lang: str) -> Outcome:
        """Tell a contact that nothing has happened, now, whatever silences say."""
        now = self._clock.now()
        fields = {"route": route, "user": user, "contact": contact.name}
        notification = Notification(
            id=ids.digest("test", contact.name, route, user, now),
            case="",
            route=route,
            channel=contact.channel,
            recipient=contact.name,
            priority="P5",
        )
        subject = sentence("notify.test_subject", lang, **fields)
        return self._send(notification, contact, subject, sentence("notify.test_body", lang, **fields), "", now)

    # What happened since the last tick

    def _settle(self, now: int) -> None:
        unknown = [
            Notification.model_validate({**item, "state": "pending", "due": now})
            for item in self._store.find("notification", {"state": ["sending", "unknown"]})
        ]
        if unknown:
            self._metrics.count("csirt_notify_unknown_total", len(unknown))
            self._store.commit(
                Commit(
                    notifications=unknown,
                    audit=[self._entry("notify.unknown", item, {"settled": "sent again"}) for item in unknown],
                )
            )

    def _watch(self, now: int) -> None:
        for document in self._store.find("notification", {"state": "sent", "due__gte": 1}, order="due"):
            who = document["acked_by"] or acks.answered(self._store.get("case", document["case"]))
            if who:
                self._store.commit(Commit(notifications=[acks.mark(document, who)]))
            elif document["due"] <= now:
                notification = Notification.model_validate({**document, "due": 0})
                following = self._following(notification, now, ROUNDS)
                entry = self._entry("notify.unanswered", notification, {"level": notification.level})
                self._metrics.count("csirt_notify_unanswered_total")
                self._store.commit(Commit(notifications=[notification, *following], audit=[entry]))

    def _following(self, notification: Notification, now: int, rounds: int) -> list[Notification]:
        """The notification to the next contact, unless it exists or everybody has been tried `rounds` times."""
        people = oncall.on_call(self._config, notification.route, now)
        level = notification.level + 1
        id = ids.digest("notification", notification.id, level)
        if level >= len(people) * rounds or self._store.get("notification", id) is not None:
            return []
        person = oncall.contact(self._config, people[level % len(people)])
        changes = {
            "id": id,
            "level": level,
            "recipient": people[level % len(people)],
            "channel": person.channel if person else "mail",
            "state": "pending",
            "due": now,
            "attempts": 0,
            "created": 0,
            "updated": 0,
            "acked_by": "",
        }
        return [notification.model_copy(update=changes)]

    def _end_silences(self, now: int) -> None:
        known = silences.load(self._store)
        over = [item for item in known if not item["ended"] and item["until"] <= now]
        if not over:
            return
        again: list[Notification] = []
        audit: list[AuditEntry] = []
        for item in over:
            again += silences.end(self._store, item, now)
            audit.append(self._audit("notify.silence.expired", item["id"], silences.report(item)))
            LOG.info("silence %s has ended; it hid %d notifications", item["id"], item["hidden"])
        self._store.commit(Commit(notifications=again, states=silences.state(known, now), audit=audit))

    # One notification

    def _one(self, id: str, down: set[str]) -> None:
        with silences.LOCK:
            now = self._clock.now()
            document = self._store.get("notification", id)
            if document is None or document["state"] != "pending":
                return
            case = self._store.get("case", document["case"])
            notification = Notification.model_validate(document)
            if self._held_back(notification, case, now):
                return
            if notification.channel == "log":  # no route is configured: the log is all there is
                LOG.warning("%s (nobody is told: configure [[notify.routes]])", notification.subject)
                self._finish(notification, Outcome("sent"), now)
                return
            contact = self._contact(notification, now)
            if contact is None:
                self._finish(notification, Outcome("failed", "the route has no contact on call"), now)
                return
            endpoint = self._config.notify.smtp if contact.channel == "mail" else contact.address
            if endpoint in down:
                self._store.commit(Commit(notifications=[notification.model_copy(update={"due": now + FIRST_WAIT})]))
                return
            deadline = self._deadline(notification, now)
            hidden = next((s for s in silences.load(self._store) if s["ended"] and id in s["notifications"]), None)
            intent = {
                "state": "sending",
                "attempts": notification.attempts + 1,
                "recipient": contact.name,
                "channel": contact.channel,
            }
            notification = notification.model_copy(update=intent)
            self._store.commit(Commit(notifications=[notification]))
        subject, body = text.message(self._config, notification, case, deadline=deadline, silence=hidden)
        outcome = self._send(notification, contact, subject, body, str((case or {}).get("number", "")), now)
        if outcome.endpoint_down:
            down.add(endpoint)
        for attempt in range(ATTEMPTS):  # an acknowledgement may have come while we were sending, or come now
            try:
                with silences.LOCK:
                    latest = self._store.get("notification", id)
                    if latest is not None:
                        self._finish(Notification.model_validate(latest), outcome, self._clock.now())
                return
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise

    def _held_back(self, notification: Notification, case: dict[str, Any] | None, now: int) -> bool:
        who = notification.acked_by or acks.answered(case)
        if who:
            self._store.commit(Commit(notifications=[acks.mark(notification.model_dump(), who)]))
            self._metrics.stage("notify", 1, 0, {"suppressed": 1})
            return True
        assert case is not None
        incidents = [item for name in case["incidents"] if (item := self._store.get("incident", name)) is not None]
        known = silences.load(self._store)
        silence = silences.covering(known, subject_of(case, incidents, self._name), now)
        if silence is None:
            return False
        silences.hide(silence, notification)
        hidden = notification.model_copy(update={"state": "silenced", "due": 0})
        entry = self._entry("notify.silenced", notification, {"silence": silence["id"]})
        self._store.commit(Commit(notifications=[hidden], states=silences.state(known, now), audit=[entry]))
        self._metrics.stage("notify", 1, 0, {"silenced": 1})
        return True

    def _contact(self, notification: Notification, now: int) -> Contact | None:
        """Who is on call now at the notification's level; the one it was written for when the route is gone."""
        people = oncall.on_call(self._config, notification.route, now)
        name = people[notification.level % len(people)] if people else notification.recipient
        return oncall.contact(self._config, name)

    def _deadline(self, notification: Notification, now: int) -> int:
        """When an unacknowledged P1 goes to the next contact; 0 for others, and when nobody is left to try."""
        route = self._routes.get(notification.route)
        if route is None or notification.priority != "P1":
            return 0
        people = oncall.on_call(self._config, notification.route, now)
        last = notification.level + 1 >= len(people) * ROUNDS
        return 0 if last else now + _escalate(route)

    def _send(
        self, notification: Notification, contact: Contact, subject: str, body: str, number: str, now: int
    ) -> Outcome:
        settings = self._config.notify
        if contact.channel == "mail":
            try:
                message = mail.compose(
                    sender=settings.sender,
                    recipient=contact.address,
                    subject=subject,
                    body=body,
                    id=notification.id,
                    case=notification.case,
                    level=notification.level,
                    at=now,
                )
            except ValueError:
                return Outcome("failed", "the sender or the contact's address is not a plain mail address")
            return mail.send(message, smtp=settings.smtp, timeout=self._timeout)
        document = {
            "schema": "csirt.notification/1",
            "id": notification.id,
            "case": notification.case,
            "number": number,
            "route": notification.route,
            "recipient": contact.name,
            "level": notification.level,
            "priority": notification.priority,
            "subject": subject,
            "body": body,
        }
        return webhook.send(contact.address, document, key=notification.id, timeout=self._timeout)

    def _finish(self, notification: Notification, outcome: Outcome, now: int) -> None:
        """Record the outcome, and tell the next contact when this one cannot be reached."""
        if outcome.state == "sent":
            due = 0 if notification.acked_by else self._deadline(notification, now)
            done = notification.model_copy(update={"state": "sent", "due": due})
            entry = self._entry("notify.sent", done, {"attempt": done.attempts})
            self._store.commit(Commit(notifications=[done], audit=[entry]))
            self._metrics.stage("notify", 1, 1)
            return
        self._log.warning(f"{notification.channel}:{outcome.detail}", f"{notification.recipient}: {outcome.detail}")
        rounds = ROUNDS if notification.priority == "P1" else 1
        if outcome.state == "retry" and notification.attempts < ATTEMPTS:
            wait = min(FIRST_WAIT << max(notification.attempts - 1, 0), LONGEST_WAIT)
            later = notification.model_copy(update={"state": "pending", "due": now + wait})
            late = self._overdue(notification, now)
            following = self._following(notification, now, rounds) if late else []
            self._store.commit(Commit(notifications=[later, *following]))
            self._metrics.count("csirt_notify_retries_total")
            return
        failed = notification.model_copy(update={"state": "failed", "due": 0})
        following = [] if notification.acked_by else self._following(notification, now, rounds)
        entry = self._entry("notify.failed", failed, {"attempt": failed.attempts, "why": outcome.detail})
        self._store.commit(Commit(notifications=[failed, *following], audit=[entry]))
        self._metrics.stage("notify", 1, 0, {"failed": 1})

    def _overdue(self, notification: Notification, now: int) -> bool:
        """Whether a P1 that cannot be delivered has waited as long as an unanswered one would."""
        route = self._routes.get(notification.route)
        if route is None or notification.priority != "P1" or not notification.created:
            return False
        return now - notification.created >= _escalate(route)

    def _entry(self, action: str, notification: Notification, detail: dict[str, Any]) -> AuditEntry:
        return self._audit(
            action,
            notification.id,
            {
                "case": notification.case,
                "route": notification.route,
                "recipient": notification.recipient,
                "level": notification.level,
                **detail,
            },
        )

    def _audit(self, action: str, subject: str, detail: dict[str, Any]) -> AuditEntry:
        return AuditEntry(
            time=self._clock.now(),
            actor="system",
            category="operation",
            action=action,
            subject=subject,
            detail=detail,
        )


def _escalate(route: Route) -> int:
    return max(duration(route.escalate), SECOND)
