"""Which route takes a case, and what the notification says."""

from __future__ import annotations

import pytest

from csirt.clock import HOUR
from csirt.config import Config
from csirt.model.records import Notification
from csirt.notify.router import Router, subject_of
from csirt.notify.text import message
from tests.notify import fakes
from tests.notify.fakes import START, alert, case, config, incident


def intents(settings: Config, at: int = START, **changes: object) -> list[Notification]:
    """The notifications of the standard case with changes."""
    return Router(settings).intents(incident(), case(**changes), [alert()], at)


def test_one_notification_per_case_route_and_priority() -> None:
    """More alerts of the same case, at any later time of the clock, give the same id; a raise of priority another."""
    settings = config()
    (first,) = intents(settings)
    (again,) = Router(settings).intents(
        incident(last=START + 3 * HOUR, alerts=["a1", "a2"]), case(), [alert(), alert("a2")], START + 9 * HOUR
    )
    assert again.id == first.id
    (raised,) = intents(settings, severity="high")
    assert raised.id != first.id
    assert (first.priority, raised.priority) == ("P1", "P2")


def test_new_evidence_after_repeat_is_told_again() -> None:
    """When alerts still come after `repeat` of event time, one more notification says so."""
    settings = config()
    (first,) = intents(settings)
    (later,) = Router(settings).intents(incident(last=START + 5 * HOUR), case(), [alert()], START)
    assert later.id != first.id


def test_the_document_does_not_depend_on_the_clock() -> None:
    """Only `due` moves with the clock: a replay tomorrow records the same notification."""
    (one,), (other,) = intents(config(), START), intents(config(), START + 30 * HOUR)
    assert one.due == START + 10_000_000
    assert one.model_copy(update={"due": 0}) == other.model_copy(update={"due": 0})
    assert "C-2026-0412" not in one.subject + one.body


def test_closed_cases_tell_nobody() -> None:
    """A closed or merged case makes no notification."""
    assert intents(config(), state="closed") == []
    assert intents(config(), state="merged") == []


def test_the_first_matching_route_takes_it_unless_it_proceeds() -> None:
    """Routes are tried in order; `proceed` lets a later one have it too; filters see priority, members and rules."""
    settings = config(
        routes=[
            {"name": "copy", "match": "rule:net-05", "contacts": ["second"], "proceed": True},
            {"name": "dental", "match": "member:tannlege severity>=high", "contacts": ["first"]},
            {"name": "rest", "contacts": ["first"]},
        ]
    )
    router = Router(settings, name=lambda member: {"m1": "Tannlege Hansen"}.get(member, member))
    described = subject_of(case().model_dump(), [incident().model_dump()], router.name)
    assert described["members"] == ["m1", "Tannlege Hansen"]
    assert [item["route"] for item in router.route_for({**described, "members": ["tannlege"]}, START)] == [
        "copy",
        "dental",
    ]
    assert [item["route"] for item in router.route_for({**described, "rules": [], "members": ["m2"]}, START)] == [
        "rest"
    ]
    assert router.route_for({**described, "severity": "low", "members": ["tannlege"]}, START)[1] == {
        "route": "rest",
        "contacts": ["first"],
    }


def test_text_says_what_who_when_why_and_next_but_no_content() -> None:
    """What, the member's name, local and UTC time, the rule and its count; never a fact of an alert."""
    settings = config()
    router = Router(settings, name=lambda member: "Legekontoret Nord")
    (made,) = router.intents(incident(), case(clinical=True), [alert(), alert("a2"), alert("a3")], START)
    subject, body = message(settings, made, case(alerts=5).model_dump(), deadline=START + 600_000_000)
    assert subject == "[C-2026-0412] P1 SMB spreads from 10.1.2.3"
    for words in (
        "SMB spreads from 10.1.2.3",
        "Legekontoret Nord",
        "2026-11-23 03:13 CET (2026-11-23T02:13:20Z)",
        "SMB between members (3 alerts)",
        "Patient care",
        "TLP:AMBER",
        "2 further alerts",
        "csirt cases show C-2026-0412",
        "csirt notify ack C-2026-0412",
        "Unacknowledged at 2026-11-23 03:23 CET",
    ):
        assert words in body, words
    assert "private.example" not in subject + body


def test_text_in_norwegian() -> None:
    """The configured language is used throughout."""
    settings = config()
    settings.language = "nb"
    (made,) = Router(settings).intents(incident(members=[]), case(members=[]), [alert()], START)
    subject, body = message(settings, made.model_copy(update={"level": 1}), case().model_dump())
    assert "ubesvart, nivå 2" in subject
    for words in (
        "alvorlighet kritisk",
        "Hvem:",
        "ingen virksomhet i registeret",
        "Hvorfor:",
        "har kvittert",
        "Neste:",
    ):
        assert words in body
    assert "Who" not in body and "Next" not in body


def test_hostile_titles_stay_one_line() -> None:
    """A title or rule name from a stranger can add no line and no control character."""
    evil = "x\r\nBcc: all@example.org\x1b[2J\u202e"
    settings = config()
    (made,) = Router(settings).intents(incident(), case(title=evil), [alert(rule_name=evil)], START)
    subject, body = message(settings, made, case(title=evil).model_dump())
    assert "\n" not in subject and "\x1b" not in subject + body and "\u202e" not in subject + body
    assert not any(line.startswith("Bcc") for line in body.split("\n"))


def test_braces_in_titles_are_text() -> None:
    """Braces in untrusted text are not format fields."""
    (made,) = Router(config()).intents(
        incident(), case(title="{0.__class__} {number}"), [alert(rule_name="{x}")], START
    )
    assert "{0.__class__} {number}" in made.subject
    assert "{x}" in made.body


def test_a_broken_filter_wakes_rather_than_sleeps() -> None:
    """A route whose filter cannot be read takes every case, and the check says where it is wrong."""
    router = Router(config(routes=[{"name": "all", "match": "severity>=(", "contacts": ["first"]}]))
    assert len(router.intents(incident(), case(), [alert()], START)) == 1
    assert any("routes all: match" in problem for problem in router.check())


@pytest.mark.parametrize(
    ("notify", "words"),
    [
        ({"smtp": ""}, "notify.smtp"),
        ({"smtp": "relay"}, "notify.smtp"),
        ({"sender": "me"}, "notify.sender"),
        ({"contacts": [{"name": "first", "channel": "mail", "address": "a@b\r\nBcc: c@d"}]}, "not a mail address"),
        ({"contacts": [{"name": "first", "channel": "webhook", "address": "ftp://x/y"}]}, "not an http"),
        ({"contacts": [{"name": "first", "channel": "webhook", "address": "https://u:p@x/y"}]}, "credentials"),
        ({"contacts": [{"name": "first", "channel": "webhook", "address": "http://pager.example/y"}]}, "use https"),
        ({"routes": [{"name": "a", "contacts": ["first"]}, {"name": "b", "contacts": ["first"]}]}, "never see one"),
        ({"routes": [{"name": "a", "match": "severity:high", "contacts": ["first"]}]}, "told to nobody"),
        ({"routes": [{"name": "a", "contacts": []}]}, "nobody is on call"),
        (
            {"routes": [{"name": "a", "match": "x:y", "contacts": ["first"]}, {"name": "a", "contacts": ["first"]}]},
            "occurs twice",
        ),
    ],
)
def test_check_names_what_is_wrong(notify: dict[str, object], words: str) -> None:
    """Every mistake that would keep a page from arriving is found before the night."""
    assert any(words in problem for problem in Router(config(**notify)).check())


def test_a_good_configuration_has_no_problem() -> None:
    """The standard configuration of these tests is clean."""
    assert Router(fakes.config()).check() == []


def test_without_a_route_the_daemons_log_is_told() -> None:
    """A configuration that names nobody still leaves a notification, so that the log can say nobody was told."""
    (only,) = intents(Config())
    assert (only.channel, only.route, only.recipient) == ("log", "journal", "")
    assert only.subject
