"""Times as documents of indicators write them."""

from __future__ import annotations

import datetime
from typing import Any


def moment(value: Any) -> int | None:
    """An ISO 8601 time or day, UTC where it names no zone, in microseconds; None for anything else."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        at = datetime.datetime.fromisoformat(value)
        return round((at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp() * 1e6)
    except (ValueError, OverflowError, OSError):
        return None
