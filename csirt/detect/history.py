"""The condition of a `baseline`, checked name by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from csirt.config import duration
from csirt.detect.buckets import DAY, HOUR, SEASONS
from csirt.detect.rule import History, Limit

KEYS = (
    *("measure", "field", "above", "below", "new", "at-least", "expected"),
    *("season", "timezone", "history", "keep"),
)
LIMITS = ("quantile", "deviations", "times")
MEASURES = ("count", "sum", "distinct", "ratio")
MAX_BUCKETS = 20_000  # of a history
Wrong = Callable[..., None]


def read(body: dict[str, Any], wrong: Wrong) -> History | None:
    """The condition of a correlation's body; what is wrong is said, and None."""
    said: list[str] = []

    def no(message: str, advice: str = "", *path: str) -> None:
        said.append(message)
        wrong(message, advice, *path)

    condition = body.get("condition")
    if not isinstance(condition, dict):
        no("baseline needs a condition", "such as {measure: count, above: {quantile: 0.99, times: 3}}", "condition")
        return None
    for name in condition:
        if name not in KEYS:
            no(f"unknown key {name!r}", f"known: {', '.join(KEYS)}", "condition", str(name))
    measure = condition.get("measure")
    if measure not in MEASURES:
        no(f"the measure is one of {', '.join(MEASURES)}", "", "condition", "measure")
    rules = body.get("rules")
    wanted = 2 if measure == "ratio" else 1
    if not isinstance(rules, list) or len(rules) != wanted:
        no(f"a baseline of this measure has {wanted} rule{'s' if wanted > 1 else ''}", "", "rules")
    if sum(name in condition for name in ("above", "below", "new")) == 0:
        no("the condition says neither above, below nor new", "", "condition")
    found = History(
        measure=str(measure),
        season=_one_of(condition, "season", tuple(SEASONS), "week", no),
        timezone=_timezone(condition.get("timezone", "Europe/Oslo"), no),
        history=_span(condition, "history", 28 * DAY, no),
        keep=_span(condition, "keep", 56 * DAY, no),
        above=_limit(condition, "above", no),
        below=_limit(condition, "below", no),
        at_least=_number(condition, "at-least", no),
        expected=_number(condition, "expected", no),
        new=_new(body, condition.get("new", ""), no),
    )
    _check_times(body, found, no)
    return None if said else found


def _check_times(body: dict[str, Any], found: History, no: Wrong) -> None:
    span = 0
    try:
        span = duration(str(body.get("timespan")))
    except ValueError:
        no("the timespan of a baseline is its bucket, such as 1h", "", "timespan")
        return
    if span <= 0 or DAY % span or (span < HOUR and HOUR % span):
        no("a bucket divides the hour or the day", "such as 5m, 15m, 1h, 6h or 24h", "timespan")
    elif found.keep // span > MAX_BUCKETS:
        no(f"a history of more than {MAX_BUCKETS} buckets", "keep less, or take longer buckets", "condition", "keep")
    if found.history > found.keep:
        no("more history is wanted than is kept", "", "condition", "history")


def _one_of(condition: dict[str, Any], name: str, known: tuple[str, ...], default: str, no: Wrong) -> str:
    value = condition.get(name, default)
    if value not in known:
        no(f"{name} is one of {', '.join(known)}", "", "condition", name)
        return default
    return str(value)


def _timezone(value: Any, no: Wrong) -> str:
    try:
        return ZoneInfo(str(value)).key
    except (KeyError, ValueError, OSError):
        no(f"{value!r} is no time zone", "such as Europe/Oslo or UTC", "condition", "timezone")
        return "UTC"


def _span(condition: dict[str, Any], name: str, default: int, no: Wrong) -> int:
    if name not in condition:
        return default
    try:
        return duration(str(condition[name]))
    except ValueError:
        no(f"{name} is a duration such as 28d", "", "condition", name)
        return default


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value < 1e300


def _number(condition: dict[str, Any], name: str, no: Wrong) -> float:
    value = condition.get(name, 0)
    if not _is_number(value):
        no(f"{name} needs a number", "", "condition", name)
        return 0.0
    return float(value)


def _limit(condition: dict[str, Any], name: str, no: Wrong) -> Limit | None:
    value = condition.get(name)
    if value is None:
        return None
    if not isinstance(value, dict) or not set(value) <= set(LIMITS) or not all(map(_is_number, value.values())):
        no(f"{name} says {', '.join(LIMITS)}, each a number", "", "condition", name)
        return None
    if ("quantile" in value) == ("deviations" in value) or value.get("quantile", 0) > 1:
        no(f"{name} has either a quantile, from 0 to 1, or deviations", "", "condition", name)
        return None
    deviations = value.get("deviations")
    signed = None if deviations is None else float(deviations) * (1 if name == "above" else -1)
    return Limit(float(value.get("quantile", 0)), signed, float(value.get("times", 1)))


def _new(body: dict[str, Any], value: Any, no: Wrong) -> str:
    groups = body.get("group-by")
    if value and value not in (groups if isinstance(groups, list) else [groups]):
        no("new names one of the group-by fields", "the one whose history says what is new", "condition", "new")
        return ""
    return str(value)
