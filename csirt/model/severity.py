"""How bad something is, and what it is called when somebody is woken for it."""

from __future__ import annotations

from typing import Literal

Severity = Literal["informational", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("informational", "low", "medium", "high", "critical")
RANK: dict[str, int] = {name: rank for rank, name in enumerate(SEVERITIES)}  # 0 for informational to 4 for critical
PRIORITY: dict[str, str] = {"critical": "P1", "high": "P2", "medium": "P3", "low": "P4", "informational": "P5"}
