"""The Traffic Light Protocol 2.0: who may be told."""

from __future__ import annotations

from collections.abc import Iterable

LEVELS = ("CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED")
# The label of an indicator that an event has; alerts over such events show it as a fact, whatever their rule.
FIELD = "threat.indicator.marking.tlp"


def level(text: str) -> str:
    """The label as it is written here, with or without `TLP:`; TLP 1's WHITE is CLEAR. Raises ValueError."""
    found = text.strip().upper().removeprefix("TLP:").strip().replace(" ", "+").replace("_", "+")
    found = {"WHITE": "CLEAR", "AMBERSTRICT": "AMBER+STRICT", "AMBER-STRICT": "AMBER+STRICT"}.get(found, found)
    if found not in LEVELS:
        raise ValueError(f"{text[:40]!r} is no TLP label; there are {', '.join(LEVELS)}")
    return found


def strictest(labels: Iterable[str]) -> str:
    """The label that lets the fewest know; empty when there is none."""
    found = [label for label in labels if label in LEVELS]
    return max(found, key=LEVELS.index) if len(found) > 1 else "".join(found)
