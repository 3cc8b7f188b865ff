"""Delivery: intent and outcome, retries, escalation, acknowledgement, silences, crashes."""

from __future__ import annotations

import email
from collections.abc import Iterator
from email import policy
from pathlib import Path
from typing import Any

import pytest

from csirt.clock import HOUR, MINUTE, SECOND, Frozen
from csirt.config import Config
from csirt.metrics import Metrics
from csirt.model.audit import AuditEntry
from csirt.model.records import CaseEvent
from csirt.notify import acks, silences
from csirt.notify.deliver import ATTEMPTS, ROUNDS, Deliverer
from csirt.notify.router import Router
from csirt.stores.base import Commit
from tests.notify import fakes
from tests.notify.fakes import START, MemoryStore, SmtpServer, alert, case, incident, running

STEP = 5 * SECOND


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    """A relay."""
    with running(SmtpServer()) as smtp:
        yield smtp


class Room:
    """A store with the standard case and its notification, a deliverer, and a clock to turn."""

    def __init__(self, settings: Config, **changes: Any) -> None:
        self.clock = Frozen(START)
        self.metrics = Metrics()
        self.store = MemoryStore(self.clock)
        self.config = settings
        self.case = case(**changes)
        self.intents = Router(settings).intents(incident(), self.case, [alert()], START)
        self.store.commit(Commit(cases=[self.case], incidents=[incident()], notifications=self.intents))
        self.restart()

    def restart(self) -> None:
        """A new process on the same store."""
        self.deliverer = Deliverer(self.store, self.config, self.clock, self.metrics)  # type: ignore[arg-type]

    def run(self, microseconds: int) -> None:
        """Tick every five seconds for this long."""
        end = self.clock.time + microseconds
        while self.clock.time < end:
            self.clock.time += STEP
            self.deliverer.tick()

    def change_case(self, **changes: Any) -> None:
        """What an analyst does to the case."""
        self.case = self.case.model_copy(update=changes)
        self.store.commit(Commit(cases=[self.case]))

    def states(self) -> list[tuple[int, str]]:
        """(level, state) of every notification."""
        return sorted((item["level"], item["state"]) for item in self.store.find("notification"))


def recipients(server: SmtpServer) -> list[str]:
    """Who got mail, in order."""
    return [mail["to"][0].partition("<")[2].partition("@")[0] for mail in server.mails]


def entry() -> AuditEntry:
    """A person's audit entry."""
    return AuditEntry(time=START, actor="ola", category="change", action="notify.ack")


def silence(room: Room, text: str, *, until: int) -> dict[str, Any]:
    """Add a silence, as the verb does."""
    made = silences.make(filter_text=text, owner="kari", reason="their scanner", until=until, now=room.clock.now())
    known = silences.load(room.store)  # type: ignore[arg-type]
    room.store.commit(Commit(states=silences.state([*known, made], room.clock.now())))
    return made


def test_waits_for_the_group_then_sends_once(server: SmtpServer) -> None:
    """Nothing before `group_wait`; then one mail with the case's number; then silence, though ticks go on."""
    room = Room(fakes.config(smtp=server.address), severity="high")
    room.run(5 * SECOND)
    assert server.mails == []
    room.run(HOUR)
    assert recipients(server) == ["first"]
    got = email.message_from_bytes(server.mails[0]["raw"], policy=policy.default)
    assert got["Subject"] == "[C-2026-0412] P2 SMB spreads from 10.1.2.3"
    assert room.states() == [(0, "sent")]
    assert room.store.actions() == ["notify.sent"]
    assert room.metrics.stages()[8] == {"name": "notify", "in": 1, "out": 1, "dropped": {}}


def test_an_unanswered_p1_goes_to_the_next_contact(server: SmtpServer) -> None:
    """After `escalate` the second contact is told, then the first again, and so on for three rounds, then no more."""
    room = Room(fakes.config(smtp=server.address))
    room.run(10 * SECOND)
    assert recipients(server) == ["first"]
    room.run(10 * MINUTE - STEP)
    assert recipients(server) == ["first"]
    room.run(STEP)
    assert recipients(server) == ["first", "second"]
    room.run(24 * HOUR)
    assert recipients(server) == ["first", "second"] * ROUNDS
    assert len({mail["raw"].partition(b"Message-ID: ")[2].split()[0] for mail in server.mails}) == 2 * ROUNDS
    subject = email.message_from_bytes(server.mails[1]["raw"], policy=policy.default)["Subject"]
    assert "not answered, level 2" in subject
    assert room.store.actions().count("notify.unanswered") == 2 * ROUNDS - 1


def test_other_priorities_do_not_escalate(server: SmtpServer) -> None:
    """A P2 is told once, however long nobody answers."""
    room = Room(fakes.config(smtp=server.address), severity="high")
    room.run(6 * HOUR)
    assert recipients(server) == ["first"]


def test_an_acknowledgement_stops_the_escalation(server: SmtpServer) -> None:
    """`notify ack` before the deadline: the second contact sleeps on; the audit has who it was."""
    room = Room(fakes.config(smtp=server.address))
    room.run(MINUTE)
    done = acks.acknowledge(room.store, "ca5e", "ola", entry())  # type: ignore[arg-type]
    assert [item.acked_by for item in done] == ["ola"]
    assert room.store.entries[-1].detail["notifications"] == [done[0].id]
    assert acks.acknowledge(room.store, "ca5e", "kari", entry()) == []  # type: ignore[arg-type]
    room.run(HOUR)
    assert recipients(server) == ["first"]


@pytest.mark.parametrize("changes", [{"state": "acknowledged", "acked_by": "ola"}, {"state": "closed"}])
def test_work_on_the_case_stops_it_too(server: SmtpServer, changes: dict[str, Any]) -> None:
    """Who acknowledges or closes the case need not acknowledge its notifications as well."""
    room = Room(fakes.config(smtp=server.address))
    room.run(MINUTE)
    room.change_case(**changes)
    room.run(HOUR)
    assert recipients(server) == ["first"]


def test_acknowledged_before_it_was_sent(server: SmtpServer) -> None:
    """A case somebody took within `group_wait` wakes nobody; the notification says that it was suppressed."""
    room = Room(fakes.config(smtp=server.address))
    room.change_case(state="acknowledged", acked_by="ola")
    room.run(HOUR)
    assert server.mails == []
    assert room.states() == [(0, "suppressed")]
    assert room.metrics.stages()[8]["dropped"] == {"suppressed": 1}


def test_new_evidence_after_an_acknowledgement_is_told(server: SmtpServer) -> None:
    """Alerts that joined after the acknowledgement make the case unanswered again for what is due then."""
    room = Room(fakes.config(smtp=server.address))
    room.change_case(state="acknowledged", acked_by="ola", news=2)
    room.run(MINUTE)
    assert recipients(server) == ["first"]


def test_retries_with_growing_waits_then_tells_the_next(server: SmtpServer) -> None:
    """A relay that defers is asked again, ever more slowly; then it failed and the next contact is told."""
    server.answers = {"RCPT": "451 later"}
    room = Room(fakes.config(smtp=server.address), severity="medium")
    room.run(10 * SECOND)
    waits = []
    while room.store.find("notification", {"level": 0})[0]["state"] == "pending":
        document = room.store.find("notification", {"level": 0})[0]
        waits.append((document["due"] - room.clock.now()) // SECOND)
        room.clock.time = document["due"]
        room.deliverer.tick()
    assert waits == [5, 10, 20, 40, 80, 160, 300]
    server.answers = {}
    room.run(SECOND)
    assert recipients(server) == ["second"]
    assert room.states() == [(0, "failed"), (1, "sent")]
    assert room.store.find("notification", {"level": 0})[0]["attempts"] == ATTEMPTS
    assert room.metrics.value("csirt_notify_retries_total") == ATTEMPTS - 1


def test_a_refused_recipient_tells_the_next_at_once(server: SmtpServer) -> None:
    """An address that does not exist is not tried again: its failure is recorded and the next contact is told."""
    server.answers = {"RCPT": "550 no such user"}
    room = Room(fakes.config(smtp=server.address), severity="low")
    room.run(10 * SECOND)
    server.answers = {}
    room.run(STEP)
    assert room.states() == [(0, "failed"), (1, "sent")]
    failed = next(item for item in room.store.entries if item.action == "notify.failed")
    assert "550" in failed.detail["why"] and "no such user" not in str(failed)


def test_a_p1_is_not_held_up_by_a_relay_that_is_down() -> None:
    """While the relay is down a P1 still reaches the second contact over another channel, after `escalate`."""
    with running(fakes.WebServer()) as web:
        contacts = [
            {"name": "first", "channel": "mail", "address": "first@csirt.example"},
            {"name": "second", "channel": "webhook", "address": web.url},
        ]
        room = Room(fakes.config(contacts=contacts))
        room.run(9 * MINUTE)
        assert web.posts == []
        room.run(8 * MINUTE)
        assert [post[2]["level"] for post in web.posts] == [1]
        assert web.posts[0][1]["Idempotency-Key"] == web.posts[0][2]["id"]
        assert web.posts[0][2]["number"] == "C-2026-0412"


def test_one_dead_endpoint_is_tried_once_a_tick() -> None:
    """Twenty notifications for a relay that is down cost one time-out a tick, and none of the others an attempt."""
    room = Room(fakes.config())
    copies = [room.intents[0].model_copy(update={"id": f"n{index}", "priority": "P2"}) for index in range(20)]
    room.store.commit(Commit(notifications=copies))
    room.clock.time += MINUTE
    room.deliverer.tick()
    assert sum(item["attempts"] for item in room.store.find("notification")) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_between_intent_and_outcome_repeats_under_the_same_id(server: SmtpServer, moment: str) -> None:
    """Killed after the intent, before or after the far end took it: sent again, and the Message-ID shows the repeat."""
    room = Room(fakes.config(smtp=server.address), severity="high")

    def crash(change: Commit) -> None:
        if any(item.state == "sent" for item in change.notifications):
            raise KeyboardInterrupt

    room.store.before_commit = crash
    if moment == "before":
        server.answers = {"RCPT": "451 later"}
        room.store.before_commit = lambda change: _crash_unless(change, {"sending"})
    with pytest.raises(KeyboardInterrupt):
        room.run(10 * SECOND)
    assert room.states() == [(0, "sending")]
    server.answers, room.store.before_commit = {}, lambda change: None
    room.restart()
    room.run(STEP)
    assert room.states() == [(0, "sent")]
    names = {mail["raw"].partition(b"Message-ID: ")[2].split()[0] for mail in server.mails}
    assert (len(server.mails), len(names)) == (2 if moment == "after" else 1, 1)
    assert room.metrics.value("csirt_notify_unknown_total") == 1
    assert "notify.unknown" in room.store.actions()


def _crash_unless(change: Commit, allowed: set[str]) -> None:
    if any(item.state not in allowed for item in change.notifications):
        raise KeyboardInterrupt


def test_an_acknowledgement_while_sending_is_not_lost(server: SmtpServer) -> None:
    """Somebody acknowledges in the second the mail goes out: the outcome does not overwrite it."""
    room = Room(fakes.config(smtp=server.address))
    send = room.deliverer._send

    def slow(*arguments: Any) -> Any:
        acks.acknowledge(room.store, "ca5e", "ola", entry())  # type: ignore[arg-type]
        return send(*arguments)

    room.deliverer._send = slow  # type: ignore[method-assign]
    room.run(HOUR)
    assert recipients(server) == ["first"]
    (document,) = room.store.find("notification")
    assert (document["state"], document["acked_by"], document["due"]) == ("sent", "ola", 0)


def test_the_one_on_call_now_is_told(server: SmtpServer) -> None:
    """The shift changed between the event and the sending: who is on call now gets it, and is recorded."""
    shifts = [
        {"route": "all", "contacts": ["first"], "hours": "00:00-03:14"},
        {"route": "all", "contacts": ["second"], "hours": "03:14-24:00"},
    ]
    room = Room(fakes.config(smtp=server.address, shifts=shifts, routes=[{"name": "all"}]), severity="high")
    assert room.intents[0].recipient == "first"
    room.clock.time += 2 * MINUTE
    room.deliverer.tick()
    assert recipients(server) == ["second"]
    assert room.store.find("notification")[0]["recipient"] == "second"


def test_a_silence_hides_counts_and_tells_at_its_end(server: SmtpServer) -> None:
    """Silenced: nobody is told and the silence counts it; at its end an open case is told, with who held it back."""
    room = Room(fakes.config(smtp=server.address))
    made = silence(room, "rule:net-05 priority:P1", until=START + HOUR)
    room.run(MINUTE)
    assert server.mails == [] and room.states() == [(0, "silenced")]
    (held,) = silences.load(room.store)  # type: ignore[arg-type]
    assert (held["hidden"], held["cases"]) == (1, ["ca5e"])
    assert room.metrics.stages()[8]["dropped"] == {"silenced": 1}
    room.run(HOUR)
    assert recipients(server) == ["first"]
    assert b"their scanner" in server.mails[0]["raw"]
    expired = next(item for item in room.store.entries if item.action == "notify.silence.expired")
    assert (expired.subject, expired.detail["hidden"], expired.detail["again"]) == (made["id"], 1, 1)


def test_what_was_closed_meanwhile_is_not_told_at_the_silences_end(server: SmtpServer) -> None:
    """The end of a silence wakes nobody for a case that was dealt with."""
    room = Room(fakes.config(smtp=server.address))
    silence(room, "member:m1", until=START + HOUR)
    room.run(MINUTE)
    room.change_case(state="closed")
    room.run(2 * HOUR)
    assert server.mails == []
    assert silences.load(room.store)[0]["ended"] > 0  # type: ignore[arg-type]


def test_a_silence_that_does_not_match_hides_nothing(server: SmtpServer) -> None:
    """Another member's silence is no hindrance, nor one that is over."""
    room = Room(fakes.config(smtp=server.address), severity="high")
    silence(room, "member:other", until=START + HOUR)
    silence(room, "member:m1", until=START + STEP)
    room.run(MINUTE)
    assert recipients(server) == ["first"]


def test_suppressed_ones_are_never_sent(server: SmtpServer) -> None:
    """What a replay recorded stays untold when a daemon later owns the store."""
    room = Room(fakes.config(smtp=server.address))
    room.store.commit(Commit(notifications=[room.intents[0].model_copy(update={"state": "suppressed"})]))
    room.run(HOUR)
    assert server.mails == []


def test_a_contact_that_is_no_address(server: SmtpServer) -> None:
    """An address the check should have caught fails at once, with its reason, and the next contact is told."""
    contacts = [
        {"name": "first", "channel": "mail", "address": "a@b.example\r\nBcc: c@d.example"},
        {"name": "second", "channel": "mail", "address": "second@csirt.example"},
    ]
    room = Room(fakes.config(smtp=server.address, contacts=contacts), severity="low")
    room.run(MINUTE)
    assert recipients(server) == ["second"]
    assert room.states() == [(0, "failed"), (1, "sent")]


def test_a_route_that_is_gone(server: SmtpServer) -> None:
    """A route removed from the configuration: the contact it was written for is told; without any, it failed."""
    room = Room(fakes.config(smtp=server.address))
    room.config = fakes.config(smtp=server.address, routes=[])
    room.restart()
    room.run(HOUR)
    assert recipients(server) == ["first"]
    gone = Room(fakes.config(smtp=server.address))
    gone.config = fakes.config(smtp=server.address, routes=[], contacts=[])
    gone.restart()
    gone.run(MINUTE)
    assert gone.states() == [(0, "failed")]
    assert gone.metrics.stages()[8]["dropped"] == {"failed": 1}


def test_on_the_embedded_store(server: SmtpServer, tmp_path: Path) -> None:
    """The same on the real store, reopened in the middle: one mail each, escalated once, acknowledged, audited."""
    from csirt.stores.embedded.store import open_embedded

    clock, settings = Frozen(START), fakes.config(smtp=server.address)
    opened = CaseEvent(case="ca5e", seq=1, time=START, actor="system", kind="opened", data={})
    store = open_embedded(tmp_path / "store", clock=clock)
    fresh = case(number="", version=1)
    made = Router(settings).intents(incident(), fresh, [alert()], START)
    store.commit(Commit(cases=[fresh], case_events=[opened], incidents=[incident()], notifications=made))
    for _ in range(2):
        clock.time += 11 * MINUTE
        deliverer = Deliverer(store, settings, clock, Metrics())
        deliverer.tick()
        deliverer.tick()
        store.close()
        store = open_embedded(tmp_path / "store", clock=clock)
    assert recipients(server) == ["first", "second"]
    assert b"C-2026-0001" in server.mails[0]["raw"]
    assert len(acks.acknowledge(store, "ca5e", "ola", entry())) == 2
    clock.time += HOUR
    Deliverer(store, settings, clock, Metrics()).tick()
    assert len(server.mails) == 2
    assert [item.action for item in store.audit()][-1] == "notify.ack"
    store.close()


def test_a_case_nobody_is_configured_for_is_written_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Without routes the log says once that nobody was told, and the notification is settled."""
    room = Room(Config())
    with caplog.at_level("WARNING"):
        room.run(MINUTE)
    assert caplog.text.count("nobody is told") == 1
    assert [item["state"] for item in room.store.find("notification")] == ["sent"]
