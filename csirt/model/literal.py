"""One value of a filter, read once in every way it can be meant: text, number, time, age, address, severity."""

from __future__ import annotations

import ipaddress
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from csirt.clock import DAY, HOUR, MINUTE, SECOND, parse_iso
from csirt.model.severity import PRIORITY, SEVERITIES

# Severities from least to most urgent, and the priorities that stand for them.
RANK: dict[str, int] = {name: rank for rank, name in enumerate(SEVERITIES)}
RANK.update({PRIORITY[name].casefold(): rank for rank, name in enumerate(SEVERITIES)})

_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(us|ms|s|m|h|d|w)")
_UNITS = {"us": 1, "ms": 1000, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ].+)?")
_BREAK = " \t:;,/"  # what may follow the words a loose value names
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
# Integers and ISO texts under these names are times (microseconds since 1970 UTC); Arrow timestamps always are.
TIMES = frozenset(
    {
        "@timestamp",
        "event.start",
        "event.end",
        "event.ingested",
        "time",
        "first",
        "last",
        "created",
        "updated",
        "due",
        "started",
        "finished",
        "state_since",
        "expires",
    }
)

ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOW = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class Literal:
    """`text` as written, `folded` for comparison. `amount`: the number it is, or a duration in seconds. `time` with
    `span` (microseconds): a moment, or a whole day. `duration`: microseconds. `network`: family, base high, base low,
    mask high, mask low. `rank`: of a severity. `pieces`: the parts between `*`, None without one."""

    text: str
    folded: str
    amount: int | float | None
    time: int | None
    span: int
    duration: int | None
    network: tuple[int, int, int, int, int] | None
    rank: int | None
    truth: bool | None
    pieces: tuple[str, ...] | None
    loose: bool = False

    def equals(self, value: str) -> bool:
        """Whether text is this value: an address within the prefix, a pattern with `*`, else ignoring case; when
        `loose` (written with `:`) text that begins with it as whole words counts too."""
        if self.network is not None:
            inside = _inside(value, self.network)
            if inside is not None:
                return inside
        folded = value.casefold()
        if self.pieces is not None:
            return _glob(folded, self.pieces)
        if folded == self.folded:
            return True
        return (
            self.loose and bool(self.folded) and folded.startswith(self.folded) and folded[len(self.folded)] in _BREAK
        )

    def within(self, value: str) -> bool:
        """Whether text contains this value, ignoring case."""
        folded = value.casefold()
        return self.folded in folded if self.pieces is None else _glob(folded, ("", *self.pieces, ""))


def literal(text: str, *, quoted: bool = False) -> Literal:
    """Read a value; in quotes `*` is only itself."""
    folded = text.casefold()
    duration = duration_of(text)
    time, span = _moment(text)
    amount: int | float | None = _number(text)
    if amount is None and duration is not None:
        amount = duration // SECOND if duration % SECOND == 0 else duration / SECOND
    pieces = tuple(folded.split("*")) if "*" in text and not quoted else None
    return Literal(
        text, folded, amount, time, span, duration, _network(text), RANK.get(folded), _TRUTH.get(folded), pieces
    )


def duration_of(text: str) -> int | None:
    """`90s`, `2h`, `30d`, `1.5h` in microseconds; None when the text is no duration."""
    match = _DURATION.fullmatch(text)
    return round(float(match.group(1)) * _UNITS[match.group(2)]) if match else None


def time_of(moment: datetime) -> int:
    """A moment with a zone as microseconds since 1970 UTC, exactly."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def _number(text: str) -> int | float | None:
    match = _NUMBER.fullmatch(text)
    if not match:
        return None
    if match.group(1) is None:
        return int(text)
    value = float(text)
    return int(value) if math.isfinite(value) and value.is_integer() else value


def _moment(text: str) -> tuple[int | None, int]:
    match = _TIME.fullmatch(text)
    if not match:
        return None, 0
    try:
        return parse_iso(text), (1 if match.group(1) else DAY)
    except (ValueError, OverflowError):
        return None, 0


def _network(text: str) -> tuple[int, int, int, int, int] | None:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if "." not in text and ":" not in text:
        return None  # a bare number is a number
    base, mask = int(network.network_address), int(network.netmask)
    return network.version, base >> 64, base & _LOW, mask >> 64, mask & _LOW


def _inside(value: str, network: tuple[int, int, int, int, int]) -> bool | None:
    """Whether the address lies in the prefix; None when the text is no address."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    number = int(address)
    version, base_high, base_low, mask_high, mask_low = network
    return (
        address.version == version and (number >> 64) & mask_high == base_high and number & _LOW & mask_low == base_low
    )


def _glob(value: str, pieces: tuple[str, ...]) -> bool:
    """Whether text is the pieces in order with anything between them; linear in the text for each piece."""
    first, *middle, last = pieces
    if not value.startswith(first) or len(value) < len(first) + len(last) or not value.endswith(last):
        return False
    at, end = len(first), len(value) - len(last)
    for piece in middle:
        found = value.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def compare(value: Any, op: str, literal: Literal, is_time: bool, now: int) -> bool:
    """Whether one plain value stands in the relation; the rule both `matches` and `mask` follow."""
    if isinstance(value, bool):
        return op == "=" and literal.truth is value
    if isinstance(value, datetime):
        return compare_time(time_of(value), op, literal, now)
    if isinstance(value, int | float):
        return compare_time(int(value), op, literal, now) if is_time else compare_number(value, op, literal)
    return compare_text(str(value), op, literal, is_time, now)


def compare_time(us: int, op: str, literal: Literal, now: int) -> bool:
    """A time against an age or a moment; a date without a clock time means the whole day (UTC)."""
    if literal.duration is not None:
        return bool(ORDER["<=" if op == "=" else op](now - us, literal.duration))
    if literal.time is None:
        return False
    end = literal.time + literal.span
    if op == "=":
        return literal.time <= us < end
    if op in ("<", ">="):
        return bool(ORDER[op](us, literal.time))
    return us >= end if op == ">" else us < end


def compare_number(value: int | float, op: str, literal: Literal) -> bool:
    """A number against a number; a duration counts as seconds."""
    wanted = literal.amount
    if wanted is None:
        return False
    return value == wanted if op == "=" else bool(ORDER[op](value, wanted))


def compare_text(value: str, op: str, literal: Literal, is_time: bool, now: int) -> bool:
    """Text: times and severities by their meaning, addresses by prefix, else without regard to case."""
    if is_time:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return False
        return compare_time(time_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC)), op, literal, now)
    if op == "=":
        return literal.equals(value)
    folded = value.casefold()
    if literal.rank is not None and folded in RANK:
        return bool(ORDER[op](RANK[folded], literal.rank))
    if literal.amount is not None:
        try:
            return bool(ORDER[op](float(value), literal.amount))
        except ValueError:
            return False
    return bool(ORDER[op](folded, literal.folded))
