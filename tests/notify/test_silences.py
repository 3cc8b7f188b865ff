"""Silences as stored."""

from __future__ import annotations

from typing import Any

import pytest

from csirt.clock import DAY, HOUR, Frozen
from csirt.errors import Usage
from csirt.notify import silences
from tests.notify.fakes import START, MemoryStore, case


def make(**changes: Any) -> dict[str, Any]:
    """A silence of two hours."""
    fields: dict[str, Any] = {
        "filter_text": "member:m1",
        "owner": "kari",
        "reason": "work",
        "until": START + 2 * HOUR,
        "now": START,
        **changes,
    }
    return silences.make(**fields)


@pytest.mark.parametrize(
    "changes",
    [
        {"filter_text": "  "},
        {"reason": " "},
        {"until": START},
        {"until": START + 32 * DAY},
        {"filter_text": "severity>=("},
    ],
)
def test_refused(changes: dict[str, Any]) -> None:
    """Nothing that would hide everything, for ever, or without a reason is accepted."""
    with pytest.raises(Usage):
        make(**changes)


def test_covering_is_by_filter_and_time() -> None:
    """A silence holds from its making to its end for what its filter matches, and not after it was ended."""
    subject = case().model_dump()
    made = make()
    assert silences.covering([made], subject, START) is made
    assert silences.covering([made], subject, START + 2 * HOUR) is None
    assert silences.covering([made], {**subject, "members": ["m2"]}, START) is None
    assert silences.covering([{**made, "ended": START}], subject, START) is None


def test_long_ended_ones_are_forgotten() -> None:
    """Ended silences stay listed for a while, then leave the state; those that hold never do."""
    store = MemoryStore(Frozen(START))
    old, holding = {**make(), "ended": START}, make(until=START + 30 * DAY)
    store.states.update(silences.state([old, holding], START + DAY))
    assert [item["id"] for item in silences.load(store)] == [old["id"], holding["id"]]  # type: ignore[arg-type]
    store.states.update(silences.state([old, holding], START + 91 * DAY))
    assert [item["id"] for item in silences.load(store)] == [holding["id"]]  # type: ignore[arg-type]
