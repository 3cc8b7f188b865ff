"""Times for people: absolute with the zone, and relative; `--utc` and `--iso` change the first, pipes get neither."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from csirt.cli.common import Settings
from csirt.clock import DAY, HOUR, MINUTE, SECOND, SYSTEM, parse_iso
from csirt.errors import Usage
from csirt.messages import text


def zone(name: str) -> ZoneInfo:
    """The time zone of that name. Raises Usage."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise Usage(f"timezone: {name!r} is no time zone") from error


class Times:
    """Times as one reader wants them. The zone's name tells the doubled hour of autumn apart (CEST, then CET)."""

    def __init__(self, settings: Settings) -> None:
        self._iso = settings.iso
        self._zone = zone("UTC" if settings.utc else settings.timezone())
        self._lang = settings.language()
        self._now = SYSTEM.now()

    def absolute(self, value: str | None) -> str:
        """`2026-11-23 03:12 CET`."""
        if not value or self._iso:
            return value or "-"
        return self.local(value).strftime("%Y-%m-%d %H:%M %Z")

    def clock(self, value: str | None) -> str:
        """`11-23 03:12:05`, for lines of evidence below a line that names the zone."""
        if not value or self._iso:
            return value or "-"
        return self.local(value).strftime("%m-%d %H:%M:%S")

    def relative(self, value: str | None) -> str:
        """`4 min ago`."""
        if not value:
            return "-"
        gap = self._now - parse_iso(value)
        if abs(gap) < SECOND:
            return text("words.now", self._lang)
        key = "words.ago" if gap > 0 else "words.ahead"
        return text(key, self._lang, amount=self.span(abs(gap)))

    def both(self, value: str | None) -> str:
        """`03:12 CET, 4 min ago`, with the date unless it is today's."""
        if not value or self._iso:
            return value or "-"
        local, today = self.local(value), datetime.fromtimestamp(self._now / 1e6, self._zone)
        said = local.strftime("%H:%M %Z") if local.date() == today.date() else self.absolute(value)
        return f"{said}, {self.relative(value)}"

    def cell(self, value: str | None) -> str:
        """As `both`, for a column of a table: what is not of today has its date and no more."""
        if not value or self._iso:
            return value or "-"
        said = self.both(value)
        return self.absolute(value) if said.startswith(self.absolute(value)) else said

    def day(self, value: str) -> str:
        """`2026-11-23 CET`, a heading over times of that day; the zone changes within the night of the doubled hour."""
        return value[:10] if self._iso else self.local(value).strftime("%Y-%m-%d %Z")

    def second(self, value: str) -> str:
        """`03:12:05`, below such a heading."""
        return value if self._iso else self.local(value).strftime("%H:%M:%S")

    def span(self, us: int) -> str:
        """A length of time in its largest whole unit, rounded down."""
        for unit, key in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes"), (SECOND, "seconds")):
            if us >= (2 * unit if unit in (DAY, HOUR) else unit) or unit == SECOND:
                return text(f"words.{key}", self._lang, n=us // unit)
        raise AssertionError("unreachable")

    def local(self, value: str) -> datetime:
        """The ISO time in the reader's zone."""
        base = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(microseconds=parse_iso(value))
        return base.astimezone(self._zone)
