"""RSIT classes are content, and forgiving of how they are typed."""

from __future__ import annotations

import pytest

from csirt.cases.rsit import classes, resolve
from csirt.errors import Usage


def test_classes_are_found_by_any_spelling() -> None:
    """Whole names, slugs, and types that occur once are all the same class."""
    for text in (
        "Malicious Code/Infected System",
        "malicious-code/infected-system",
        "infected system",
        "INFECTED-SYSTEM",
    ):
        assert resolve(text) == "Malicious Code/Infected System"
    assert resolve("availability") == "Availability"
    assert len({name.split("/")[0] for name in classes().values()}) == 11


def test_an_unknown_class_is_answered_with_the_nearest() -> None:
    """A slip of the pen gets a suggestion."""
    with pytest.raises(Usage, match="Information Gathering/Scanning"):
        resolve("information-gathering/scaning")
