"""Identity comes from content: the same bytes always get the same ids (architecture, decision 3)."""

from __future__ import annotations

import hashlib

# Ends the name of a stream of hits whose events no cluster gets, for they may be most of the traffic.
LAKE_ONLY = "/lake"
# The lengths of nearly all parts, as they are written.
_LENGTHS = [length.to_bytes(8, "big") for length in range(256)]


def digest(*parts: str | bytes | int, size: int = 16) -> str:
    """Hex BLAKE2b over the parts, each length-prefixed, so that no two lists of parts collide by joining."""
    found: list[bytes] = []
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        octets = len(raw)
        found.append(_LENGTHS[octets] if octets < 256 else octets.to_bytes(8, "big"))
        found.append(raw)
    return hashlib.blake2b(b"".join(found), digest_size=size).hexdigest()


def segment(source: str, fingerprint: str) -> str:
    """16 hex digits that name one input's content under one configured source; the first half of its events' ids."""
    return digest("segment", source, fingerprint, size=8)


def event(segment_id: str, ordinal: int) -> str:
    """The id of a record: 16 hex digits of segment and 16 of ordinal; sorts as (segment, ordinal)."""
    return f"{segment_id}{ordinal:016x}"


def alert(rule: str, group: str, first_event: str) -> str:
    """An alert's id: its rule, its group and the event that opened it."""
    return digest("alert", rule, group, first_event)


def incident(first_alert: str) -> str:
    """An incident keeps the id of its smallest (time, alert id) at opening."""
    return digest("incident", first_alert)


def case(first_incident: str) -> str:
    """A case's internal id; people use its number."""
    return digest("case", first_incident)
