"""Names of the dated indices of events and minute sums, and the time each of them covers.

The date is of the hour in which the lake took a row: event time can be forged, and rows never change that hour. So an
event has one index for good, and a second try finds it there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from csirt.clock import SECOND

EVENT, MINUTE = "event", "minute"
KINDS = (EVENT, MINUTE)
# Of other datasets, and of minute sums, an index holds a month.
DAILY = frozenset({"flow", "dns", "tls", "http"})
_NAME = re.compile(r"(?:(event)-([a-z][a-z0-9_]*)|(minute))-(\d{4})\.(\d\d)(?:\.(\d\d))?")


@dataclass(frozen=True, slots=True)
class Dated:
    """What an index holds: the kind, the dataset (of events), and rows taken in [begin, end), microseconds."""

    kind: str
    dataset: str
    begin: int
    end: int


def index(prefix: str, kind: str, dataset: str, received: int) -> str:
    """The index of what the lake took at that time."""
    day = datetime.fromtimestamp(received // SECOND, UTC)
    if kind == MINUTE:
        return f"{prefix}-{MINUTE}-{day:%Y.%m}"
    return f"{prefix}-{EVENT}-{dataset}-{day:{'%Y.%m.%d' if dataset in DAILY else '%Y.%m'}}"


def parse(prefix: str, name: str) -> Dated | None:
    """What an index of that name holds; None when it is none of these."""
    if not name.startswith(f"{prefix}-"):
        return None
    found = _NAME.fullmatch(name[len(prefix) + 1 :])
    if found is None:
        return None
    year, month, day = int(found[4]), int(found[5]), int(found[6] or 0)
    try:
        begin = datetime(year, month, day or 1, tzinfo=UTC)
    except ValueError:
        return None
    if day:
        end = int(begin.timestamp()) + 86_400
    else:
        end = int(datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())
    return Dated(found[1] or MINUTE, found[2] or "", int(begin.timestamp()) * SECOND, end * SECOND)
