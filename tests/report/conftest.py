"""A case with several members, its events as a store would hand them out, and a register with telling names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from csirt import ids
from csirt.clock import MINUTE, SECOND, parse_iso
from csirt.enrich.register import Register
from csirt.enrich.stage import Enricher
from csirt.model.address import from_text
from csirt.model.batch import Batch, address_columns, assemble, event_ids
from csirt.model.records import Alert, Case, Entity, Incident

START = parse_iso("2026-03-10T08:12:31Z")

# name, kind, prefix, HER-id; every name has a word that occurs nowhere else
MEMBERS = {
    "m001": ("Kanarifjord sykehus", "hospital", "10.21.0.0/16", "910011"),
    "m010": ("Papegøyevik kommune", "municipality", "10.41.0.0/20", "910101"),
    "m020": ("Undulatbakken legekontor", "gp", "10.31.0.0/24", "910170"),
    "m030": ("Flamingo tannhelse", "dental", "10.51.0.0/24", "910303"),
    "m060": ("Strutsedrift AS", "supplier", "10.81.0.0/24", "910606"),
    "m099": ("Pelikan apotek", "pharmacy", "10.99.0.0/24", "910909"),
}
INFECTED = "10.31.0.77"


def register_text() -> str:
    lines = ["register: csirt.register/1", "mail: {production: [edi.example]}", "members:"]
    for id, (name, kind, prefix, her) in MEMBERS.items():
        supplier = "\n    supplier: m060" if id in ("m010", "m030") else ""
        lines.append(
            f"""  - id: {id}
    name: {name}
    kind: {kind}{supplier}
    contacts: [{{name: Vakt, phone: "+47 99 00 {id[1:]}"}}]
    sites: [{{id: {id}-site, prefixes: [{prefix}], assets: [{{address: {prefix.split("/")[0][:-1]}25, role: msh}}]}}]
    her: [{{id: {her}, service: Post, edi: "{id}-post@edi.example"}}]
    domains: [{name.split()[0].lower().replace("ø", "o")}.example]"""
        )
    return "\n".join(lines)


def _addresses(name: str, texts: list[str | None]) -> dict[str, pa.Array]:
    parts = [(0, 0, 0) if text is None else from_text(text) for text in texts]
    kinds = (np.uint8, np.uint64, np.uint64)
    return address_columns(name, *(np.array([p[i] for p in parts], kind) for i, kind in enumerate(kinds)))


def _identity(segment: str, rows: int, times: list[int]) -> dict[str, Any]:
    return {
        "@timestamp": pa.array(times, pa.timestamp("us", "UTC")),
        "csirt.segment": pa.array([ids.segment("s", segment)] * rows).dictionary_encode(),
        "csirt.ordinal": pa.array(range(rows), pa.uint64()),
    }


def flows(rows: list[tuple[str, str, int, int]]) -> Batch:
    """(source, destination, port, microseconds after the start)."""
    times = [START + row[3] for row in rows]
    return assemble(
        "flow",
        {
            **_identity("flow", len(rows), times),
            **_addresses("source.ip", [row[0] for row in rows]),
            **_addresses("destination.ip", [row[1] for row in rows]),
            "destination.port": pa.array([row[2] for row in rows], pa.uint16()),
            "network.iana_number": pa.array([6] * len(rows), pa.uint8()),
            "network.bytes": pa.array([1500] * len(rows), pa.uint64()),
            "network.packets": pa.array([3] * len(rows), pa.uint64()),
        },
    )


def _mail(rows: list[dict[str, Any]]) -> Batch:
    times = [START + row["at"] for row in rows]
    return assemble(
        "mail",
        {
            **_identity("mail", len(rows), times),
            **_addresses("source.ip", [row["client"] for row in rows]),
            "event.action": pa.array(["delivered"] * len(rows)).dictionary_encode(),
            "csirt.mail.status": pa.array(["sent"] * len(rows)).dictionary_encode(),
            "email.from.address": pa.array([row["sender"] for row in rows], pa.list_(pa.string())),
            "email.to.address": pa.array([row["rcpt"] for row in rows], pa.list_(pa.string())),
            "csirt.mail.from.domain": pa.array([row["sender"][0].split("@")[1] for row in rows]),
            "csirt.mail.to.domain": pa.array([[a.split("@")[1] for a in row["rcpt"]] for row in rows]),
        },
    )


def _edi(rows: list[tuple[str, str, str, str, int]]) -> Batch:
    times = [START + row[4] for row in rows]
    return assemble(
        "edi",
        {
            **_identity("edi", len(rows), times),
            "event.action": pa.array(["sent"] * len(rows)).dictionary_encode(),
            "csirt.edi.her_from": pa.array([row[0] for row in rows]).dictionary_encode(),
            "csirt.edi.her_to": pa.array([row[1] for row in rows]).dictionary_encode(),
            "csirt.edi.action": pa.array([row[2] for row in rows]).dictionary_encode(),
            "csirt.edi.message_id": pa.array([row[3] for row in rows]),
        },
    )


def _alert(batch: Batch, rows: list[int], **fields: Any) -> Alert:
    names = event_ids(batch.table).to_pylist()
    times = batch.table.column("@timestamp").cast(pa.int64()).to_pylist()
    owners = {
        owner
        for end in ("source", "destination")
        for row in rows
        if (owner := batch.table.column(f"csirt.{end}.member.id").to_pylist()[row])
    }
    base: dict[str, Any] = {
        "id": ids.digest("alert", fields["rule_id"]),
        "rule_name": "A rule",
        "rule_version": "1",
        "rule_author": "csirt",
        "rule_license": "Apache-2.0",
        "severity": "high",
        "dataset": batch.dataset,
        "first": min(times[row] for row in rows),
        "last": max(times[row] for row in rows),
        "count": len(rows),
        "events": [names[row] for row in rows],
        "members": sorted(owners),
        "rsit": "Malicious Code/Infected System",
        "techniques": ["T1210"],
    }
    return Alert(**{**base, **fields})


def _host(value: str, role: Any, member: str | None) -> Entity:
    return Entity(kind="host", value=value, role=role, member=member)


class Lake:
    """Event batches, read as `Store.events` reads them."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __call__(
        self,
        dataset: str | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        ids: list[str] | None = None,
        columns: list[str] | None = None,
    ) -> Iterator[Batch]:
        for batch in self.batches:
            if dataset is not None and batch.dataset != dataset:
                continue
            times = batch.table.column("@timestamp").cast(pa.int64()).to_numpy()
            keep = np.ones(batch.rows, np.bool_)
            keep &= times >= since if since is not None else True
            keep &= times < until if until is not None else True
            if ids is not None:
                keep &= np.isin(np.array(event_ids(batch.table).to_pylist()), ids)
            yield Batch(batch.dataset, batch.table.filter(pa.array(keep)))


@pytest.fixture
def world(tmp_path: Path) -> SimpleNamespace:
    """`register`, `events`, `case`, `incident`, `alerts`: an outbreak from m020 to m010 and m030, and mail and
    messages around it. m099 has traffic that is no part of the case."""
    path = tmp_path / "register.yaml"
    path.write_text(register_text(), "utf-8")
    register, problems = Register.load(path)
    assert register is not None, [str(problem) for problem in problems]
    enricher = Enricher(register)
    spread = [(INFECTED, f"10.41.0.{n}", 445, n * SECOND) for n in range(1, 41)]
    spread += [(INFECTED, f"10.51.0.{n}", 445, (40 + n) * SECOND) for n in range(1, 6)]
    quiet = [(INFECTED, "10.21.0.25", 443, 20 * SECOND), ("10.99.0.9", "10.41.0.1", 445, 20 * SECOND)]
    flow = enricher.apply(flows(spread + quiet))
    mail = enricher.apply(
        _mail(
            [
                {"client": INFECTED, "sender": ["m020-post@edi.example"], "rcpt": ["x@evil.test"], "at": MINUTE},
                {
                    "client": "10.41.0.25",
                    "sender": ["m010-post@edi.example"],
                    "rcpt": ["a@kanarifjord.example", "b@evil.test"],
                    "at": 2 * MINUTE,
                },
            ]
        )
    )
    edi = enricher.apply(
        _edi(
            [
                ("910170", "910011", "Henvisning", "urn:uuid:ref-1", 3 * MINUTE),
                ("910101", "910011", "Epikrise", "urn:uuid:epi-2", 4 * MINUTE),
            ]
        )
    )
    ends = [_host(f"10.41.0.{n}", "target", "m010") for n in range(1, 41)]
    ends += [_host(f"10.51.0.{n}", "target", "m030") for n in range(1, 6)]
    worm = _alert(
        flow,
        list(range(45)),
        rule_id="net-05",
        playbook="PB-WORM",
        severity="critical",
        entities=[_host(INFECTED, "actor", "m020"), *ends],
        facts={
            "destination.port": ["445"],
            "csirt.destination.member.name": ["Papegøyevik kommune", "Flamingo tannhelse"],
        },
        group={"source.ip": INFECTED},
    )
    leak = _alert(
        mail,
        [0],
        rule_id="smtp-05",
        playbook="PB-RELAY",
        tactics=["exfiltration"],
        entities=[_host(INFECTED, "actor", "m020"), Entity(kind="domain", value="evil.test", role="target")],
    )
    other = _alert(mail, [1], rule_id="smtp-05b", playbook="PB-RELAY", entities=[_host("10.41.0.25", "actor", "m010")])
    lost = _alert(
        edi,
        [0],
        rule_id="edi-01",
        playbook="PB-EDI-OUT",
        severity="medium",
        clinical=True,
        rsit="Availability/Outage",
        entities=[
            Entity(kind="her", value="910170", role="actor", member="m020"),
            Entity(kind="her", value="910011", role="target", member="m001"),
        ],
    )
    alerts = [worm, leak, other, lost]
    incident = Incident(
        id="i1",
        first=START,
        last=START + 3 * MINUTE,
        severity="critical",
        title="SMB worm from Undulatbakken legekontor to Papegøyevik kommune and Flamingo tannhelse",
        alerts=[alert.id for alert in alerts],
        members=["m001", "m010", "m020", "m030"],
    )
    case = Case(
        id="c" * 32,
        number="C-2026-0412",
        severity="critical",
        title=incident.title,
        incidents=["i1"],
        members=incident.members,
        first=START,
        last=START + 3 * MINUTE,
        rsit="Malicious Code/Infected System",
    )
    return SimpleNamespace(
        register=register,
        events=Lake([flow, mail, edi]),
        case=case,
        incident=incident,
        alerts=alerts,
        members=MEMBERS,
        register_text=register_text(),
        flows=flows,
        enricher=enricher,
    )
