"""Labels of the Traffic Light Protocol."""

from __future__ import annotations

import pytest

from csirt.model.tlp import LEVELS, level, strictest


def test_labels_however_they_are_written() -> None:
    """With and without `TLP:`, in any case, and TLP 1's."""
    said = ("tlp:white", "Clear", "TLP:GREEN", "amber", "tlp:amber+strict", "TLP:AMBER STRICT", "amber-strict", " red ")
    assert [level(text) for text in said] == ["CLEAR", *LEVELS[:3], *["AMBER+STRICT"] * 3, "RED"]
    for text in ("", "tlp:", "purple", "RED AMBER"):
        with pytest.raises(ValueError, match="no TLP label"):
            level(text)


def test_the_strictest_counts() -> None:
    """What is no label counts for nothing."""
    assert strictest(["GREEN", "AMBER+STRICT", "AMBER", "x", ""]) == "AMBER+STRICT"
    assert strictest(["RED", "CLEAR"]) == "RED" and strictest([]) == strictest([""]) == ""
