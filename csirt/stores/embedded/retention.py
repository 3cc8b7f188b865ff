"""Retention: what has been kept long enough is deleted, and what was deleted is reported.

Events go by whole parts, once the hour of receipt they belong to is over the dataset's time, so that a row stays at
most an hour longer than configured. Cases go with everything that belongs to them, once they are closed and nothing
has happened for the time of `cases`; open cases stay and are counted. The audit loses its oldest entries; the entry
that reports it binds the link where the rest begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import apsw

from csirt.clock import HOUR, iso
from csirt.config import Retention, duration
from csirt.model.audit import AuditEntry
from csirt.model.principal import SYSTEM, Principal
from csirt.stores.embedded.catalogue import chain, documents
from csirt.stores.embedded.lake import parts

if TYPE_CHECKING:
    from csirt.stores.embedded.store import EmbeddedStore

_SHARED = {"flow_options": "flow", "flow_counters": "flow"}  # datasets that are kept as long as another


@dataclass(slots=True)
class Plan:
    """What is over its time now."""

    parts: list[parts.Part] = field(default_factory=list)
    documents: dict[str, list[str]] = field(default_factory=dict)
    open_cases: int = 0
    audit_until: chain.Head | None = None
    audit_entries: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is over its time."""
        return not self.parts and not any(self.documents.values()) and self.audit_until is None


def apply(
    store: EmbeddedStore, retention: Retention, now: int, *, dry_run: bool = False, by: Principal = SYSTEM
) -> dict[str, Any]:
    """Delete what is over its time, in one transaction; returns the report, which the store keeps when anything was
    deleted. `dry_run`: only report."""
    with store.keeper.care:
        with store.database.reading() as connection:
            plan = find(connection, retention, now)
        if not dry_run:
            gone = store.forget(lambda connection: find(connection, retention, now).documents)
            plan.documents = plan.documents if gone is None else gone
        report = _report(plan, retention, now, dry_run)
        if dry_run or plan.empty:
            return report
        with store.database.transaction("applying retention") as connection:
            _delete(connection, plan)
            _record(connection, plan, report, now, by)
        store.keeper.trash([part.path for part in plan.parts if part.path])
        store.keeper.count_waiting()
    store.keeper.empty_trash()
    store.database.shrink()
    return report


def reports(store: EmbeddedStore, limit: int | None = None) -> list[dict[str, Any]]:
    """The deletion reports the store keeps, newest first."""
    import orjson

    query = "SELECT doc FROM deletion_report ORDER BY id DESC LIMIT ?"
    with store.database.reading() as connection:
        return [orjson.loads(text) for (text,) in connection.execute(query, (-1 if limit is None else limit,))]


def kept_for(retention: Retention, dataset: str) -> int:
    """How long a dataset's events are kept, in microseconds; one the configuration does not name goes with `flow`."""
    name = _SHARED.get(dataset, dataset)
    field_name = "self_" if name == "self" else name
    return duration(getattr(retention, field_name, retention.flow))


def find(connection: apsw.Connection, retention: Retention, now: int) -> Plan:
    """What is over its time."""
    plan = Plan()
    for part in parts.select(connection):
        if (part.received // HOUR + 1) * HOUR <= now - kept_for(retention, part.dataset):
            plan.parts.append(part)
    _find_documents(connection, plan, now - duration(retention.cases))
    _find_audit(connection, plan, now - duration(retention.audit))
    return plan


def _ids(connection: apsw.Connection, query: str, *bindings: Any) -> list[str]:
    return [row[0] for row in connection.execute(query, bindings)]


def _find_documents(connection: apsw.Connection, plan: Plan, cutoff: int) -> None:
    cases = _ids(
        connection, "SELECT id FROM cases WHERE updated < ? AND state IN ('closed', 'merged') ORDER BY id", cutoff
    )
    plan.open_cases = int(
        connection.execute(
            "SELECT count(*) FROM cases WHERE updated < ? AND state NOT IN ('closed', 'merged')", (cutoff,)
        ).get
    )
    of_cases = "SELECT value FROM json_each(?)"
    cases_text = documents.json_list(cases)
    incidents = _ids(
        connection,
        f"""SELECT id FROM incidents WHERE "case" IN ({of_cases})
            OR ("case" = '' AND merged_into = '' AND updated < ?) ORDER BY id""",  # noqa: S608
        cases_text,
        cutoff,
    )
    incidents = _with_merged(connection, incidents)
    incidents_text = documents.json_list(incidents)
    runs = _ids(connection, f'SELECT id FROM runs WHERE "case" IN ({of_cases}) ORDER BY id', cases_text)  # noqa: S608
    plan.documents = {
        "alert": _ids(
            connection,
            f"""SELECT id FROM alerts WHERE incident IN ({of_cases})
                OR (incident = '' AND created < ?) ORDER BY id""",  # noqa: S608
            incidents_text,
            cutoff,
        ),
        "incident": incidents,
        "case": cases,
        "run": runs,
        "receipt": _ids(
            connection,
            f"SELECT id FROM receipts WHERE run IN ({of_cases}) ORDER BY id",  # noqa: S608
            documents.json_list(runs),
        ),
        "notification": _ids(
            connection,
            f'SELECT id FROM notifications WHERE "case" IN ({of_cases}) ORDER BY id',  # noqa: S608
            cases_text,
        ),
    }


def _with_merged(connection: apsw.Connection, incidents: list[str]) -> list[str]:
    """The incidents and those that were merged into them, at any distance."""
    found = set(incidents)
    fresh = incidents
    while fresh:
        fresh = _ids(
            connection,
            "SELECT id FROM incidents WHERE merged_into IN (SELECT value FROM json_each(?))",
            documents.json_list(fresh),
        )
        fresh = [name for name in fresh if name not in found]
        found.update(fresh)
    return sorted(found)


def _find_audit(connection: apsw.Connection, plan: Plan, cutoff: int) -> None:
    """The last entry before the first that is young enough to stay."""
    row = connection.execute("SELECT min(seq) FROM audit WHERE time >= ?", (cutoff,)).fetchone()
    last = chain.head(connection).seq
    until = (row[0] - 1) if row and row[0] is not None else last
    found = connection.execute("SELECT seq, hash FROM audit WHERE seq = ?", (until,)).fetchone()
    if found:
        plan.audit_until = chain.Head(found[0], found[1])
        plan.audit_entries = until - chain.base(connection).seq


def _delete(connection: apsw.Connection, plan: Plan) -> None:
    parts.remove(connection, (part.id for part in plan.parts))
    for name, found in plan.documents.items():
        if name == "incident":
            documents.drop_incidents(connection, found)
            continue
        table = documents.KINDS[name].table
        connection.executemany(f"DELETE FROM {table} WHERE id = ?", [(id,) for id in found])  # noqa: S608
    connection.executemany('DELETE FROM case_event WHERE "case" = ?', [(id,) for id in plan.documents.get("case", ())])
    if plan.audit_until is not None:
        connection.execute("DELETE FROM audit WHERE seq <= ?", (plan.audit_until.seq,))
        connection.execute("DELETE FROM audit_seal WHERE seq <= ?", (plan.audit_until.seq,))
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('audit_base', ?)", (str(plan.audit_until),))


def _record(connection: apsw.Connection, plan: Plan, report: dict[str, Any], now: int, by: Principal) -> None:
    detail: dict[str, Any] = {"events": report["events"], "documents": report["documents"], "audit": report["audit"]}
    base = chain.base(connection)
    if base.seq:
        # Every report confirms where the chain begins, so that the newest one kept always does.
        detail["audit_base"] = str(base)
    entry = AuditEntry(
        time=now,
        actor=by.name,
        uid=by.uid,
        on_behalf=by.delegate,
        category="operation",
        action=chain.RETIRED,
        detail=detail,
    )
    chain.append(connection, [entry])
    connection.execute("INSERT INTO deletion_report (time, doc) VALUES (?, ?)", (now, documents.text(report)))


def _report(plan: Plan, retention: Retention, now: int, dry_run: bool) -> dict[str, Any]:
    """The deletion report: schema csirt.retention/1."""
    by_dataset: dict[str, list[parts.Part]] = {}
    for part in plan.parts:
        by_dataset.setdefault(part.dataset, []).append(part)
    return {
        "schema": "csirt.retention/1",
        "time": iso(now),
        "dry_run": dry_run,
        "events": [
            {
                "dataset": name,
                "keep_s": kept_for(retention, name) // 1_000_000,
                "parts": len(found),
                "rows": sum(part.seen for part in found),
                "bytes": sum(part.size for part in found),
                "received_from": iso(min(part.received for part in found) // HOUR * HOUR),
                "received_until": iso((max(part.received for part in found) // HOUR + 1) * HOUR),
            }
            for name, found in sorted(by_dataset.items())
        ],
        "documents": {name: len(found) for name, found in plan.documents.items() if found},
        "open_cases_kept": plan.open_cases,
        "audit": plan.audit_entries,
    }
