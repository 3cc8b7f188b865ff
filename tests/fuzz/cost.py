"""What one datagram may cost here and now."""

from __future__ import annotations

from csirt.clock import SYSTEM

BUDGET = 0.050  # CPU seconds a datagram
USUAL = 0.007  # what `_loop` takes on the machine the budget was set for


def budget() -> float:
    """The budget in CPU seconds; as much more as a plain loop takes longer on this machine, or on a busy one."""
    return BUDGET * max(1.0, min(_loop() for _ in range(3)) / USUAL)


def _loop() -> float:
    begin = SYSTEM.cpu()
    total = 0
    for number in range(200_000):
        total += number % 7
    return SYSTEM.cpu() - begin
