"""Who asks, and what their role may do."""

from __future__ import annotations

from dataclasses import dataclass

# right -> roles that hold it. Every verb names one right.
RIGHTS: dict[str, frozenset[str]] = {
    "status": frozenset({"reader", "analyst", "lead", "approver", "operator", "author", "auditor", "admin"}),
    "read": frozenset({"reader", "analyst", "lead", "approver", "admin"}),
    "triage": frozenset({"analyst", "lead", "admin"}),
    "approve": frozenset({"approver", "lead", "admin"}),
    "take_back": frozenset({"analyst", "lead", "approver", "admin"}),
    "notify": frozenset({"analyst", "lead", "operator", "admin"}),
    "report": frozenset({"analyst", "lead", "admin"}),
    "rules": frozenset({"author", "analyst", "lead", "admin"}),
    "audit": frozenset({"auditor", "lead", "admin"}),
    "operate": frozenset({"operator", "admin"}),
    "delegate": frozenset({"admin"}),
}
ROLES = tuple(sorted(set().union(*RIGHTS.values())))


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `name` is who the change counts for; `delegate` the caller behind `--as`, empty otherwise."""

    name: str
    uid: int
    role: str
    delegate: str = ""

    def may(self, right: str) -> bool:
        """Whether the role holds the right."""
        return self.role in RIGHTS[right]


SYSTEM = Principal("system", -1, "admin")
