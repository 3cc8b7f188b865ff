"""Who may do what."""

from __future__ import annotations

from csirt.model.principal import RIGHTS, Principal


def test_who_sets_containment_free_may_take_it_back() -> None:
    """An approver is told how to undo, and must be able to; nobody below an analyst may do either."""
    for role in RIGHTS["approve"]:
        assert Principal("x", 1, role).may("take_back"), role
    assert RIGHTS["take_back"] - RIGHTS["approve"] == {"analyst"}
