"""The order of the queue, and why."""

from __future__ import annotations

from typing import Any

from csirt.cases.urgency import order, urgency


def case(name: str, **more: Any) -> dict[str, Any]:
    """A case document."""
    return {
        "id": name, "severity": "medium", "state": "open", "members": ["a"], "clinical": False, "news": 0,
        "acked_by": "", "first": 0, "created": 100, **more,
    }  # fmt: skip


def test_the_most_urgent_comes_first_and_says_why() -> None:
    """Severity, care, reach, and whether anybody looked decide; among equals the one waiting longest."""
    queue = [
        case("waits", created=50),
        case("fresh"),
        case("taken", state="acknowledged", acked_by="bo"),
        case("taken-news", state="acknowledged", acked_by="bo", news=2),
        case("care", clinical=True),
        case("wide", members=["a", "b", "c"]),
        case("worst", severity="critical", state="acknowledged"),
    ]
    names = [item["id"] for item in sorted(queue, key=order)]
    assert names == ["worst", "care", "wide", "taken-news", "waits", "fresh", "taken"]
    assert [item["reason"] for item in urgency(queue[3])] == ["severity", "new_evidence"]
    assert sum(item["points"] for item in urgency(queue[4])) == 20 + 25 + 10


def test_the_order_does_not_depend_on_the_clock() -> None:
    """The same cases are in the same order whenever they are listed: nothing is reckoned from now."""
    queue = [case("a"), case("b", created=99), case("c", severity="high")]
    names = [item["id"] for item in sorted(queue, key=order)]
    queue.reverse()
    assert names == [item["id"] for item in sorted(queue, key=order)] == ["c", "b", "a"]
