"""The condition of a `beacon`, checked name by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csirt.config import duration
from csirt.detect.rule import Beacon
from csirt.detect.rules.buckets import DAY

KEYS = ("contacts", "jitter", "field", "spread", "session", "members", "keep", "history")
FEWEST, MOST = 3, 100  # contacts
MAX_MEMBERS = 15
Wrong = Callable[..., None]


def read(body: dict[str, Any], wrong: Wrong) -> Beacon | None:
    """The condition of a correlation's body; what is wrong is said, and None."""
    said: list[str] = []

    def no(message: str, advice: str = "", *path: str) -> None:
        said.append(message)
        wrong(message, advice, *path)

    rules = body.get("rules")
    if not isinstance(rules, list) or len(rules) != 1:
        no("beacon has one rule", "that of the contacts", "rules")
    if not body.get("group-by"):
        no("beacon needs group-by", "name who calls and whom, such as source.ip and destination.ip", "group-by")
    condition = body.get("condition")
    if not isinstance(condition, dict):
        no("beacon needs a condition", "such as {contacts: 20, jitter: 0.1}", "condition")
        return None
    for name in condition:
        if name not in KEYS:
            no(f"unknown key {name!r}", f"known: {', '.join(KEYS)}", "condition", str(name))
    rare = "members" in condition
    for name, needs in (("keep", "members"), ("history", "members"), ("field", "spread"), ("spread", "field")):
        if name in condition and needs not in condition:
            no(f"{name} says nothing without {needs}", f"write {needs} too, or remove it", "condition", name)
    found = Beacon(
        contacts=_whole(condition, "contacts", FEWEST, MOST, no),
        jitter=_share(condition, "jitter", no),
        field=_name(condition, "field", no),
        spread=_share(condition, "spread", no) if "spread" in condition else None,
        session=_name(condition, "session", no),
        members=_whole(condition, "members", 1, MAX_MEMBERS, no) if rare else None,
        keep=_span(condition, "keep", 7 * DAY, no) if rare else 0,
        history=_span(condition, "history", DAY, no) if rare else 0,
    )
    if found.history > found.keep:
        no("more history is wanted than is kept", "", "condition", "history")
    return None if said else found


def _whole(condition: dict[str, Any], name: str, least: int, most: int, no: Wrong) -> int:
    value = condition.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        no(f"{name} is a whole number from {least} to {most}", "", "condition", name)
        return least
    return value


def _share(condition: dict[str, Any], name: str, no: Wrong) -> float:
    value = condition.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        no(f"{name} is above 0 and at most 1: the standard deviation as a share of the mean", "", "condition", name)
        return 1.0
    return float(value)


def _name(condition: dict[str, Any], name: str, no: Wrong) -> str:
    value = condition.get(name, "")
    if not isinstance(value, str) or (name in condition and not value):
        no(f"{name} names a field", "", "condition", name)
        return ""
    return value


def _span(condition: dict[str, Any], name: str, default: int, no: Wrong) -> int:
    try:
        span = duration(condition[name]) if isinstance(condition.get(name), str) else 0
    except ValueError:
        span = 0
    if name in condition and span <= 0:
        no(f"{name} is a duration such as 7d", "", "condition", name)
    return span if name in condition else default
