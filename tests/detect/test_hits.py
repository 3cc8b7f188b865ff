"""What a hit carries."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from csirt.detect import hits
from csirt.detect.columns.raw import from_events

TEXTS = ["plain", 'with "quotes"', "back\\slash", "æøå \U0001f600", "line\nfeed", "", None]


@pytest.mark.parametrize("other", TEXTS)
def test_joint_values_are_json_of_all_fields_or_nothing(other: str | None) -> None:
    """The values of several fields are one JSON array, whatever is in them, and none where a field has none: two events
    have equal joint values where all of theirs are equal, and only there."""
    events = [{"a": text, "b": other, "destination.ip": "10.0.0.1"} for text in TEXTS]
    frame = from_events(events)
    fields = ("a", "b", "destination.ip")
    found = hits._values(hits._Texts(frame, np.arange(len(events))), fields).to_pylist()
    rows = [[event[name] for name in fields] for event in events]
    assert found == [None if None in row else orjson.dumps(row).decode() for row in rows]
