"""Times as people write them in options."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from csirt.clock import SECOND
from csirt.errors import Usage
from csirt.model.literal import duration_of, time_of


def moment(text: str, now: int, zone: str) -> int:
    """`2h` (so long ago), ISO 8601 (without a zone: that of `zone`), `now`, `today`, `yesterday`, in microseconds
    since 1970 UTC. Raises Usage with what is accepted."""
    plain = text.strip()
    ago = duration_of(plain)
    if ago is not None:
        return now - ago
    here = ZoneInfo(zone)
    if plain == "now":
        return now
    if plain in ("today", "yesterday"):
        midnight = datetime.fromtimestamp(now // SECOND, here).replace(hour=0, minute=0, second=0)
        return time_of(midnight - timedelta(days=1) if plain == "yesterday" else midnight)
    try:
        found = datetime.fromisoformat(plain)
    except ValueError as error:
        raise Usage(
            f"{text!r} is not a time: write 2h or 7d (so long ago), 2026-11-23T04:00Z, 2026-11-23, today or yesterday"
        ) from error
    return time_of(found if found.tzinfo else found.replace(tzinfo=here))
