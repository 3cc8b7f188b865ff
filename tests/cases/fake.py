"""A store in memory with the parts of the contract that cases and runs use, for tests of verbs and commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from csirt.errors import Conflict
from csirt.model.audit import AuditEntry
from csirt.model.records import CaseEvent
from csirt.model.severity import SEVERITIES
from csirt.stores.base import Commit

PREFIX = {"case": "C", "run": "R"}


class FakeStore:
    """Documents as JSON-ready dictionaries; versions are checked and numbers given as the contract says."""

    def __init__(self, year: int = 2026) -> None:
        self.documents: dict[str, dict[str, dict[str, Any]]] = {
            kind: {} for kind in ("alert", "incident", "case", "run", "receipt", "notification")
        }
        self.history: dict[str, list[CaseEvent]] = {}
        self.entries: list[AuditEntry] = []
        self.year = year
        self.commits = 0

    def commit(self, change: Commit) -> None:
        """All of it or none of it."""
        fresh: dict[str, int] = {}
        for event in change.case_events:
            fresh[event.case] = fresh.get(event.case, 0) + 1
        for case in change.cases:
            stored = self.documents["case"].get(case.id, {"version": 0})["version"]
            if stored != case.version - fresh.get(case.id, 0):
                raise Conflict(f"case {case.id} was changed meanwhile")
        for event in change.case_events:
            self.history.setdefault(event.case, []).append(event.model_copy(deep=True))
        for kind, records in (
            ("alert", change.alerts),
            ("incident", change.incidents),
            ("case", change.cases),
            ("run", change.runs),
            ("receipt", change.receipts),
            ("notification", change.notifications),
        ):
            for record in records:
                self._put(kind, record)
        self.entries += change.audit
        self.commits += 1

    def _put(self, kind: str, record: Any) -> None:
        documents = self.documents[kind]
        if kind in PREFIX and not record.number:
            stored = documents.get(record.id)
            record.number = stored["number"] if stored else f"{PREFIX[kind]}-{self.year}-{len(documents) + 1:04d}"
        documents[record.id] = record.model_dump(mode="json")

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        """One document; aliases of merged incidents resolve."""
        found = self.documents[kind].get(id)
        while found is not None and kind == "incident" and found["merged_into"]:
            found = self.documents[kind].get(found["merged_into"])
        return found

    def find(
        self,
        kind: str,
        where: dict[str, Any] | None = None,
        *,
        order: str = "id",
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """Documents that match, in order."""
        rows = [row for row in self.documents[kind].values() if _fits(row, where or {})]
        for item in reversed([*order.split(","), *([] if order.split(",")[-1].lstrip("-") == "id" else ["id"])]):
            field = item.strip().lstrip("-")
            rows.sort(key=lambda row, field=field: _key(row, field), reverse=descending != item.startswith("-"))
        return rows[offset:] if limit is None else rows[offset : offset + limit]

    def count(self, kind: str, where: dict[str, Any] | None = None) -> int:
        """How many documents match."""
        return len(self.find(kind, where))

    def case_events(self, case: str) -> list[dict[str, Any]]:
        """All events of a case."""
        return [event.model_dump() for event in self.history.get(case, [])]

    def resolve(self, kind: str, text: str) -> list[str]:
        """Ids whose number or id starts with the text; a whole one stands alone."""
        rows = self.documents[kind].values()
        wanted = text.casefold()
        whole = [row["id"] for row in rows if wanted in (row["id"], row.get("number", "").casefold())]
        starts = [
            row["id"]
            for row in rows
            if row["id"].startswith(wanted) or row.get("number", "").casefold().startswith(wanted)
        ]
        return whole or starts[:20]

    def append_audit(self, entries: list[AuditEntry]) -> None:
        """Add entries."""
        self.entries += entries

    def audit(self, since_seq: int = 0, limit: int | None = None) -> Iterator[AuditEntry]:
        """All entries."""
        yield from self.entries


def _fits(row: dict[str, Any], where: dict[str, Any]) -> bool:
    for key, wanted in where.items():
        field, _, operator = key.partition("__")
        value = row.get(field)
        if field == "severity" and operator:
            value, wanted = SEVERITIES.index(row[field]), SEVERITIES.index(wanted)
        fits = {
            "": value in wanted if isinstance(wanted, list | tuple | set) else value == wanted,
            "gte": operator == "gte" and value >= wanted,
            "lt": operator == "lt" and value < wanted,
        }[operator]
        if not fits:
            return False
    return True


def _key(row: dict[str, Any], field: str) -> Any:
    return SEVERITIES.index(row[field]) if field == "severity" else row[field]
