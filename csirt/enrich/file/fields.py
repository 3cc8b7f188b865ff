"""Reading single fields: each returns a value of the right type, or records a problem with its line and says so."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Collection, Iterator
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from csirt.content import Document
from csirt.errors import Problem
from csirt.model.hours import DAYS
from csirt.model.member import Weekly

Path = tuple[str | int, ...]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MAX_TEXT = 300
_HOURS = re.compile(r"([01]\d|2[0-4]):([0-5]\d)\s*-\s*([01]\d|2[0-4]):([0-5]\d)")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Fields:
    """A document being read; `problems` collects what is wrong with it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.timezone = "Europe/Oslo"

    def wrong(self, path: Path, message: str, advice: str = "") -> None:
        """Record a problem at a node."""
        self.problems.append(self.document.problem(path, message, advice, "register"))

    def line(self, path: Path) -> int:
        """The line of a node."""
        return self.document.mark(path)[0]

    def mapping(self, value: Any, path: Path, known: Collection[str], required: Collection[str] = ()) -> dict[str, Any]:
        """A mapping with only known keys; empty when it is none. Unknown keys are problems, with the nearest name."""
        if not isinstance(value, dict):
            self.wrong(path, f"must be a table of {', '.join(known)}")
            return {}
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                advice = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
                self.wrong((*path, key), f"unknown key {str(key)[:64]!r}", advice)
        for key in required:
            if value.get(key) in (None, ""):
                self.wrong(path, f"{key!r} is missing")
        return value

    def items(self, table: dict[str, Any], path: Path, key: str) -> Iterator[tuple[Any, Path]]:
        """The elements of a list field with their paths; none when it is absent."""
        value = table.get(key)
        if value is None:
            return
        if not isinstance(value, list):
            self.wrong((*path, key), f"{key!r} must be a list")
            return
        for index, item in enumerate(value):
            yield item, (*path, key, index)

    def scalar(self, value: Any, path: Path, what: str) -> str:
        """Text as written; numbers, dates and truth values that YAML made of unquoted text are problems."""
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                self.wrong(path, f"{what} is longer than {MAX_TEXT} characters")
                return ""
            return value.strip()
        self.wrong(path, f"{what} is not text but {type(value).__name__}", "put it in quotation marks")
        return ""

    def text(
        self, table: dict[str, Any], path: Path, key: str, choices: Collection[str] = (), default: str = ""
    ) -> str:
        """A text field, one of `choices` when they are given."""
        value = table.get(key)
        if value is None:
            return default
        text = self.scalar(value, (*path, key), repr(key))
        if choices and text and text not in choices:
            near = difflib.get_close_matches(text, choices, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(choices)}"
            self.wrong((*path, key), f"{key!r} is {text!r}, which is not known", advice)
            return default
        return text or default

    def identifier(self, table: dict[str, Any], path: Path, key: str) -> str:
        """An id: letters, digits, `_`, `.` and `-`."""
        text = self.text(table, path, key)
        if text and not IDENTIFIER.fullmatch(text):
            self.wrong((*path, key), f"{key!r} is {text!r}", "use at most 64 letters, digits, '_', '.' and '-'")
            return ""
        return text

    def flag(self, table: dict[str, Any], path: Path, key: str, default: bool = False) -> bool:
        """A truth value."""
        value = table.get(key, default)
        if not isinstance(value, bool):
            self.wrong((*path, key), f"{key!r} must be true or false")
            return default
        return value

    def number(self, table: dict[str, Any], path: Path, key: str, least: int, greatest: int) -> int:
        """A whole number within bounds; 0 when it is absent."""
        value = table.get(key)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= greatest:
            self.wrong((*path, key), f"{key!r} must be a whole number from {least} to {greatest}")
            return 0
        return value

    def network(self, value: Any, path: Path) -> str:
        """A prefix, or an address as a prefix of full length; empty when it is neither."""
        text = self.scalar(value, path, "an address")
        if not text:
            return ""
        try:
            return str(parse_network(text))
        except ValueError as error:
            self.wrong(path, str(error))
            return ""

    def zone(self, table: dict[str, Any], path: Path, key: str = "timezone") -> str:
        """The name of a time zone; the register's when absent."""
        name = self.text(table, path, key) or self.timezone
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            self.wrong((*path, key), f"{name!r} is not a time zone", "write one such as 'Europe/Oslo'")
            return self.timezone
        return name

    def moment(self, table: dict[str, Any], path: Path, key: str, end: bool = False) -> int:
        """A time in microseconds; 0 when absent. A date is its first moment, or its last plus one when `end`; without
        a zone it is the register's."""
        value = table.get(key)
        if value is None:
            return 0
        if isinstance(value, str):
            try:
                value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
            except ValueError:
                value = None
        if isinstance(value, date) and not 1970 <= value.year <= 2200:
            self.wrong((*path, key), f"{key!r} lies outside the years 1970 to 2200")
            return 0
        if isinstance(value, date) and not isinstance(value, datetime):
            day = value + timedelta(days=1) if end else value
            value = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - its zone follows
        if not isinstance(value, datetime):
            self.wrong((*path, key), f"{key!r} is not a time", "write one such as 2027-01-31 or 2027-01-31T20:00+01:00")
            return 0
        if value.tzinfo is None:
            value = value.replace(tzinfo=ZoneInfo(self.timezone))
        delta = value - _EPOCH
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds

    def weekly(self, table: dict[str, Any], path: Path) -> Weekly | None:
        """`days` ("mon-fri", or a list) and `hours` ("08:00-15:30"; "22:00-04:00" ends on the next day)."""
        days = self._days(table.get("days", list(DAYS)), (*path, "days"))
        hours = self.text(table, path, "hours")
        match = _HOURS.fullmatch(hours)
        if not match:
            self.wrong((*path, "hours"), f"'hours' is {hours!r}", 'write them as "08:00-15:30"')
            return None
        h1, m1, h2, m2 = (int(part) for part in match.groups())
        start, end = h1 * 60 + m1, h2 * 60 + m2
        if start >= 1440 or end > 1440 or start == end:
            self.wrong((*path, "hours"), f"'hours' is {hours!r}", 'the hours of a whole day are "00:00-24:00"')
            return None
        return Weekly(days, start, end, self.zone(table, path)) if days else None

    def _days(self, value: Any, path: Path) -> tuple[int, ...]:
        names = [value] if isinstance(value, str) else value
        found: set[int] = set()
        for name in names if isinstance(names, list) else [None]:
            first, dash, last = str(name).strip().lower().partition("-")
            if first not in DAYS or (dash and last not in DAYS):
                self.wrong(path, f"'days' holds {str(name)[:40]!r}", 'write "mon-fri", or a list of mon … sun')
                return ()
            a, b = DAYS.index(first), DAYS.index(last or first)
            found.update(range(a, b + 1) if a <= b else [*range(a, 7), *range(b + 1)])
        return tuple(sorted(found))


def parse_network(text: str) -> Network:
    """A prefix without host bits, or an address. Raises ValueError with a sentence that says what to write."""
    if "%" in text:
        raise ValueError(f"{text!r} has a zone index; write the address without it")
    try:
        network = ipaddress.ip_network(text, strict=True)
    except ValueError as error:
        try:
            near = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is neither an address nor a prefix") from error
        raise ValueError(f"{text!r} has host bits set; write {near} or {text.partition('/')[0]}") from error
    if network.version == 6 and network.network_address.ipv4_mapped is not None and network.prefixlen >= 96:
        inner = ipaddress.ip_network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
        raise ValueError(f"{text!r} is an IPv4-mapped prefix; write {inner}")
    return network
