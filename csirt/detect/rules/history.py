"""The condition of a `baseline`, checked name by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from csirt.config import duration
from csirt.detect.rule import History, Limit
from csirt.detect.rules.buckets import DAY, HOUR, SEASONS

KEYS = (
    *("measure", "field", "above", "below", "new", "new-for", "at-least", "expected", "enough", "in-a-row"),
    *("season", "timezone", "history", "keep"),
)
LIMITS = ("quantile", "deviations", "times", "value")
PAST = ("season", "history", "keep", "expected")  # what is said of the history
MAX_ROW = 100
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
    above, below = _limit(condition, "above", no), _limit(condition, "below", no)
    compared = "new" in condition or any(limit is None or limit.value is None for limit in (above, below) if limit)
    if not compared and (above or below):
        for name in PAST:
            if name in condition:
                no(f"{name} says nothing where the limit is a value", "remove it", "condition", name)
    found = History(
        measure=str(measure),
        season=_one_of(condition, "season", tuple(SEASONS), "week", no),
        timezone=_timezone(condition.get("timezone", "Europe/Oslo"), no),
        history=_span(condition, "history", 28 * DAY, no) if compared else 0,
        keep=_span(condition, "keep", 56 * DAY, no) if compared else _bucket(body),
        above=above,
        below=below,
        at_least=_number(condition, "at-least", no),
        expected=_number(condition, "expected", no),
        new=_new(body, condition.get("new", ""), no),
        new_for=_span(condition, "new-for", 0, no),
        enough=_number(condition, "enough", no),
        in_a_row=_row(condition, no),
    )
    if "new-for" in condition and not found.new:
        no("new-for is of what is new", "name it: `new: source.ip`", "condition", "new-for")
    if "enough" in condition and found.measure != "ratio":
        no("enough is of a ratio", "of other measures it is `at-least`", "condition", "enough")
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


def _bucket(body: dict[str, Any]) -> int:
    """The timespan; 0 when it is none, which is said elsewhere."""
    try:
        return duration(str(body.get("timespan")))
    except ValueError:
        return 0


def _row(condition: dict[str, Any], no: Wrong) -> int:
    value = condition.get("in-a-row", 1)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ROW:
        no(f"in-a-row is a whole number from 1 to {MAX_ROW}", "", "condition", "in-a-row")
        return 1
    return value


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
    if sum(kind in value for kind in ("quantile", "deviations", "value")) != 1 or value.get("quantile", 0) > 1:
        no(f"{name} has either a quantile, from 0 to 1, or deviations, or a value", "", "condition", name)
        return None
    if "value" in value:
        if "times" in value:
            no(f"{name}: a value stands alone", "remove `times`", "condition", name)
        return Limit(value=float(value["value"]))
    deviations = value.get("deviations")
    signed = None if deviations is None else float(deviations) * (1 if name == "above" else -1)
    return Limit(float(value.get("quantile", 0)), signed, float(value.get("times", 1)))


def _new(body: dict[str, Any], value: Any, no: Wrong) -> str:
    groups = body.get("group-by")
    if value and value not in (groups if isinstance(groups, list) else [groups]):
        no("new names one of the group-by fields", "the one whose history says what is new", "condition", "new")
        return ""
    return str(value)
