"""Records and batches for the store's tests."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from csirt import ids
from csirt.cases.fold import fold, summary
from csirt.model import ecs
from csirt.model.audit import AuditEntry
from csirt.model.batch import Batch, address_columns, assemble, codes, constant
from csirt.model.hits import HITS
from csirt.model.records import Action, Alert, Case, CaseEvent, Entity, Incident, Link, Notification, Receipt, Run

START = 1_763_900_000_000_000  # 2025-11-23T12:13:20Z


def segment(name: str = "one") -> str:
    return ids.segment("source", name)


def _mixed(ordinals: np.ndarray, salt: int) -> np.ndarray:
    """Numbers that look random and depend on the ordinal alone, however rows are batched (splitmix64)."""
    value = ordinals.astype(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15) + np.uint64(salt << 32)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    return value ^ (value >> np.uint64(31))


def flows(rows: int, *, name: str = "one", first: int = 0, start: int = START) -> Batch:
    """Flow rows of one segment with ordinals first, first + 1, … and rising event times."""
    ordinals = np.arange(first, first + rows, dtype=np.uint64)
    zero = np.zeros(rows, np.uint64)
    four = np.full(rows, 4, np.uint8)
    time = pa.array(start + ordinals.astype(np.int64) * 1000, pa.timestamp("us", tz="UTC"))
    ports = np.array([25, 53, 443, 445], np.uint16)
    return assemble(
        "flow",
        {
            "@timestamp": time,
            "event.ingested": time,
            "csirt.segment": constant(segment(name), rows),
            "csirt.ordinal": ordinals,
            "observer.name": constant("edge-1", rows),
            **address_columns("source.ip", four, zero, 0x0A00_0000 + _mixed(ordinals, 1) % np.uint64(5000)),
            **address_columns("destination.ip", four, zero, 0x0A00_0000 + _mixed(ordinals, 2) % np.uint64(5000)),
            "source.port": (1024 + _mixed(ordinals, 3) % np.uint64(64_000)).astype(np.uint16),
            "destination.port": ports[(_mixed(ordinals, 4) % np.uint64(4)).astype(np.int64)],
            "network.iana_number": np.full(rows, 6, np.uint8),
            "network.bytes": 40 + _mixed(ordinals, 5) % np.uint64(1_000_000),
            "network.packets": 1 + _mixed(ordinals, 6) % np.uint64(1000),
            "csirt.source.member.id": codes(
                (_mixed(ordinals, 7) % np.uint64(3)).astype(np.int64), ["hospital", "dental", None]
            ),
        },
    )


def fresh(rows: int, *, name: str = "one", first: int = 0, delay: int = 0) -> Batch:
    """Flow rows that are due `delay` microseconds after their event time."""
    batch = flows(rows, name=name, first=first)
    due = pa.array(batch.table.column("@timestamp").cast(pa.int64()).to_numpy() + delay, ecs.TIME)
    return Batch("flow", batch.table.append_column(ecs.DUE, due))


def mails(rows: int, *, name: str = "mail", first: int = 0, start: int = START) -> Batch:
    """Mail rows, with a list column and free text."""
    ordinals = np.arange(first, first + rows, dtype=np.uint64) << np.uint64(8)
    time = pa.array(start + np.arange(first, first + rows, dtype=np.int64) * 500, pa.timestamp("us", tz="UTC"))
    return assemble(
        "mail",
        {
            "@timestamp": time,
            "csirt.segment": constant(segment(name), rows),
            "csirt.ordinal": ordinals,
            "event.action": constant("delivered", rows),
            "log.file.path": constant(f"/var/log/{name}", rows),
            "email.message_id": pa.array([f"<{first + n}@relay.example>" for n in range(rows)]),
            "email.to.address": pa.array([[f"post@m{(first + n) % 7}.example"] for n in range(rows)]),
        },
    )


def hits(times: list[int], stream: str = "NET-02") -> pa.Table:
    """One hit per time."""
    rows = [
        {"stream": stream, "rule": stream, "time": time, "event": f"{time:032x}", "group": "{}", "facts": "{}"}
        for time in times
    ]
    return pa.Table.from_pylist(rows, HITS)


def alert(name: str, *, first: int = START, severity: str = "high", **fields: object) -> Alert:
    values = {
        "id": ids.digest("alert", name),
        "rule_id": "net-02",
        "rule_name": "Port scan",
        "severity": severity,
        "dataset": "flow",
        "first": first,
        "last": first + 5,
        "entities": [Entity(kind="host", value="10.0.0.1", role="actor")],
        "facts": {"destination.port": ["445"]},
        **fields,
    }
    return Alert.model_validate(values)


def incident(name: str, **fields: object) -> Incident:
    values = {
        "id": ids.digest("incident", name),
        "first": START,
        "last": START + 10,
        "severity": "high",
        "title": f"Incident {name}",
        "alerts": [ids.digest("alert", name)],
        "links": [Link(alert=ids.digest("alert", name), reason="first")],
        "entities": [Entity(kind="host", value=f"host-{name}", role="actor")],
        **fields,
    }
    return Incident.model_validate(values)


def opened(name: str, **fields: object) -> tuple[Case, list[CaseEvent]]:
    """A case at version 1, with the event that opened it; `fields` are set on the case without an event."""
    found = incident(name)
    data = {"incident": found.id, "summary": summary(found)}
    event = CaseEvent(case=ids.digest("case", name), seq=1, time=START, actor="system", kind="opened", data=data)
    return fold([event]).model_copy(update=fields), [event]


def run(name: str, **fields: object) -> Run:
    values = {
        "id": ids.digest("run", name),
        "playbook": "contain",
        "incident": ids.digest("incident", name),
        "case": ids.digest("case", name),
        "state": "awaiting_approval",
        "actions": [Action(step="s1", name="Block", kind="acl", containment=True)],
        **fields,
    }
    return Run.model_validate(values)


def receipt(name: str, **fields: object) -> Receipt:
    values = {
        "id": ids.digest("receipt", name),
        "run": ids.digest("run", name),
        "step": "s1",
        "effect": "acl",
        "artifact": f"/state/{name}/outbox/block.acl",
        **fields,
    }
    return Receipt.model_validate(values)


def notification(name: str, **fields: object) -> Notification:
    values = {
        "id": ids.digest("notification", name),
        "case": ids.digest("case", name),
        "route": "all",
        "channel": "mail",
        "recipient": "vakt@example.org",
        "due": START,
        **fields,
    }
    return Notification.model_validate(values)


def entry(action: str = "case.opened", *, time: int = START, **fields: object) -> AuditEntry:
    values = {"time": time, "actor": "system", "category": "change", "action": action, "subject": "x", **fields}
    return AuditEntry(**values)
