"""The entries of the audit chain. Every command that shows data leaves one, so this imports no more than it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Category = Literal["change", "access", "refused", "operation"]


@dataclass(slots=True, kw_only=True)
class AuditEntry:
    """One link of the audit chain. Only `change` entries made by the pipeline itself (actor `system`) are in the
    canonical dump: the others depend on who looked and when. `seq`, `id`, `previous` and `hash` are given by the
    chain."""

    seq: int = 0
    id: str = ""
    time: int
    actor: str
    uid: int = -1
    on_behalf: str = ""
    category: Category
    action: str
    subject: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    previous: str = ""
    hash: str = ""
