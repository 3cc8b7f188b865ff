"""Events for people: a line of what happened, below it the id to ask for; nothing is cut, long lines are folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from csirt.cli.common import Settings, write
from csirt.cli.lists import field, plain
from csirt.cli.times import Times
from csirt.safety import terminal

ENDS = (("source.ip", "source.port"), ("destination.ip", "destination.port"))


class EventScreen:
    """Writes events as they come."""

    def __init__(self, settings: Settings, shown: dict[str, Sequence[str]], more: Sequence[str]) -> None:
        self._times = Times(settings)
        self._shown = shown
        self._more = more
        self._day = ""

    def write(self, event: dict[str, Any]) -> None:
        """One event; a line with date and zone comes before the first of each day."""
        from csirt.cli.casescreen import fold

        day = self._times.day(str(event["@timestamp"]))
        if day != self._day:
            self._day = day
            write(day)
        dataset = str(field(event, "event.dataset") or "")
        names = self._shown.get(dataset, self._more)
        said = [str(plain(value)) for name in names if (value := field(event, name)) not in (None, "")]
        ends = " -> ".join(end for end in (self._end(event, *names) for names in ENDS) if end)
        line = "  ".join(part for part in (self._times.second(str(event["@timestamp"])), ends, "  ".join(said)) if part)
        for folded in fold(terminal(line), "", "          "):
            write(folded)
        write(terminal(f"          {dataset}  {field(event, 'event.id')}"))

    def _end(self, event: dict[str, Any], ip: str, port: str) -> str:
        address, number = field(event, ip), field(event, port)
        if address is None:
            return ""
        shown = f"[{address}]" if ":" in str(address) and number is not None else str(address)
        return shown if number is None else f"{shown}:{number}"
