"""What a notification says: what, who, since when, why, what next. Never message content, addresses or facts.

The stored text is a consequence of the case alone; the sayable number, the deadline and what has come since are added
when it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from csirt.clock import DAY, MINUTE, SECOND, iso
from csirt.config import Config
from csirt.messages import sentence, text
from csirt.safety import log as clean

if TYPE_CHECKING:
    from csirt.model.records import Alert, Case, Incident, Notification

_WHOLE_MINUTES = 20 * 365 * DAY
RULES = 5
MEMBERS = 8
SUBJECT = 180


def local(config: Config, at: int) -> str:
    """A time for people: absolute, with its zone, so that autumn's doubled hour is told apart."""
    # In earlier years there are zones whose minutes are not those of UTC.
    return _local(config.timezone, at // MINUTE * 60 if at >= _WHOLE_MINUTES else at // SECOND)


@lru_cache(1_024)
def _local(zone: str, seconds: int) -> str:
    return datetime.fromtimestamp(seconds, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M %Z")


# Rules, members and what is said of them are few, and told again and again.


@lru_cache(2_048)
def _rule(name: str) -> str:
    """The name of a rule as it is shown."""
    return clean(name, 120)


@lru_cache(4_096)
def _member(name: str) -> str:
    """The name of a member as it is shown."""
    return clean(name, 80)


@lru_cache(256)
def _head(lang: str, priority: str, severity: str, tlp: str) -> str:
    worded = text(f"notify.severity_{severity}", lang)
    return text("notify.head", lang, priority=priority, severity=worded, tlp=tlp)


@lru_cache(4_096)
def _why(lang: str, rule: str, count: int) -> str:
    times = text("notify.times", lang, count=count) if count > 1 else ""
    return text("notify.why", lang, rule=rule, times=times)


@lru_cache(256)
def _more(lang: str, count: int) -> str:
    return text("notify.more_rules", lang, count=count)


@cache
def _facts(lang: str) -> str:
    """What every notification says, its fields as they stand."""
    return "\n".join([sentence(f"notify.{key}", lang) for key in ("what", "who", "since", "last")])


def subject(config: Config, case: Case, priority: str) -> str:
    """One line without the case's number."""
    title = text("notify.red", config.language) if case.tlp == "RED" else clean(case.title, 140)
    return clean(text("notify.subject", config.language, priority=priority, title=title), SUBJECT)


def body(
    config: Config, incident: Incident, case: Case, alerts: list[Alert], priority: str, name: Callable[[str], str]
) -> str:
    """The lines that follow from the case, incident and alerts. `name`: a member's name by id."""
    lang = config.language
    head = _head(lang, priority, case.severity, case.tlp)
    if case.tlp == "RED":
        return f"{head}\n\n{text('notify.red', lang)}\n"
    first, last = case.first or incident.first, max(case.last, incident.last)
    facts = _facts(lang).format(
        title=clean(case.title, 200),
        members=_members(case.members or incident.members, name) or text("notify.nobody", lang),
        first=local(config, first),
        first_utc=iso(first),
        last=local(config, last),
        last_utc=iso(last),
    )
    lines = [head, "", facts, *_reasons(alerts, lang)]
    if case.clinical or incident.clinical:
        lines += ["", text("notify.clinical", lang)]
    return "\n".join(lines) + "\n"


def _members(members: list[str], name: Callable[[str], str]) -> str:
    """The first few by name, and how many more there are."""
    shown = ", ".join([_member(name(item)) for item in members[:MEMBERS]])
    return f"{shown} +{len(members) - MEMBERS}" if len(members) > MEMBERS else shown


def _reasons(alerts: list[Alert], lang: str) -> list[str]:
    """The rules that say so, the most frequent first."""
    rules: dict[str, int] = {}
    for alert in alerts:
        rule = _rule(alert.rule_name or alert.rule_id)
        rules[rule] = rules.get(rule, 0) + 1
    by_count = sorted(sorted(rules.items()), key=itemgetter(1), reverse=True)
    lines = [_why(lang, rule, count) for rule, count in by_count[:RULES]]
    if len(rules) > RULES:
        lines.append(_more(lang, len(rules) - RULES))
    return lines


def message(
    config: Config,
    notification: Notification,
    case: dict[str, Any] | None,
    *,
    deadline: int = 0,
    silence: dict[str, Any] | None = None,
) -> tuple[str, str]:
    """(subject, body) as sent: with the case's number, what has come since, and the commands to type next.

    `deadline`: when it goes to the next contact, 0 when it does not. `silence`: what held it back until now.
    """
    lang = config.language
    number = str((case or {}).get("number") or notification.case[:12])
    line = notification.subject
    if notification.level:
        line = text("notify.escalated", lang, level=notification.level + 1, subject=line)
    line = clean(text("notify.numbered", lang, number=number, subject=line), SUBJECT + 40)
    parts = [notification.body.rstrip("\n")]
    more = int((case or {}).get("alerts") or 0) - len(notification.alerts)
    if more > 0:
        parts.append(text("notify.folded", lang, count=more))
    if silence:
        parts.append(
            text(
                "notify.was_silenced",
                lang,
                silence=silence["id"],
                owner=clean(silence["owner"], 80),
                reason=clean(silence["reason"], 200),
            )
        )
    level = notification.level + 1
    who = "notify.next_contact" if notification.level else "notify.first_contact"
    parts += ["", text(who, lang, route=clean(notification.route, 80), level=level)]
    if deadline:
        parts.append(text("notify.deadline", lang, time=local(config, deadline)))
    parts += ["", text("notify.next", lang)]
    parts += [text(key, lang, case=number) for key in ("notify.show", "notify.do_ack", "notify.plan")]
    return line, "\n".join(parts) + "\n"
